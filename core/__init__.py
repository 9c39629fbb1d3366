"""What every room may use: errors, items found by file name, options, folds, metrics, work done ahead, whole files,
child processes.

Names that need NumPy are loaded when they are first used, so that the command line's help is instant.
"""

from typing import TYPE_CHECKING

from .ahead import Busy, Stages, ahead
from .child import Child
from .documents import as_json, digest_of, read_json, write_json
from .errors import AvrError, Unwritten, UsageError, WorkError, message_of, one_line
from .extras import installing, load_extra
from .faces import lazy
from .files import cannot_write, make_folder, open_file, remove_leftovers, sha256_of, write_folder, write_whole
from .loading import say_loading
from .locks import FolderLock
from .marks import About, NonNegativeFloat, NonNegativeInt, OneOf, PositiveFloat, PositiveInt, Range, Share
from .names import by_number, check_name, name_from
from .options import Option, as_text, check_fields, options_of, read_options, read_value
from .outputs import claim_file, claim_files, claim_folder
from .progress import Progress, Said, note, overheard, quiet, warn
from .ray import EngineAddress, EngineName, connect_ray, first_line, go_to
from .registry import check_known, item_names, item_summary, load_item
from .remarks import as_size, changes, differences, first_few, tell
from .stopping import Stopped, stoppable, unbroken
from .system import WINDOWS, free_memory, most_open_files, open_handle, read_at
from .tables import plain_cell, read_rows, read_text, safe_cell, write_csv

if TYPE_CHECKING:
    from .folds import grouped_folds, possible_folds, split_groups, validation_part
    from .metrics import confusion_matrix, log_softmax, mean_class_accuracy, measure, softmax, top_k_accuracy
else:
    __getattr__, __dir__ = lazy(__name__)
