"""`index_dataset`: from a data set's name and folder to its videos, labels, groups and splits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avr.core import UsageError, load_item, options_of, read_options

from ._types import Dataset

DEFAULT_FOLDER = Path("data")


@dataclass(frozen=True)
class Description:
    """What avr knows of a data set without its videos. `options` are its own, with their defaults."""

    name: str
    text: str
    layout: str
    source: str
    options: dict[str, Any]
    makes_itself: bool


def describe_dataset(name: str) -> Description:
    """Describe a data set that avr knows.

    Raises:
        UsageError: unknown data set; the message lists the known ones.
    """
    item = load_item("avr.datasets", name, "data set")
    own = {key: option.default for key, option in options_of(item.index).items() if key != "splits"}
    makes_itself = getattr(item, "MAKES_ITSELF", False)
    return Description(name, item.DESCRIPTION, item.LAYOUT, getattr(item, "SOURCE", ""), own, makes_itself)


def index_dataset(name: str, root: Path | None = None, *, splits: Path | None = None, **options: Any) -> Dataset:
    """Index a data set.

    Args:
        name: a data set that avr knows (`avr datasets list`), such as "hmdb51" or "folder".
        root: folder that holds the videos, laid out as downloaded; default `data/<name>`.
        splits: folder (or file) of the official lists, where they are not under the root.
        options: what the data set's own `index` function takes beyond that, such as `seed` or `group_pattern`; text,
            as it comes from a command line, is turned into the option's type.

    Raises:
        UsageError: unknown data set (the known ones are listed) or option, missing or empty folder, lists that do not
            parse or name no video that is there.
    """
    item = load_item("avr.datasets", name, "data set")
    known = options_of(item.index)
    own = {key: option for key, option in known.items() if key != "splits"}
    options = read_options(own, options, kind=f"option of data set {name}")
    if splits is not None:
        if "splits" not in known:
            raise UsageError(f"data set {name} reads no split lists; leave --splits out")
        if not Path(splits).exists():
            raise UsageError(f"{splits}: no such file or folder of split lists")
        options["splits"] = Path(splits)
    root = DEFAULT_FOLDER / name if root is None else Path(root)
    if not root.is_dir() and not getattr(item, "MAKES_ITSELF", False):
        what = "is a file, not a folder" if root.exists() else "no such folder"
        raise UsageError(f"{root}: {what}; put the videos of {name} there or name their folder with --root")
    dataset: Dataset = item.index(root, **options)
    return dataset
