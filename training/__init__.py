"""What every training shares: its settings, its schedule and optimiser, and the device it runs on."""

from .machine import choose_device
from .schedule import Plateau, build_optimizer, learning_rate, stages
from .settings import Training, read_training

__all__ = ["Plateau", "Training", "build_optimizer", "choose_device", "learning_rate", "read_training", "stages"]
