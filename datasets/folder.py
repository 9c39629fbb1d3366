"""Your own clips: a sub-folder a class.

Layout: `<root>/<class>/…/<video>.avi`, any depth below the class, any suffix that FFmpeg reads as video. Where the
first level is `train` beside `test` (or `val`, `valid`, `validation`, `dev`, in letters of either case), classes are
the second level and that is the split. Without that, the split is drawn: about 30 % of each class test, by group;
`folds=5` makes five splits that test each video once.

What a group is, a pattern of the ids or a table says (`group_pattern`, `groups`). Files that are no videos are counted
and named, and so is a folder without a video, which is no class. Lists at the top are not read.
"""

from collections.abc import Sequence
from pathlib import Path

from avr.core import UsageError, first_few, warn

from . import _groups
from ._files import find_files, is_video, require_videos, say_left_out, text_of, videos_by_class, walk
from ._groups import told_groups
from ._parts import TABLES, WORDS, says_part, texts_in
from ._splits import Drawing
from ._types import Dataset, Split

DESCRIPTION = "your own clips, a sub-folder a class: give the folder's path"
LAYOUT = "<root>/<class>/<video>"
DRAWING = Drawing()
NO_CLASSES = frozenset({"annotations", "__macosx"})  # where lists lie, and what macOS puts into archives
MADE = frozenset({"features", "runs"})  # what avr makes where it works


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
        UsageError: no videos in sub-folders, `train` and `test` beside other folders, a pattern that does not compile
            or never matches, a table that contradicts itself.
    """
    made = {name for name in MADE if any(path.suffix == ".h5" for path in _inside(root / name))}
    files = [path for path in find_files(root) if path.parts[0] not in made]
    paths = require_videos(root, (path for path in files if is_video(path.name)), layout=LAYOUT, folders=1)
    parts = _parts(root, sorted({path.parts[0] for path in paths}))
    depth = 1 if parts else 0
    layout = f"<root>/{next(iter(parts), '')}/<class>/<video>"
    videos_at = require_videos(root, paths, layout=layout, folders=depth + 1)
    said = {*videos_at, *(path.relative_to(root) for path in _say_lists(root, groups))}
    others = [path for path in files if path not in said and not (groups and groups.samefile(root / path))]
    say_left_out("folder", [path for path in others if not is_video(path.name)], "no known video")
    say_left_out("folder", [path for path in others if is_video(path.name)], "in no class folder")
    class_of = {path: path.parts[depth] for path in videos_at}
    _say_no_classes(root, [root / part for part in parts] if depth else [root], {*class_of.values(), *made})
    class_names, videos = videos_by_class(root, class_of, lambda _, video_id: video_id)
    videos = told_groups("folder", root, videos, pattern=group_pattern, file=groups)
    splits = {}
    if depth:
        trains = {video.id: parts[path.parts[0]] == "train" for video, path in zip(videos, videos_at, strict=True)}
        train, test = (tuple(name for name, trained in trains.items() if trained is part) for part in (True, False))
        splits = {"1": Split("1", train, test)}
    return Dataset("folder", root, class_names, videos, splits)


def _parts(root: Path, folders: Sequence[str]) -> dict[str, str]:
    """The part (train, val, test) of each folder of the first level; none where they are the classes.

    Raises:
        UsageError: they may be either.
    """
    parts = {folder: WORDS[folder.lower()] for folder in folders if folder.lower() in WORDS}
    others = [text_of(folder) for folder in folders if folder not in parts]
    if "train" not in parts.values() or set(parts.values()) == {"train"}:
        return {}
    if others:
        raise UsageError(
            f"{root}: {', '.join(parts)} are parts of a split if {first_few(others)} is moved out; if all are classes, "
            "give them other names or a list, path,label"
        )
    return parts


def _inside(folder: Path) -> Sequence[Path]:
    return list(walk(folder)) if folder.is_dir() else []


def _say_lists(root: Path, groups: Path | None) -> Sequence[Path]:
    """Warn of what may be a list, which is not read, and give it."""
    files = texts_in(root, {groups})
    lists = [path for path in files if path.suffix.lower() in TABLES or says_part(path)]
    if lists:
        names = first_few([text_of(path.name) for path in lists])
        read = str(lists[0]) if len(lists) == 1 else f"list --root {root} --name NAME"
        warn(f"{root}: the classes are its folders, and what {names} says is not read: --dataset {read} would do so")
    return lists


def _say_no_classes(root: Path, places: Sequence[Path], classes: set[str]) -> None:
    """Warn of folders without a video, where classes are."""
    folders = [path for place in places for path in sorted(place.iterdir()) if path.is_dir() and path.name[0] != "."]
    empty = [
        text_of(path.relative_to(root))
        for path in folders
        if path.name not in classes and path.name.lower() not in NO_CLASSES
    ]
    if empty:
        warn(f"no class, as there is no known video in it: {first_few(empty)}")
