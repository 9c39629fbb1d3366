"""Which videos there are: ids, labels, class names, official splits, groups. One file a data set."""

from ._classes import read_class_file
from ._files import find_videos, is_video
from ._groups import groups_by_name, groups_by_pattern, read_groups
from ._index import Description, describe_dataset, index_dataset
from ._listed import Listed, read_listed
from ._splits import choose_split
from ._types import Dataset, RawFrames, Split, Video

# Public, a page each in docs/api; the other names here are for avr's own rooms.
__all__ = [
    "Dataset",
    "Description",
    "RawFrames",
    "Split",
    "Video",
    "describe_dataset",
    "index_dataset",
]
