"""What lies in a data set's folder: video files and ids for them, official lists and the file of each listed clip."""

import os
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from avr.core import UsageError, note, warn

from ._types import Video, numbered

T = TypeVar("T")
VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in "3gp asf avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts vob webm wmv".split()  # noqa: SIM905
)


def find_videos(root: Path) -> list[Path]:
    """Video files under `root`, by suffix, as sorted paths relative to it; hidden files and folders are left out."""
    found: list[Path] = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".") and not _leads_back(Path(folder) / name)]
        inside = Path(folder).relative_to(root)
        found += [inside / name for name in files if is_video(name)]
    return sorted(found, key=Path.as_posix)


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that holds it, which would be walked for ever."""
    return folder.is_symlink() and folder.resolve() in [folder.parent.resolve(), *folder.parent.resolve().parents]


def is_video(name: str) -> bool:
    """Whether a file name is that of a video file: a known suffix, and not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def ids_of(paths: Sequence[Path]) -> list[str]:
    """Ids of relative paths: POSIX, without the suffix, unless two files differ by the suffix alone.

    Example: a/1.avi, a/2.avi, a/2.mp4 become "a/1", "a/2.avi", "a/2.mp4".
    """
    stems = [path.with_suffix("").as_posix() for path in paths]
    counts = Counter(stems)
    return [stem if counts[stem] == 1 else path.as_posix() for stem, path in zip(stems, paths, strict=True)]


def videos_by_class(
    root: Path, class_of: Mapping[Path, str], group_of: Callable[[Path, str], str]
) -> tuple[tuple[str, ...], tuple[Video, ...]]:
    """Class names, in the order of their numbers, and videos; `group_of` tells the group from path and id."""
    number = numbered(class_of.values())
    ids = zip(class_of, ids_of(list(class_of)), strict=True)
    videos = (Video(name, root / path, number[class_of[path]], group_of(path, name)) for path, name in ids)
    return tuple(number), tuple(videos)


def require_videos(root: Path, paths: Iterable[Path], *, layout: str, folders: int = 0) -> list[Path]:
    """The relative paths that lie at least that many folders down; UsageError, with the layout, where none does."""
    deep = [path for path in paths if len(path.parts) > folders]
    if not deep:
        raise UsageError(f"{root}: no videos found; expected {layout}")
    return deep


def say_missing(name: str, root: Path, listed: Sequence[str], there: Container[str], *, besides: str = "") -> None:
    """Warn how many of the listed videos are not there, naming the first ten.

    Raises:
        UsageError: none is there (ends in `besides`), or none is listed.
    """
    if not listed:
        raise UsageError(f"{name}: the lists hold no labelled videos")
    lost = [video for video in listed if video not in there]
    if len(lost) == len(listed):
        raise UsageError(f"{name}: none of the {len(lost)} listed videos is in {root}, such as {lost[0]}{besides}")
    if lost:
        more = ", …" if len(lost) > 10 else ""
        warn(f"{name}: {len(lost)} of {len(listed)} listed videos are not there: {', '.join(lost[:10])}{more}")


def find_lists(root: Path, splits: Path | None, *, folder: str, pattern: str) -> Path:
    """The folder that holds files matching `pattern`: `splits`, or else the root, in either a sub-folder `folder`."""
    places = [splits, splits / folder] if splits else [root / folder, root, root.parent / folder]
    for place in places:
        if place.is_dir() and any(place.glob(pattern)):
            return place
    looked = ", ".join(str(place) for place in places)
    raise UsageError(f"no split lists ({pattern}) in {looked}; put {folder} under the root or give --splits DIR")


def named_lists(
    root: Path, splits: Path | None, pattern: str, told: Callable[[Path], T | None], *, kind: str
) -> dict[Path, T]:
    """Lists beside the videos, at `splits` or else in the root or its `annotations`, and what their names tell.

    Args:
        root: the data set's folder.
        splits: folder of the lists, or one list.
        pattern: of the lists' names.
        told: from a list's path to what it is of; None leaves a file out.
        kind: what to call the lists in the UsageError where there are none.
    """
    places = [splits] if splits is not None else [root, root / "annotations"]
    for place in places:
        files = [place] if place.is_file() else sorted(place.glob(pattern))
        found = {file: what for file in files if (what := told(file)) is not None}
        if found:
            return found
    raise UsageError(f"no {kind} in {' or '.join(map(str, places))}; give --splits FILE or DIR")


def read_list(path: Path, parse: Callable[[str], T]) -> Iterator[tuple[int, T]]:
    """Number and parsed value of each line that is not empty; `parse` raises ValueError saying what it expected.

    Raises:
        UsageError: a line that does not parse, as "file:line: what was expected".
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as a list: {error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield number, parse(line.strip())
            except ValueError as error:
                raise UsageError(f"{path}:{number}: {error}; found {line.strip()[:80]!r}") from error


def match(name: str, root: Path, clip_ids: Sequence[str]) -> dict[str, Path]:
    """Paths of the listed clips that are there; warns of those that are not, and tells of files in no list.

    A clip "class/name" is matched by its class folder and name without suffix, wherever the class folder lies under the
    root: first as written, then with letters of either case and `_` for signs, so that re-encoded and renamed copies
    are found.

    Raises:
        UsageError: none is there.
    """
    paths = find_videos(root)
    # Shallow paths last, so that they win over copies in deeper folders.
    by_depth = sorted(paths, key=lambda path: -len(path.parts))
    exact = {"/".join(path.with_suffix("").parts[-2:]): path for path in by_depth}
    times = Counter(map(_loosened, exact))
    loose = {_loosened(clip): path for clip, path in exact.items() if times[_loosened(clip)] == 1}
    near = {clip: exact.get(clip) or loose.get(_loosened(clip)) for clip in clip_ids}
    found = {clip: root / path for clip, path in near.items() if path is not None}
    say_missing(name, root, clip_ids, found, besides=f"; {len(paths)} other video files are")
    unlisted = len(paths) - len(set(found.values()))
    if unlisted:
        note(f"{name}: {unlisted} video files under {root} are in no list and left out")
    return found


def _loosened(name: str) -> str:
    return re.sub(r"[^0-9a-z/]", "_", name.lower())
