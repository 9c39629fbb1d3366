"""Your own clips: a sub-folder a class.

Layout: `<root>/<class>/…/<video>.avi`, any depth below the class, any suffix that FFmpeg reads as video. Where the
first level is `train` beside `test` (or `val`, `valid`, `validation`), classes are the second level and that is the
split. Without that, the split is drawn: about 30 % of each class test, by group; `folds=5` makes five splits that test
each video once.

What a group is, a pattern of the ids or a table says (`group_pattern`, `groups`). Files that are no videos are counted
and named; a class folder without a video is an error.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from avr.core import UsageError

from . import _groups
from ._files import find_files, ids_of, is_video, require_videos, say_left_out, text_of
from ._groups import told_groups
from ._splits import Drawing
from ._types import Dataset, Split, Video, numbered

DESCRIPTION = "your own clips, a sub-folder a class: give the folder's path"
LAYOUT = "<root>/<class>/<video>"
DRAWING = Drawing()
NO_CLASSES = frozenset({"annotations", "__macosx"})  # where lists lie, and what macOS puts into archives
TEST_NAMES = frozenset({"test", "val", "valid", "validation"})


def index(
    root: Path,
    *,
    group_pattern: _groups.Pattern = None,
    groups: _groups.File = None,
) -> Dataset:
    """Index a folder whose sub-folders are the classes, in sorted order.

    Args:
        root: the folder.
        group_pattern: regular expression searched in each video's id; its first capture (or the whole match) is the
            video's group. None: every video is its own group.
        groups: csv file of columns id, group instead, from the working folder or else the root.

    Raises:
        UsageError: no videos in sub-folders, a class folder without one, a pattern that does not compile or never
            matches, a table that contradicts itself.
    """
    files = [path for path in find_files(root) if not _is(root / path, root, groups)]
    paths = require_videos(root, (path for path in files if is_video(path.name)), layout=LAYOUT, folders=1)
    parts = {path.parts[0] for path in paths}
    depth = 1 if "train" in parts and len(parts) > 1 and parts <= TEST_NAMES | {"train"} else 0
    videos_at = require_videos(root, paths, layout="<root>/train/<class>/<video>", folders=depth + 1)
    left_out = _say_left_out(root, files, videos_at)
    class_of = {path: text_of(path.parts[depth]) for path in videos_at}
    _check_folders(root, [root / part for part in sorted(parts)] if depth else [root], set(class_of.values()))
    ids = ids_of(videos_at)
    called = [(name, text_of(path)) for name, path in zip(ids, videos_at, strict=True)]
    group_of = told_groups("folder", root, called, pattern=group_pattern, file=groups)
    number = numbered(class_of.values())
    videos = tuple(
        Video(name, root / path, number[class_of[path]], group)
        for name, path, group in zip(ids, videos_at, group_of, strict=True)
    )
    made = {}
    if depth:
        train, test = (tuple(v for v in ids if v.startswith("train/") is part) for part in (True, False))
        made = {"1": Split("1", train, test)}
    return Dataset("folder", root, tuple(number), videos, made, left_out)


def _is(file: Path, root: Path, groups: Path | None) -> bool:
    """Whether a file is the table of groups, which lies there and is not left out."""
    places = () if groups is None or groups.name != file.name else (groups, root / groups)
    return any(place.exists() and place.samefile(file) for place in places)


def _say_left_out(root: Path, files: Sequence[Path], taken: Sequence[Path]) -> dict[str, int]:
    """Note what is there and not taken; gives how many of each suffix."""
    others = [path for path in files if not is_video(path.name)]
    known = set(taken)
    say_left_out("folder", others, "no known video")
    say_left_out("folder", [p for p in files if is_video(p.name) and p not in known], "in no class folder")
    return dict(Counter(path.suffix.lower() for path in files if path not in known))


def _check_folders(root: Path, places: Sequence[Path], classes: set[str]) -> None:
    """Refuse class folders without a video, which would vanish."""
    for place in places:
        for folder in sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")):
            if text_of(folder.name) not in classes and folder.name.lower() not in NO_CLASSES:
                inside = find_files(folder)
                what = f"its {len(inside)} files are such as {text_of(inside[0])}" if inside else "it is empty"
                raise UsageError(
                    f"{text_of(folder)}: no known video in this class folder ({what}); put videos there, or move it "
                    f"out of {text_of(root)}"
                )
