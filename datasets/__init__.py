"""Which videos there are: ids, labels, class names, official splits, groups. One file a data set."""

from ._check import CheckResult, Finding, check_dataset
from ._groups import groups_by_name
from ._index import DEFAULT_FOLDER, Description, describe_dataset, index_dataset
from ._splits import choose_split
from ._types import Dataset, RawFrames, Split, Video

__all__ = [
    "DEFAULT_FOLDER",
    "CheckResult",
    "Dataset",
    "Description",
    "Finding",
    "RawFrames",
    "Split",
    "Video",
    "check_dataset",
    "choose_split",
    "describe_dataset",
    "groups_by_name",
    "index_dataset",
]
