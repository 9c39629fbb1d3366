"""Finding video files in folders, and ids for them."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from avr.core import UsageError, warn

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


def require_videos(root: Path, paths: Sequence[Path], *, layout: str) -> None:
    """Raise a UsageError that tells the expected layout when no video was found."""
    if not paths:
        raise UsageError(f"{root}: no videos found; expected {layout}")


def say_missing(name: str, missing: Iterable[str], *, listed: int) -> None:
    """Warn how many of the listed videos are not there, naming the first ten."""
    lost = list(missing)
    if lost:
        more = ", …" if len(lost) > 10 else ""
        warn(f"{name}: {len(lost)} of {listed} listed videos are not there: {', '.join(lost[:10])}{more}")
