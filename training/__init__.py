"""What every training shares: its settings, its schedule and optimiser, the device it runs on, and
the state that an interrupted one goes on from.

No file loads torch before it is needed: command lines read the settings' fields for --help.
"""

from .epochs import Epoch, OnEpoch, TensorBoard
from .machine import Engine, check_device, choose_device, deterministic
from .schedule import Schedule
from .settings import (
    LBFGS,
    OPTIMIZERS,
    SCHEDULES,
    Optimizer,
    Training,
    build_optimizer,
    check_read,
    read_training,
    settings_of,
)
from .state import read_state, restore_optimizer, state_is_due, write_state
