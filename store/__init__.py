"""Features and scores on disk: sealed HDF5 files, written whole or not at all. The format is in README.md here.

Beside them the folders of runs, which hold scores: `runs.py`.
"""

from .claims import claim_run, claim_tuning, new_folder
from .describe import describe, export, verify
from .epochs import EpochTable
from .features.check import repair
from .features.index import pack
from .features.parts import check_part, default_store, describe_parts, drop
from .features.reader import FeatureStore, StreamLayer
from .features.shard import ShardWriter
from .features.writer import StoreWriter
from .imports.exported import is_export, videos_of
from .imports.imported import ImportedFeatures
from .imports.importing import import_export, import_features
from .imports.laying import Laying
from .matching import match_ids
from .newest import finished_runs, lack_of, lack_of_store, runs_below, warn_unfinished
from .records import KINDS, Figures, RunRecord, SplitRecord, mean_figures
from .runs import (
    ATTENDED,
    RUNS,
    begun_folder,
    files_below,
    find_split,
    is_run,
    new_split,
    read_head_record,
    read_record,
    record_split,
    run_of,
    score_path,
    score_paths,
    split_folder,
    split_names,
    tuning_folder,
    vectors_path,
    write_log,
    write_record,
)
from .scores.adding import beside_others
from .scores.file import (
    AVERAGE,
    FUSED,
    MULTIPLY,
    TEST_VIDEO,
    TRAINED_ON,
    UNLABELLED,
    UNTRAINED,
    Scores,
    Videos,
    check_scores,
    is_test,
    prediction_of,
    read_scores,
    write_scores,
)
from .scores.foreign import LABEL_SUFFIXES, SCORE_SUFFIXES, read_labels
from .scores.found import SCORE_WORDS, Reading
from .scores.importing import Imported, import_scores

# Public, a page each in docs/api; the other names here are for avr's own rooms.
__all__ = [
    "TEST_VIDEO",
    "TRAINED_ON",
    "UNLABELLED",
    "FeatureStore",
    "Imported",
    "ImportedFeatures",
    "Laying",
    "Reading",
    "RunRecord",
    "Scores",
    "ShardWriter",
    "SplitRecord",
    "StoreWriter",
    "StreamLayer",
    "Videos",
    "describe",
    "drop",
    "export",
    "finished_runs",
    "import_features",
    "import_scores",
    "pack",
    "read_record",
    "read_scores",
    "repair",
    "verify",
    "write_scores",
]
