"""Features and scores on disk: sealed HDF5 files, written whole or not at all. The format is in README.md here."""

from .checking import repair, verify
from .defaults import default_store
from .describing import describe
from .exporting import export
from .features import FeatureStore, StreamLayer
from .importing import Imported, ids_from_list, import_scores, labels_from_list
from .joining import JoinReport, join_scores, match_ids
from .packing import pack
from .scores import Scores, check_scores, read_scores, write_scores
from .shards import ShardWriter
from .writer import PendingShard, StoreWriter

__all__ = [
    "FeatureStore",
    "Imported",
    "JoinReport",
    "PendingShard",
    "Scores",
    "ShardWriter",
    "StoreWriter",
    "StreamLayer",
    "check_scores",
    "default_store",
    "describe",
    "export",
    "ids_from_list",
    "import_scores",
    "join_scores",
    "labels_from_list",
    "match_ids",
    "pack",
    "read_scores",
    "repair",
    "verify",
    "write_scores",
]
