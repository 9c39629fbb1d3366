"""Which videos there are: ids, labels, class names, official splits, groups. One file a data set."""

from ._groups import groups_by_name
from ._index import DEFAULT_FOLDER, Description, describe_dataset, index_dataset
from ._splits import choose_split
from ._types import Dataset, RawFrames, Split, Video

__all__ = [
    "DEFAULT_FOLDER",
    "Dataset",
    "Description",
    "RawFrames",
    "Split",
    "Video",
    "choose_split",
    "describe_dataset",
    "groups_by_name",
    "index_dataset",
]
