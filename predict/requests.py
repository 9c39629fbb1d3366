"""What can be told of a request before anything is loaded: which videos it names, where its output goes, which runs."""

import glob
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from avr.core import UsageError
from avr.datasets import find_videos, is_video
from avr.store import find_split


def check_request(*, top: int = 1, window: float = 0.0, step: float = 0.0, rate: float = 0.0) -> None:
    """Refuse what no video can be answered with: seconds or a rate below 0 or no number, no class."""
    if not all(math.isfinite(seconds) and seconds >= 0 for seconds in (window, step)):
        raise UsageError(f"window and step must be seconds, at least 0, not {window:g} and {step:g}")
    if top < 1:
        raise UsageError(f"top must be at least 1 class, not {top}")
    if not (math.isfinite(rate) and rate >= 0):
        raise UsageError(f"rate must be frames a second, at least 0, not {rate:g}")


def gather_videos(given: Iterable[Path | str], *, but: Path | None = None) -> list[Path]:
    """The videos that files, folders and patterns name, in that order.

    Args:
        given: files, of any name; folders: every video in them and below, by suffix; patterns such as `clips/*.mp4` or
            `clips/**`, for shells that leave them as they are.
        but: a folder whose videos are not taken from folders and patterns, such as the one that is written to.

    Raises:
        UsageError: a folder or a pattern that has no video, or no file at all that is there.
    """
    found: list[Path] = []
    for path in map(Path, given):
        if path.is_dir():
            inside = _but(but, (path / one for one in find_videos(path)))
            if not inside:
                raise UsageError(f"{path}: no videos in this folder")
            found += inside
        elif not path.exists() and glob.has_magic(str(path)):
            matches = sorted(map(Path, glob.glob(str(path), recursive=True)))
            files = [one for one in matches if one.is_file() and is_video(one.name)]
            files += [one / inner for one in matches if one.is_dir() for inner in find_videos(one)]
            inside = _but(but, dict.fromkeys(files))
            if not inside:
                raise UsageError(f"{path}: no video matches this pattern")
            found += inside
        else:
            found.append(path)
    if not any(path.exists() for path in found):
        raise UsageError(f"{found[0]}: no such video" if found else "no video is named")
    return found


def _but(folder: Path | None, paths: Iterable[Path]) -> list[Path]:
    if folder is None:
        return list(paths)
    left_out = folder.resolve()
    return [path for path in paths if not path.resolve().is_relative_to(left_out)]


def drawn_paths(videos: Iterable[Path], folder: Path, suffix: str) -> dict[Path, Path]:
    """Where each video's drawing goes: under its own name in the folder, below the sub-folders in which it lies.

    Example: clips/a/1.avi and clips/b/1.avi become DIR/a/1.mp4 and DIR/b/1.mp4. Names that differ by the suffix alone
    keep it: 1.avi.mp4 and 1.mov.mp4.
    """
    whole = {video: Path(os.path.abspath(video)) for video in videos}
    shared = Path(os.path.commonpath([path.parent for path in whole.values()]))
    inside = {video: path.relative_to(shared) for video, path in whole.items()}
    short = {path.with_suffix("") for path in inside.values()}
    if len(short) == len(set(inside.values())):
        inside = {video: path.with_suffix("") for video, path in inside.items()}
    return {video: folder / path.with_name(path.name + suffix) for video, path in inside.items()}


def check_outputs(outputs: Sequence[Path], videos: Iterable[Path], *, overwrite: bool = False) -> None:
    """Refuse to write over what is there, and over the videos themselves even with `overwrite`.

    Raises:
        UsageError: naming the file.
    """
    own = {os.path.realpath(video) for video in videos}
    for path in outputs:
        if os.path.realpath(path) in own:
            raise UsageError(f"{path}: is one of the videos; choose another place to write to")
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; name a file")
        if path.exists() and not overwrite:
            raise UsageError(f"{path}: is there already; --overwrite replaces it")


def check_runs(runs: Sequence[Path], *, split: str = "", fused: bool = False) -> None:
    """Refuse no run, or paths that are none; runs that a fusion names itself need not be given.

    Raises:
        UsageError: says what to name.
        WorkError: a run's record is damaged.
    """
    if not runs and not fused:
        raise UsageError("no run: name one that `avr heads train` wrote, such as --run runs/stfn-shapes-1")
    for run in () if fused else runs:
        find_split(run, split or None)
