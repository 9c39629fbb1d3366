"""Which videos there are: ids, labels, class names, official splits, groups. One file a data set."""

from ._files import find_videos, is_video
from ._groups import groups_by_name
from ._index import Description, describe_dataset, index_dataset
from ._splits import choose_split
from ._types import Dataset, RawFrames, Split, Video

__all__ = [
    "Dataset",
    "Description",
    "RawFrames",
    "Split",
    "Video",
    "choose_split",
    "describe_dataset",
    "find_videos",
    "groups_by_name",
    "index_dataset",
    "is_video",
]
