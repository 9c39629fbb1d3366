"""Optimisers and the learning rate of each step, as pure functions where there is no state."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from .settings import Training


def build_optimizer(parameters: Iterable[nn.Parameter], training: Training, *, cuda: bool) -> torch.optim.Optimizer:
    """The optimiser a training names. Its learning rate is set at every step by the loop."""
    # One fused kernel a step on CUDA: a head of 90 M parameters is otherwise bound by launches.
    rate, decay = training.lr, training.weight_decay
    if training.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=cuda)
    if training.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay, fused=cuda)
    if training.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=training.momentum, weight_decay=decay, fused=cuda)
    return torch.optim.RMSprop(parameters, lr=rate, weight_decay=decay)


def stages(training: Training, steps_per_epoch: int) -> list[tuple[int, float]]:
    """(steps, learning rate) of each stage: one, or two for the two-stage schedule.

    Args:
        training: its `steps`, or `epochs` and `min_steps`, give the length.
        steps_per_epoch: optimiser steps of one pass over the training videos, at least 1.
    """
    wanted = max(training.epochs, math.ceil(training.min_steps / steps_per_epoch)) * steps_per_epoch
    first = training.steps or wanted
    if training.schedule != "two-stage":
        return [(first, training.lr)]
    return [(first, training.lr), (training.second_epochs * steps_per_epoch, training.lr / 10)]


def learning_rate(training: Training, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
    """Learning rate of a step, counted from 0, under the schedules that do not look at the validation part.

    Example: schedule step, lr 1e-3, drop_every 2 epochs of 5 steps: 1e-3 for steps 0-9, 1e-4 for 10-19, …
    """
    if training.schedule == "cosine":
        share = step / max(total_steps, 1)
        return training.min_lr + (training.lr - training.min_lr) * 0.5 * (1 + math.cos(math.pi * share))
    if training.schedule == "step":
        drops = step // (training.drop_every * (steps_per_epoch if training.drop_unit == "epochs" else 1))
        return training.lr * float(0.1**drops)
    return training.lr


class Plateau:
    """× 0.1 when the validation loss stops falling, down to `min_lr`; finished when it stops falling there.

    Where a head's paper says "error", avr watches the loss: the error of a small validation part moves in jumps of a
    video and ties for most epochs.
    """

    def __init__(self, training: Training) -> None:
        self.rate, self.floor, self.patience = training.lr, training.min_lr, training.patience
        self.lowest, self.waited = math.inf, 0

    def update(self, validation_loss: float) -> bool:
        """Take one epoch's validation loss; True when the training is finished."""
        if validation_loss < self.lowest:
            self.lowest, self.waited = validation_loss, 0
            return False
        self.waited += 1
        if self.waited < self.patience:
            return False
        # The paper's floors are powers of ten of its rate; a hair of slack keeps rounding from adding a drop.
        if self.rate * 0.1 < self.floor * (1 - 1e-6) or self.rate * 0.1 < 1e-12:
            return True
        self.rate, self.waited = self.rate * 0.1, 0
        return False
