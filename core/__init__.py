"""What every room may use: the one error type, finding an item by its file name, progress bars, whole-file writes."""

from .ahead import ahead
from .errors import AvrError, UsageError, WorkError
from .files import sha256_of, sync_folder, write_whole
from .locks import FolderLock, StoreLock
from .progress import Progress, note, quiet, warn
from .registry import item_names, load_item
from .stages import Busy, Stages

__all__ = [
    "AvrError",
    "Busy",
    "FolderLock",
    "Progress",
    "Stages",
    "StoreLock",
    "UsageError",
    "WorkError",
    "ahead",
    "item_names",
    "load_item",
    "note",
    "quiet",
    "sha256_of",
    "sync_folder",
    "warn",
    "write_whole",
]
