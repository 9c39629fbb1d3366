"""`index_dataset`: from a data set's name, or the folder of one's own clips, to videos, labels, groups and splits."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avr.core import (
    Option,
    UsageError,
    as_text,
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
from ._lists import given_path, list_places
from ._parts import texts_in
from ._splits import Drawing, make_splits, say_empty
from ._types import Dataset

DEFAULT_FOLDER = Path("data")
OURS = ("splits", "lists_suffice")  # of a data set's own function, what `index_dataset` is told by name


@dataclass(frozen=True)
class Description:
    """What avr knows of a data set without its videos, and where it looks for them.

    Attributes:
        name: of the data set that avr knows; `folder` or `list` for one's own clips.
        called: what it is called.
        root: the folder of its videos.
        splits: its lists, where they are not under the root.
        text: what it is, in a line.
        layout: of files under the root.
        source: a web address, or "".
        options: its own, with their defaults.
        makes_itself: whether avr draws it.
    """

    name: str
    called: str
    root: Path
    splits: Path | None
    text: str
    layout: str
    source: str
    options: dict[str, Option]
    makes_itself: bool


def describe_dataset(
    name: str | Path, root: Path | None = None, *, splits: Path | None = None, called: str | None = None
) -> Description:
    """Describe a data set, from the name or path that stands for it; arguments and errors are `index_dataset`'s."""
    if called is not None:
        check_name("data set", called)
    known = item_names("avr.datasets")
    kind, path = os.fspath(name), Path(name)
    if kind in known:
        path = DEFAULT_FOLDER / kind if root is None else Path(root)
    else:
        _check_path(kind, path, root)
        if path.is_file() and splits is None:
            path, splits = path.parent, path
        # A folder with lists is one of classes all the same, unless no sub-folder has a video.
        listed = any(texts_in(place) for place in list_places(path, None)) and not _has_classes(path)
        kind = "list" if listed or splits is not None else "folder"
        called = called or name_from(text_of(path.resolve().name))
        if called in known:
            raise UsageError(
                f"{name}: {called} is a data set that avr knows: for that one, name it {called} and give --root "
                f"{path}; for your own clips give another name, --name NAME"
            )
    item = load_item("avr.datasets", kind, "data set")
    options = {key: option for key, option in options_of(item.index).items() if key not in OURS}
    drawing = getattr(item, "DRAWING", None)
    if drawing is not None:
        options |= {key: replace(one, default=getattr(drawing, key)) for key, one in options_of(Drawing).items()}
    about = item.DESCRIPTION, item.LAYOUT, getattr(item, "SOURCE", "")
    return Description(kind, called or kind, path, splits, *about, options, getattr(item, "MAKES_ITSELF", False))


def _found(about: Description, options: dict[str, Any]) -> dict[str, str]:
    """`Dataset.found`."""
    told = {"root": about.root, "called": about.called, **options}
    places = {key: path.resolve() for key, path in told.items() if isinstance(path, Path)}
    return {"dataset": about.name} | {key: as_text(value) for key, value in (told | places).items()}


def _check_path(name: str, path: Path, root: Path | None) -> None:
    """Refuse what is no path of one's own clips."""
    if not name.strip() or (not path.exists() and not any(sign in name for sign in (os.sep, os.altsep) if sign)):
        known = item_names("avr.datasets")
        hint = f"{', '.join(known)}; a folder of your own clips is given by its path, such as ./{name}"
        check_known("data set", name, known, listed=hint)
    if root is not None:
        raise UsageError(f"{name} is the data set's folder, so --root {root} is one too many: leave it out")
    if not path.exists():
        raise UsageError(f"{name}: no such folder of your own clips, and no data set that avr knows")
    if path.is_file() and is_video(path.name):
        raise UsageError(f"{name} is one video: give the folder that holds a sub-folder for each class")


def _has_classes(root: Path) -> bool:
    return any(is_video(path.name) and path.parent != root for path in walk(root))


def index_dataset(
    name: str | Path,
    root: Path | None = None,
    *,
    splits: Path | None = None,
    called: str | None = None,
    drawn: bool = True,
    lists_suffice: bool = False,
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
        lists_suffice: whether the lists of a data set say which videos there are where none of these is there: for whom
            their names, labels and splits alone matter.
        options: what the data set's own `index` function takes beyond that, such as `seed` or `group_pattern`; text,
            as it comes from a command line, is turned into the option's type.

    Raises:
        UsageError: unknown data set (the known ones are listed) or option, missing or empty folder, lists that do not
            parse, contradict each other or name no video that is there.
    """
    about = describe_dataset(name, root, splits=splits, called=called)
    kind, root, splits = about.name, about.root, None if about.splits is None else Path(about.splits)
    item = load_item("avr.datasets", kind, "data set")
    options = read_options(about.options, options, kind=f"option of data set {kind}")
    given = {key: options.pop(key) for key in options_of(Drawing) if key in options}
    by_lists = lists_suffice and "lists_suffice" in options_of(item.index)
    if not root.is_dir() and not about.makes_itself and not by_lists:
        what = "is a file, not a folder" if root.exists() else "no such folder"
        raise UsageError(f"{root}: {what}; put the videos of {kind} there or name their folder with --root")
    if splits is not None and "splits" not in options_of(item.index):
        raise UsageError(f"data set {kind} reads no split lists; leave --splits out")
    files = {key: path for key, path in {**options, "splits": splits}.items() if isinstance(path, Path)}
    options |= {key: given_path(root, path, key) for key, path in files.items()}
    found = _found(about, {**given, **options})
    if by_lists:
        options["lists_suffice"] = True
    dataset: Dataset = replace(item.index(root, **options), name=about.called, found=found)
    if not drawn:
        return dataset
    if len(dataset.class_names) == 1:
        warn(f"{dataset.name}: 1 class, {dataset.class_names[0]!r}: is its folder or list read as it is meant?")
    drawing: Drawing | None = getattr(item, "DRAWING", None)
    if drawing is not None:
        made = make_splits(dataset, replace(drawing, **given), given)
        tells = {"group_pattern", "groups"}
        if made is not dataset.splits and tells <= set(about.options) and not tells & set(options):
            say_leak(dataset)
        dataset = replace(dataset, splits=made)
    say_empty(dataset)
    return dataset
