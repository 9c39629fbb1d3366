"""What lies in a data set's folder: video files, ids for them, and the file that a listed name means."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from avr.core import UsageError, first_few, note, warn

from ._types import Video, numbered

# What FFmpeg reads as video by its suffix. Pictures stay out but for GIF, which moves.
VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (  # noqa: SIM905
        "264 265 3g2 3gp amv asf avi divx dv f4v flv gif h264 h265 hevc ivf m1v m2p m2ts m2v m4v mj2 mjpeg mjpg mkv "
        "mod mov mp4 mpe mpeg mpg mpv mts mxf nut ogg ogm ogv qt rm rmvb tod trp ts vob vro webm wmv wtv xvid y4m"
    ).split()
)


def is_video(name: str) -> bool:
    """Whether a file name is that of a video file: a known suffix, and not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def last_part(listed: str) -> str:
    """The file's name of a path as lists of any system have it."""
    return re.split(r"[\\/]", listed)[-1]


def find_videos(root: Path) -> list[Path]:
    """Video files under `root`, by suffix, as sorted paths relative to it; hidden files and folders are left out."""
    return [path for path in find_files(root) if is_video(path.name)]


def find_clips(root: Path) -> list[Path]:
    """The videos of an official data set: GIFs of the name of another file are previews of it and left out."""
    paths = find_videos(root)
    clips = {path.stem for path in paths if path.suffix.lower() != ".gif"}
    return [path for path in paths if path.suffix.lower() != ".gif" or path.stem not in clips]


def listed_clips(root: Path, *, layout: str, lists_suffice: bool) -> list[Path]:
    """The videos of an official data set that lists tell of; none may be there where these suffice.

    Raises:
        UsageError: none is there.
    """
    if lists_suffice:
        return find_clips(root) if root.is_dir() else []
    return require_videos(root, find_clips(root), layout=layout)


def find_files(root: Path) -> list[Path]:
    """Files under `root` as sorted paths relative to it, links followed; hidden files and folders are left out."""
    return sorted((path.relative_to(root) for path in walk(root)), key=Path.as_posix)


