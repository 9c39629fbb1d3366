"""`index_dataset`: from a data set's name and folder to its videos, labels, groups and splits."""

import inspect
from pathlib import Path
from typing import Any

from avr.core import UsageError, load_item

from ._types import Dataset

DEFAULT_FOLDER = Path("data")


def index_dataset(name: str, root: Path | None = None, *, splits: Path | None = None, **options: Any) -> Dataset:
    """Index a data set.

    Args:
        name: a data set that avr knows (`avr datasets list`), such as "hmdb51" or "folder".
        root: folder that holds the videos, laid out as downloaded; default `data/<name>`.
        splits: folder (or file) of the official lists, where they are not under the root.
        options: what the data set's own `index` function takes beyond that, such as `seed` or `group_pattern`.

    Raises:
        UsageError: unknown data set (the known ones are listed) or option, missing or empty folder, lists that do not
            parse or name no video that is there.
    """
    item = load_item("avr.datasets", name, "data set")
    known = inspect.signature(item.index).parameters
    for option in options:
        if option not in known:
            takes = ", ".join(key for key in known if key not in ("root", "splits")) or "none"
            raise UsageError(f"data set {name} has no option '{option}'; it takes: {takes}")
    if splits is not None:
        if "splits" not in known:
            raise UsageError(f"data set {name} reads no split lists; leave --splits out")
        if not Path(splits).exists():
            raise UsageError(f"{splits}: no such file or folder of split lists")
        options["splits"] = Path(splits)
    root = DEFAULT_FOLDER / name if root is None else Path(root)
    if not root.is_dir() and not getattr(item, "MAKES_ITSELF", False):
        raise UsageError(f"{root}: no such folder; put the videos of {name} there or name their folder with --root")
    dataset: Dataset = item.index(root, **options)
    return dataset
