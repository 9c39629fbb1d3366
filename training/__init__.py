"""What every training shares: its settings, its schedule and optimiser, and the device it runs on.

No file loads torch before it is needed: command lines read the settings' fields for --help.
"""

from .machine import Engine, check_device, choose_device, deterministic
from .schedule import Schedule
from .settings import OPTIMIZERS, SCHEDULES, Optimizer, Training, build_optimizer, read_training

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Engine",
    "Optimizer",
    "Schedule",
    "Training",
    "build_optimizer",
    "check_device",
    "choose_device",
    "deterministic",
    "read_training",
]
