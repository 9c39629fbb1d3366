"""Heads on stored features: one file a head, one training loop, prediction."""

from ._base import Head
from ._training import Training

__all__ = ["Head", "Training"]
