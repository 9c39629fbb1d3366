"""What every room may use: errors, items found by file name, options, folds, metrics, work done ahead, whole files,
child processes.

Names that need NumPy are loaded when they are first used, so that the command line's help is instant.
"""

from typing import TYPE_CHECKING

from .ahead import Busy, Stages, ahead
from .child import Child
from .errors import AvrError, UsageError, WorkError, one_line
from .faces import lazy
from .files import make_folder, open_file, remove_leftovers, sha256_of, try_place, write_whole
from .loading import say_loading
from .locks import FolderLock
from .marks import About, NonNegativeFloat, NonNegativeInt, OneOf, PositiveFloat, PositiveInt, Range, Share
from .names import by_number, check_name, name_from
from .options import Option, as_text, check_fields, options_of, read_options, read_value
from .progress import Progress, Said, note, overheard, quiet, warn
from .ray import EngineAddress, EngineName, connect_ray, first_line, go_to
from .registry import check_known, item_names, item_summary, load_item
from .remarks import tell
from .tables import read_rows, read_text, safe_cell, write_csv

if TYPE_CHECKING:
    from .folds import grouped_folds, possible_folds, split_groups, validation_part
    from .metrics import confusion_matrix, log_softmax, mean_class_accuracy, measure, softmax, top_k_accuracy
else:
    __getattr__, __dir__ = lazy(__name__)

__all__ = [
    "About",
    "AvrError",
    "Busy",
    "Child",
    "EngineAddress",
    "EngineName",
    "FolderLock",
    "NonNegativeFloat",
    "NonNegativeInt",
    "OneOf",
    "Option",
    "PositiveFloat",
    "PositiveInt",
    "Progress",
    "Range",
    "Said",
    "Share",
    "Stages",
    "UsageError",
    "WorkError",
    "ahead",
    "as_text",
    "by_number",
    "check_fields",
    "check_known",
    "check_name",
    "confusion_matrix",
    "connect_ray",
    "first_line",
    "go_to",
    "grouped_folds",
    "item_names",
    "item_summary",
    "lazy",
    "load_item",
    "log_softmax",
    "make_folder",
    "mean_class_accuracy",
    "measure",
    "name_from",
    "note",
    "one_line",
    "open_file",
    "options_of",
    "overheard",
    "possible_folds",
    "quiet",
    "read_options",
    "read_rows",
    "read_text",
    "read_value",
    "remove_leftovers",
    "safe_cell",
    "say_loading",
    "sha256_of",
    "softmax",
    "split_groups",
    "tell",
    "top_k_accuracy",
    "try_place",
    "validation_part",
    "warn",
    "write_csv",
    "write_whole",
]
