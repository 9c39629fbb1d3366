"""Features and scores on disk: sealed HDF5 files, written whole or not at all. The format is in README.md here."""

from .features.check import repair
from .features.index import default_store
from .features.pack import pack
from .features.reader import FeatureStore, StreamLayer
from .features.shard import ShardWriter
from .features.writer import PendingShard, StoreWriter
from .kinds import describe, export, verify
from .scores.file import (
    TEST_VIDEO,
    TRAINED_ON,
    Scores,
    Videos,
    check_scores,
    is_test,
    read_scores,
    write_scores,
)
from .scores.importing import Imported, ids_from_list, import_scores, labels_from_list
from .scores.matching import match_ids

__all__ = [
    "TEST_VIDEO",
    "TRAINED_ON",
    "FeatureStore",
    "Imported",
    "PendingShard",
    "Scores",
    "ShardWriter",
    "StoreWriter",
    "StreamLayer",
    "Videos",
    "check_scores",
    "default_store",
    "describe",
    "export",
    "ids_from_list",
    "import_scores",
    "is_test",
    "labels_from_list",
    "match_ids",
    "pack",
    "read_scores",
    "repair",
    "verify",
    "write_scores",
]
