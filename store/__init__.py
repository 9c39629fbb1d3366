"""Features and scores on disk: sealed HDF5 files, written whole or not at all. The format is in README.md here.

Beside them the folders of runs, which hold scores: `runs.py`.
"""

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
from .records import Figures, RunRecord, SplitRecord, differences, mean_figures
from .runs import (
    RUNS,
    claim_run,
    files_below,
    find_split,
    finished_runs,
    is_run,
    new_folder,
    new_split,
    read_head_record,
    read_record,
    record_split,
    run_of,
    score_path,
    score_paths,
    split_folder,
    split_names,
    write_log,
    write_record,
)
from .scores.adding import beside_others
from .scores.file import (
    AVERAGE,
    FUSED,
    TEST_VIDEO,
    TRAINED_ON,
    UNLABELLED,
    Scores,
    Videos,
    check_scores,
    is_test,
    prediction_of,
    read_scores,
    write_scores,
)
from .scores.foreign import LABEL_SUFFIXES, SCORE_SUFFIXES, read_labels
from .scores.found import Reading
from .scores.importing import Imported, import_scores

__all__ = [
    "AVERAGE",
    "FUSED",
    "LABEL_SUFFIXES",
    "RUNS",
    "SCORE_SUFFIXES",
    "TEST_VIDEO",
    "TRAINED_ON",
    "UNLABELLED",
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
    "beside_others",
    "check_part",
    "check_scores",
    "claim_run",
    "default_store",
    "describe",
    "describe_parts",
    "differences",
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
    "verify",
    "videos_of",
    "write_log",
    "write_record",
    "write_scores",
]
