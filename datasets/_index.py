"""`index_dataset`: from a data set's name, or the folder of one's own clips, to videos, labels, groups and splits."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from avr.core import (
    Option,
    UsageError,
    check_known,
    check_name,
    item_names,
    load_item,
    name_from,
    note,
    options_of,
    read_options,
    warn,
)

from ._annotations import looks_listed
from ._files import find_videos, is_video, text_of
from ._groups import say_leak
from ._lists import list_places
from ._parts import lists_at
from ._splits import Drawing, make_splits
from ._types import Dataset

DEFAULT_FOLDER = Path("data")


@dataclass(frozen=True)
class Description:
    """What avr knows of a data set without its videos. `options` are its own, with their defaults."""

    name: str
    text: str
    layout: str
    source: str
    options: dict[str, Option]
    makes_itself: bool


@dataclass(frozen=True)
class Place:
    """Where a data set is that is given by its name or by a path.

    Attributes:
        kind: the name of a data set that avr knows.
        called: what it is called.
        root: its folder.
        splits: its lists, where they are not under the root.
    """

    kind: str
    called: str
    root: Path
    splits: Path | None = None


def describe_dataset(name: str | Path) -> Description:
    """Describe a data set that avr knows, or that the folder of one's own clips is read as.

    Raises:
        UsageError: unknown data set; the message lists the known ones.
    """
    kind = find_dataset(name).kind
    item = load_item("avr.datasets", kind, "data set")
    own = _options(item)
    makes_itself = getattr(item, "MAKES_ITSELF", False)
    return Description(kind, item.DESCRIPTION, item.LAYOUT, getattr(item, "SOURCE", ""), own, makes_itself)


def find_dataset(
    name: str | Path, root: Path | None = None, *, splits: Path | None = None, called: str | None = None
) -> Place:
    """Where a data set is, from the name or path that stands for it.

    A name that avr does not know, and that is a folder or holds a path's separator, is the path of one's own clips: of
    data set `folder`, or of `list` where the folder holds lists and no class folders, or the path is a list's own.

    Args:
        name: such as "hmdb51", "clips/mine" or "clips/mine/labels.csv".
        root: the folder, where a name is given.
        splits: the lists, if they lie elsewhere.
        called: what to call it; None: by its name or by the folder's own.

    Raises:
        UsageError: an unknown name, a path that is not there, or a folder that can be read in two ways.
    """
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
    return Place(_kind_of(path, splits), called, path, splits)


def _kind_of(root: Path, splits: Path | None) -> str:
    """How a folder of one's own clips is read: `folder` or `list`."""
    if splits is not None:
        return "list"
    lists = [path.name for place in list_places(root, None) for path in lists_at(place) if looks_listed(path)]
    if not lists:
        return "folder"
    classes = sorted({path.parts[0] for path in find_videos(root) if len(path.parts) > 1})
    if len(classes) > 1:
        raise UsageError(
            f"{root} holds lists ({lists[0]}{', …' * (len(lists) > 1)}) and folders of videos that may be classes "
            f"({text_of(classes[0])}, …): name the data set, folder or list, and give --root {root} --name NAME"
        )
    return "list"


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
        name: a data set that avr knows (`avr datasets list`), such as "hmdb51", or the path of a folder of one's own
            clips; see `find_dataset`.
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
    place = find_dataset(name, root, splits=splits, called=called)
    if place.kind == "list" and name != "list":
        note(f"{place.root}: read as data set list")
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
    dataset: Dataset = item.index(root, **options)
    dataset = replace(dataset, name=place.called) if place.called != place.kind else dataset
    _say_alike(dataset)
    drawing: Drawing | None = getattr(item, "DRAWING", None)
    if drawing is None or not drawn:
        return dataset
    made = make_splits(dataset, replace(drawing, **given), given)
    if made is not dataset.splits and "group_pattern" in known and not {"group_pattern", "groups"} & set(options):
        say_leak(dataset)
    return replace(dataset, splits=made)


def _say_alike(dataset: Dataset) -> None:
    """Warn of classes that a slip may have made of one."""
    known: dict[str, str] = {}
    for name in dataset.class_names:
        other = known.setdefault(re.sub(r"[\s_-]", "", name.casefold()), name)
        if other != name:
            warn(f"{dataset.name}: {other!r} and {name!r} are two classes: is one a slip?")


def _options(item: ModuleType) -> dict[str, Option]:
    """The options of a data set's own, with those of the splits that are drawn for it."""
    own = {key: option for key, option in options_of(item.index).items() if key != "splits"}
    drawing = getattr(item, "DRAWING", None)
    if drawing is not None:
        own |= {key: replace(one, default=getattr(drawing, key)) for key, one in options_of(Drawing).items()}
    return own


def index_again(name: str, root: Path | None) -> Dataset:
    """The data set that a store or run names, from its folder again: one's own clips are called so, and lie at `root`.

    Raises:
        UsageError: as `index_dataset`; one's own clips without their folder.
    """
    if name in item_names("avr.datasets"):
        return index_dataset(name, root)
    if root is None:
        raise UsageError(f"{name}: where its videos are is not known: name their folder with --root")
    return index_dataset(os.path.join(root, ""), called=name)
