"""What can be told of a request before anything is loaded: which videos it names, where its output goes, which runs."""

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avr.core import UsageError
from avr.datasets import find_videos, is_video
from avr.store import find_split

if TYPE_CHECKING:
    from .fusions import Fusion

LONGEST = 1_000_000  # seconds of a window and a step


def check_request(*, top: int = 1, window: float = 0.0, step: float = 0.0, rate: float = 0.0) -> None:
    """Refuse what no video can be answered with: seconds or a rate out of bounds or no number, no class."""
    if not all(0 <= seconds <= LONGEST for seconds in (window, step)):
        raise UsageError(f"window and step must be seconds, 0 to {LONGEST}, not {window:g} and {step:g}")
    if top < 1:
        raise UsageError(f"top must be at least 1 class, not {top}")
    if rate and not 0.01 <= rate <= 1000:
        raise UsageError(f"rate must be frames a second, 0.01 to 1000, not {rate:g}")


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
    for one in given:
        if not str(one):
            raise UsageError("a video's name is empty; . is this folder")
        path = Path(one)
        if path.is_dir():
            found += _but(but, path, [path / inner for inner in find_videos(path)], "no videos in this folder")
        elif not path.exists() and glob.has_magic(str(path)):
            matches = sorted(map(Path, glob.glob(str(path), recursive=True)))
            files = [one for one in matches if one.is_file() and is_video(one.name)]
            files += [one / inner for one in matches if one.is_dir() for inner in find_videos(one)]
            found += _but(but, path, list(dict.fromkeys(files)), "no video matches this pattern")
        else:
            found.append(path)
    if not any(path.exists() for path in found):
        raise UsageError(f"{found[0]}: no such video" if found else "no video is named")
    return found


def _but(folder: Path | None, named: Path, videos: list[Path], none: str) -> list[Path]:
    """Videos that lie elsewhere; at least one."""
    kept = [one for one in videos if folder is None or not one.resolve().is_relative_to(folder.resolve())]
    if videos and not kept:
        raise UsageError(
            f"{named}: every video of it ({len(videos)}) lies in {folder}, which is written to and not read: choose "
            "another folder for --draw"
        )
    if not kept:
        raise UsageError(f"{named}: {none}")
    return kept


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


def check_runs(runs: Sequence[Path], *, split: str = "", fuse: Path | None = None) -> "Fusion | None":
    """Refuse no run, or paths that are none; of a fusion also one that is none, or whose runs are not there.

    Args:
        runs: as given; those that a fusion names itself need not be.
        split: of them.
        fuse: as of `Predictor`.

    Returns:
        The fusion, with its runs.

    Raises:
        UsageError: says what to name.
        WorkError: a run's record is damaged.
    """
    fusion = None
    if fuse is not None:
        from .fusions import Fusion  # scikit-learn

        fusion = Fusion.open(fuse, runs, split=split)
        runs, split = fusion.runs, fusion.split
    if not runs:
        raise UsageError("no run: name one that `avr heads train` wrote, such as --run runs/stfn-shapes-1")
    for run in runs:
        find_split(run, split or None)
    return fusion
