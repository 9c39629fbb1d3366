"""Features and scores on disk: sealed HDF5 files, written whole or not at all. The format is in README.md here.

Beside them the folders of runs, which hold scores: `runs.py`.
"""

from .claims import claim_run, new_folder
from .describe import describe, export, verify
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
from .newest import finished_runs, lack_of_store, warn_unfinished
from .records import Figures, RunRecord, SplitRecord, mean_figures
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

__all__ = [
    "ATTENDED",
    "AVERAGE",
    "FUSED",
    "LABEL_SUFFIXES",
    "MULTIPLY",
    "RUNS",
    "SCORE_SUFFIXES",
    "SCORE_WORDS",
    "TEST_VIDEO",
    "TRAINED_ON",
    "UNLABELLED",
    "UNTRAINED",
    "FeatureStore",
    "Figures",
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
    "begun_folder",
    "beside_others",
    "check_part",
    "check_scores",
    "claim_run",
    "default_store",
    "describe",
    "describe_parts",
    "drop",
    "export",
    "files_below",
    "find_split",
    "finished_runs",
    "import_export",
    "import_features",
    "import_scores",
    "is_export",
    "is_run",
    "is_test",
    "lack_of_store",
    "match_ids",
    "mean_figures",
    "new_folder",
    "new_split",
    "pack",
    "prediction_of",
    "read_head_record",
    "read_labels",
    "read_record",
    "read_scores",
    "record_split",
    "repair",
    "run_of",
    "score_path",
    "score_paths",
    "split_folder",
    "split_names",
    "vectors_path",
    "verify",
    "videos_of",
    "warn_unfinished",
    "write_log",
    "write_record",
    "write_scores",
]
