"""Which videos there are: ids, labels, class names, official splits, groups. One file a data set."""

from ._index import DEFAULT_FOLDER, index_dataset
from ._types import Dataset, RawFrames, Split, Video

__all__ = ["DEFAULT_FOLDER", "Dataset", "RawFrames", "Split", "Video", "index_dataset"]
