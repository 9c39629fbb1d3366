"""Finding video files in folders, and ids for them."""

import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path

from avr.core import UsageError, warn

from ._types import Video, numbered

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
