"""What every training shares: its settings, its schedule and optimiser, the device it runs on, and tensors as a file.

Torch is loaded by the names that need it, when they are first used: command lines read the settings' fields for --help.
"""

from typing import TYPE_CHECKING

from avr.core import lazy

from .optimizers import OPTIMIZERS, build_optimizer
from .schedule import SCHEDULES, Schedule
from .settings import Training, read_training

if TYPE_CHECKING:
    from .machine import choose_device, deterministic
    from .tensors import save_tensors
else:
    __getattr__, __dir__ = lazy(__name__)

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
