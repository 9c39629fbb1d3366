"""Lists of your own clips: a csv table of paths and labels, or annotation files of TSN and mmaction2.

A table has a header with `path` and `label`, or words for these, and perhaps `group`, `split`, `start`, `end`;
docs/datasets.md tells all of it. A line of TSN or mmaction2 is, with paths relative to the root,
    `some/video.avi 3`                    a video and its label,
    `some/folder 120 3`                   a folder of raw frames, their number, the label,
    `some/folder 30 120 3`                the same from frame 30 on (mmaction2's `with_offset`).
A raw-frame folder holds `img_00001.jpg` and, for precomputed flow, `flow_x_00001.jpg` and `flow_y_00001.jpg`: grey
images of flow clipped to ±20 pixels. The templates are options; whether the first number is 0 or 1 is looked up.

Layout: the files under the root, its `annotations` folder or `--splits`. A file's name may say train, val or test, and
which split, as in `ucf101_train_split_2_rawframes.txt`, `hmdb51_rgb_val_split_1.txt`, `trainlist01.txt`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from avr.core import About, UsageError

from . import _groups
from ._annotations import Entry, read_entries
from ._classes import class_numbers, find_classes, say_unused
from ._files import Places, ids_of, is_video, text_of
from ._groups import told_groups
from ._lists import Told, say_by_lists, say_missing, say_unlisted
from ._parts import listed_splits, lists_in, side_in, side_of
from ._splits import Drawing
from ._types import Dataset, RawFrames, Video

DESCRIPTION = "your own clips by a csv of path,label; or lists of TSN and mmaction2, videos or raw-frame folders"
LAYOUT = "<name>.csv with a header path,label or <name>_train_split_<k>*.txt and <name>_val_split_<k>*.txt, or --splits"
DRAWING = Drawing()
Files = Annotated[str | None, About("pattern of the lists' names: 'files=*rawframes.txt'")]
Classes = Annotated[Path | None, About("file of class names, one a line in label order: classes=names.txt")]


@dataclass(frozen=True)
class Listed:
    """A listed video: its line, the id of its file, its own id, and its path, where it is there."""

    entry: Entry
    source: str
    id: str
    path: Path | None


def index(  # noqa: PLR0913 (one parameter an option)
    root: Path,
    *,
    splits: Path | None = None,
    files: Files = None,
    classes: Classes = None,
    group_pattern: _groups.Pattern = None,
    groups: _groups.File = None,
    first_label: int | None = None,
    image: str = RawFrames.image,
    flow: str = "flow_{axis}_{:05d}.jpg",
    lists_suffice: bool = False,
) -> Dataset:
    """Index the videos of annotation files.

    Args:
        root: folder that the lines' paths start from.
        splits: an annotation file or the folder of them; default the root or its `annotations`.
        files: pattern of the annotation files' names; `*rawframes.txt` where the folder holds lists of both kinds.
        classes: file of class names, one a line in label order, or each behind its number.
        group_pattern: as for `folder`; `(.*)_c\\d+$` gives UCF101's groups.
        groups: as for `folder`. Either is taken before a column `group`.
        first_label: label of the first class, 0 or 1; None: as the file of class names counts, or else 0.
        image: name of an RGB frame, as a format of its number.
        flow: name of a flow image, with `{axis}` where x or y stands.
        lists_suffice: where none of the listed videos is there, all are taken as if they were.

    Raises:
        UsageError: no annotation files, a line that does not parse or contradicts another (file:line), labels beyond
            the class names, or none of the listed videos there.
    """
    _check_templates(image=image, flow=flow)
    frames = RawFrames(0, image=image, flow_x=flow.replace("{axis}", "x"), flow_y=flow.replace("{axis}", "y"))
    found = lists_in(root, splits, files, {classes, groups})
    places = Places(root)
    read = {file: read_entries(file, table, places, image) for file, table in found.items()}
    listed = _listed([entry for entries in read.values() for entry in entries], places)
    sides = [side_of(entry, side_in(file)) for file, entries in read.items() for entry in entries]
    first = _one_each(listed)
    there = {name: one for name, one in first.items() if one.path is not None}
    if lists_suffice and not there:
        say_by_lists("list", root, list(first))
        there = first = {name: replace(one, path=root / one.entry.listed) for name, one in first.items()}
    say_missing("list", root, list(first), there)
    parents = [one.path.parent.name if one.path else Path(one.source).parent.name for one in first.values()]
    lines = [one.entry for one in first.values()]
    names = find_classes(classes, lines, next(iter(found)).parent)
    class_names, labels = class_numbers(lines, list(map(text_of, parents)), file=names, first_label=first_label)
    if names is not None:
        say_unused(names, set(labels))
    label_of = dict(zip(first, labels, strict=True))
    of_file = {one.source: one.entry.group for one in reversed(listed) if one.entry.group}
    own = {name: one.entry.group or of_file.get(one.source, one.source) for name, one in there.items()}
    found_videos = [_video(one, label_of[name], own[name], frames) for name, one in there.items()]
    videos = told_groups("list", root, found_videos, pattern=group_pattern, file=groups)
    made = listed_splits([(one.id, one.entry, side) for one, side in zip(listed, sides, strict=True)], there)
    _say_others(root, [video.path for video in videos if video.frames is None])
    return Dataset("list", root, class_names, videos, made)


def _listed(entries: Sequence[Entry], places: Places) -> list[Listed]:
    """The lines with their paths, and with ids that are made over all of them at once."""
    paths = [places.find(entry.listed) for entry in entries]
    expected = [places.root / entry.listed.replace("\\", "/") for entry in entries]
    inside = [places.inside(path or other) for path, other in zip(paths, expected, strict=True)]
    files = list(dict.fromkeys(name for entry, name in zip(entries, inside, strict=True) if entry.frames is None))
    id_of = dict(zip(files, ids_of(files), strict=True))
    listed = []
    for entry, path, name in zip(entries, paths, inside, strict=True):
        source = id_of[name] if entry.frames is None else text_of(name)
        listed.append(Listed(entry, source, source + _stretch(entry), path))
    return listed


def _stretch(entry: Entry) -> str:
    """What an id says of the stretch of a file, in seconds, or of a folder, by the number of its first frame."""
    if entry.frames is not None:
        return "" if entry.first is None else f"@{entry.first}"
    if entry.start is None:
        return ""
    start, end = ("" if time is None else f"{time:.6f}".rstrip("0").rstrip(".") for time in (entry.start, entry.end))
    return f"@{start}-{end}"


def _one_each(listed: Sequence[Listed]) -> dict[str, Listed]:
    """Each video once, by id; of one that is listed as frames and as a file, what is there."""
    told = Told()
    first: dict[str, Listed] = {}
    for one in listed:
        told.tell(one.id, "label", one.entry.label, one.entry.where)
        if one.entry.group:
            told.tell(one.id, "group", one.entry.group, one.entry.where)
        known = first.setdefault(one.id, one)
        if known.path is None and one.path is not None:
            first[one.id] = one
    return first


def _video(one: Listed, label: int, group: str, frames: RawFrames) -> Video:
    assert one.path is not None
    video = Video(one.id, one.path, label, group, one.entry.start, one.entry.end)
    if one.entry.frames is None:
        return video
    # Whether the folder's first number is 0 or 1 is told by whichever stream is there.
    zero = any((one.path / name.format(0)).exists() for name in (frames.image, frames.flow_x, frames.flow_y))
    first = (0 if zero else 1) + (one.entry.first or 0)
    return replace(video, frames=replace(frames, first=first, count=one.entry.frames))


def _say_others(root: Path, taken: Sequence[Path]) -> None:
    """Note video files in no list, in the folders that hold listed ones."""
    folders = {path.parent for path in taken if path.parent.is_dir()}
    files = {path for folder in folders for path in folder.iterdir() if is_video(path.name) and path.is_file()}
    say_unlisted("list", root, sorted(files - set(taken)))


def _check_templates(**templates: str) -> None:
    for option, template in templates.items():
        try:
            told = template.replace("{axis}", "x").format(1) != template.replace("{axis}", "x").format(2)
        except (ValueError, LookupError):
            told = False
        if not told:
            raise UsageError(
                f"option {option}: {template!r} is no format of a frame number, such as 'img_{{:05d}}.jpg'"
            )
