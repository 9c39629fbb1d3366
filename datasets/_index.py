"""`index_dataset`: from a data set's name, or the folder of one's own clips, to videos, labels, groups and splits."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from avr.core import (
    Option,
    UsageError,
    check_known,
    check_name,
    item_names,
    load_item,
    name_from,
    options_of,
    read_options,
    warn,
)

from ._files import is_video, text_of, walk
from ._groups import say_leak
from ._lists import list_places
from ._parts import texts_in
from ._splits import Drawing, make_splits, say_empty
from ._types import Dataset

DEFAULT_FOLDER = Path("data")


@dataclass(frozen=True)
class Description:
    """What avr knows of a data set without its videos.

    `options` are its own, with their defaults; `root` is where its videos are looked for.
    """

    name: str
    text: str
    layout: str
    source: str
    options: dict[str, Option]
    makes_itself: bool
    root: Path


class Place(NamedTuple):
    """Where a data set is: the name of one that avr knows, what it is called, its folder, its lists if elsewhere."""

    kind: str
    called: str
    root: Path
    splits: Path | None


def describe_dataset(
    name: str | Path, root: Path | None = None, *, splits: Path | None = None, called: str | None = None
) -> Description:
    """Describe a data set that avr knows, or that the folder of one's own clips is read as; see `index_dataset`.

    Raises:
        UsageError: unknown data set; the message lists the known ones.
    """
    place = _find(name, root, splits, called)
    item = load_item("avr.datasets", place.kind, "data set")
    own = _options(item)
    makes_itself = getattr(item, "MAKES_ITSELF", False)
    source = getattr(item, "SOURCE", "")
    return Description(place.kind, item.DESCRIPTION, item.LAYOUT, source, own, makes_itself, place.root)


def _find(name: str | Path, root: Path | None, splits: Path | None, called: str | None) -> Place:
    """Where a data set is, from the name or path that stands for it: of `index_dataset`, with its errors."""
    name = os.fspath(name)
    if called is not None:
        check_name("data set", called)
    known = item_names("avr.datasets")
    if name in known:
        return Place(name, called or name, DEFAULT_FOLDER / name if root is None else Path(root), splits)
    path = Path(name)
    if not name.strip() or (not path.exists() and not any(sign in name for sign in (os.sep, os.altsep) if sign)):
        hint = f"{', '.join(known)}; a folder of your own clips is given by its path, such as ./{name}"
        check_known("data set", name, known, listed=hint)
    if root is not None:
        raise UsageError(f"{name} is the data set's folder, so --root {root} is one too many: leave it out")
    if not path.exists():
        raise UsageError(f"{name}: no such folder of your own clips, and no data set that avr knows")
    if path.is_file() and is_video(path.name):
        raise UsageError(f"{name} is one video: give the folder that holds a sub-folder for each class")
    if path.is_file() and splits is None:
        path, splits = path.parent, path
    called = called or name_from(text_of(path.resolve().name))
    if called in known:
        raise UsageError(
            f"{name}: {called} is a data set that avr knows: for that one, name it {called} and give --root {path}; "
            "for your own clips give another name, --name NAME"
        )
    # A folder with lists is one of classes all the same, unless no sub-folder has a video.
    listed = splits is not None or any(texts_in(place) for place in list_places(path, None))
    return Place("list" if listed and (splits or not _has_classes(path)) else "folder", called, path, splits)


def _has_classes(root: Path) -> bool:
    return any(is_video(path.name) and path.parent != root for path in walk(root))


def index_dataset(
    name: str | Path,
    root: Path | None = None,
    *,
    splits: Path | None = None,
    called: str | None = None,
    drawn: bool = True,
    **options: Any,
) -> Dataset:
    """Index a data set.

    Args:
        name: a data set that avr knows (`avr datasets list`), such as "hmdb51"; or the path of one's own clips, such as
            "clips/mine", for data set `folder`, or `list` where no sub-folder has a video, or where it is a list's own.
        root: folder that holds the videos, laid out as downloaded; default `data/<name>`.
        splits: folder (or file) of the official lists, where they are not under the root: from the working folder, or
            else the root.
        called: what the data set is called; default its name, or that of the folder.
        drawn: whether splits are drawn where none are given; False for whom the videos alone matter.
        options: what the data set's own `index` function takes beyond that, such as `seed` or `group_pattern`; text,
            as it comes from a command line, is turned into the option's type.

    Raises:
        UsageError: unknown data set (the known ones are listed) or option, missing or empty folder, lists that do not
            parse, contradict each other or name no video that is there.
    """
    place = _find(name, root, splits, called)
    item = load_item("avr.datasets", place.kind, "data set")
    known = _options(item)
    options = read_options(known, options, kind=f"option of data set {place.kind}")
    given = {key: options.pop(key) for key in options_of(Drawing) if key in options}
    root = place.root
    if place.splits is not None:
        if "splits" not in options_of(item.index):
            raise UsageError(f"data set {place.kind} reads no split lists; leave --splits out")
        options["splits"] = next((path for path in (Path(place.splits), root / place.splits) if path.exists()), None)
        if options["splits"] is None:
            raise UsageError(f"{place.splits}: no such file or folder of split lists")
    if not root.is_dir() and not getattr(item, "MAKES_ITSELF", False):
        what = "is a file, not a folder" if root.exists() else "no such folder"
        raise UsageError(f"{root}: {what}; put the videos of {place.kind} there or name their folder with --root")
    dataset: Dataset = replace(item.index(root, **options), name=place.called)
    if not drawn:
        return dataset
    if len(dataset.class_names) == 1:
        warn(f"{dataset.name}: 1 class, {dataset.class_names[0]!r}: is its folder or list read as it is meant?")
    drawing: Drawing | None = getattr(item, "DRAWING", None)
    if drawing is not None:
        made = make_splits(dataset, replace(drawing, **given), given)
        if made is not dataset.splits and "group_pattern" in known and not {"group_pattern", "groups"} & set(options):
            say_leak(dataset)
        dataset = replace(dataset, splits=made)
    say_empty(dataset)
    return dataset


def _options(item: ModuleType) -> dict[str, Option]:
    """The options of a data set's own, with those of the splits that are drawn for it."""
    own = {key: option for key, option in options_of(item.index).items() if key != "splits"}
    drawing = getattr(item, "DRAWING", None)
    if drawing is not None:
        own |= {key: replace(one, default=getattr(drawing, key)) for key, one in options_of(Drawing).items()}
    return own