def walk(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Files in a folder and below, one by one; what cannot be opened is left out with a warning.

    A link to one of the folders that it lies in would be walked for ever: `above` are these.
    """
    try:
        status = os.stat(folder)
        paths = [folder / name for name in os.listdir(folder) if not name.startswith(".")]
        folders = {path for path in paths if path.is_dir()}
    except OSError as error:
        warn(f"{text_of(folder)} cannot be opened and is left out ({error.strerror})")
        return
    place = (status.st_dev, status.st_ino)
    if place in above:
        return
    for path in paths:
        if path in folders:
            yield from walk(path, above | {place})
        else:
            yield path


def text_of(path: Path | str) -> str:
    """A path as text that any file holds: POSIX, letters composed (NFC), what is no UTF-8 or no letter as an escape.

    Two paths whose texts are equal print alike. Example: the byte E9, latin-1's é, becomes the four signs "\\xe9".
    """
    text = os.fsencode(path.as_posix() if isinstance(path, Path) else path).decode("utf-8", "backslashreplace")
    text = re.sub("[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda sign: sign[0].encode("unicode_escape").decode(), text)
    return unicodedata.normalize("NFC", text)


def ids_of(paths: Sequence[Path]) -> list[str]:
    """Ids of relative paths: as text, without the suffix, unless two files differ by the suffix alone.

    Names that are no UTF-8 are said in a note.

    Example: a/1.avi, a/2.avi, a/2.mp4 become "a/1", "a/2.avi", "a/2.mp4".
    """
    strange = [text_of(path) for path in paths if re.search("[\ud800-\udfff]", str(path))]
    if strange:
        note(f"{few(strange, 'file name is', 'file names are')} not UTF-8: {first_few(strange)}")
    whole = [text_of(path) for path in paths]
    ids = [text_of(path.with_suffix("")) for path in paths]
    while True:
        times = Counter(ids)
        longer = [full if times[name] > 1 else name for name, full in zip(ids, whole, strict=True)]
        if longer == ids:
            return ids
        ids = longer


def few(things: Collection[object], one: str, many: str) -> str:
    """ "1 file is", "3 files are"."""
    return f"{len(things)} {one if len(things) == 1 else many}"


def say_left_out(name: str, paths: Sequence[Path], why: str) -> None:
    """Note how many files are left out and why, by suffix, naming the first."""
    if paths:
        suffixes = Counter(path.suffix.lower() or "no suffix" for path in paths)
        told = ", ".join(f"{suffix} {count}" for suffix, count in suffixes.most_common()) if len(suffixes) > 1 else ""
        kinds = f" ({told})" if told else ""
        note(
            f"{name}: left out {few(paths, 'file that is', 'files that are')} {why}{kinds}: "
            f"{first_few([text_of(path) for path in paths])}"
        )


def videos_by_class(
    root: Path, class_of: Mapping[Path, str], group_of: Callable[[Path, str], str]
) -> tuple[tuple[str, ...], tuple[Video, ...]]:
    """Class names, in the order of their numbers, and videos; `group_of` tells the group from path and id."""
    texts = {path: text_of(name) for path, name in class_of.items()}
    number = numbered(texts.values())
    ids = zip(class_of, ids_of(list(class_of)), strict=True)
    videos = (Video(name, root / path, number[texts[path]], text_of(group_of(path, name))) for path, name in ids)
    return tuple(number), tuple(videos)


def require_videos(root: Path, paths: Iterable[Path], *, layout: str, folders: int = 0) -> list[Path]:
    """The relative paths that lie at least that many folders down; UsageError, with the layout, where none does."""
    found = list(paths)
    deep = [path for path in found if len(path.parts) > folders]
    if not deep:
        what = f"the videos, such as {text_of(found[0])}, are not in class folders" if found else "no videos found"
        raise UsageError(f"{root}: {what}; expected {layout}")
    return deep


class Places:
    """Where listed files lie, from a root on: what prints alike is one name, whichever system wrote the list.

    A name may be absolute or start with `./`, have `\\` for `/`, letters composed or not, or an escape for what is no
    UTF-8 on the disk.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._bases = tuple(dict.fromkeys((root, root.absolute(), root.resolve())))
        self._names: dict[Path, dict[str, str]] = {}

    def find(self, listed: str) -> Path | None:
        """The path of the file or folder that a name means; None where it is not there."""
        plain = listed.replace("\\", "/")
        names = dict.fromkeys((listed, plain, plain.lstrip("/")))
        return next((path for name in names if (path := self._look(name)) is not None), None)

    def stem(self, listed: str) -> list[Path]:
        """The videos that a name without its suffix means."""
        name = listed.replace("\\", "/")
        folder = self.find(name.rpartition("/")[0] or ".")
        names = self._listing(folder).values() if folder is not None else ()
        wanted = text_of(name.rpartition("/")[2])
        return [folder / one for one in names if folder and is_video(one) and text_of(Path(one).stem) == wanted]

    def inside(self, path: Path) -> Path:
        """A path relative to the root, or to the disk where it lies elsewhere."""
        base = next((base for base in self._bases if path.is_relative_to(base)), Path(path.anchor))
        return Path(os.path.normpath(path.relative_to(base)))

    def _look(self, name: str) -> Path | None:
        """The path, part by part, by the texts of the names that are there."""
        if os.path.exists(self.root / name):
            return self.root / name
        path = self.root
        for part in Path(name).parts:
            found = part if os.path.exists(path / part) else self._listing(path).get(text_of(part))
            if found is None:
                return None
            path = path / found
        return path

    def _listing(self, folder: Path) -> dict[str, str]:
        if folder not in self._names:
            try:
                names = sorted(os.listdir(folder))
            except OSError:
                names = []
            self._names[folder] = {text_of(name): name for name in names}
        return self._names[folder]
