"""What every training shares: its settings, its schedule and optimiser, the device it runs on, and tensors as a file.

Torch is loaded by the names that need it, when they are first used: command lines read the settings' fields for --help.
"""

from typing import TYPE_CHECKING, Any

from .optimizers import OPTIMIZERS, build_optimizer
from .schedule import SCHEDULES, Schedule
from .settings import Training, read_training

if TYPE_CHECKING:
    from .machine import choose_device, deterministic
    from .tensors import save_tensors

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Schedule",
    "Training",
    "build_optimizer",
    "choose_device",
    "deterministic",
    "read_training",
    "save_tensors",
]


_PLACES = {"choose_device": "machine", "deterministic": "machine", "save_tensors": "tensors"}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _PLACES:
        return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
