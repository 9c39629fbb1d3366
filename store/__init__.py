"""Features and scores on disk: sealed HDF5 files, written whole or not at all. The format is in README.md here."""

from .defaults import default_store
from .features import FeatureStore, StreamLayer
from .scores import Scores, check_scores, read_scores, write_scores
from .shards import ShardWriter
from .writer import PendingShard, StoreWriter

__all__ = [
    "FeatureStore",
    "PendingShard",
    "Scores",
    "ShardWriter",
    "StoreWriter",
    "StreamLayer",
    "check_scores",
    "default_store",
    "read_scores",
    "write_scores",
]
