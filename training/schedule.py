"""When a training's learning rate changes and when it ends: plain numbers, with a state that can be kept."""

import math
from typing import Any

from .settings import SCHEDULES, Place, Training


class Schedule:
    """The course of a training, from its settings and what validation said so far.

    A loop asks `begins_stage` and `rate` before a step, calls `count_step` after it and `end_epoch` after an epoch's
    last, until it has `ended`:

        stage 0: epoch epoch epoch | stage 1: epoch epoch        two-stage, lr then lr / 10

    A stage ends after its steps, even within an epoch, which then ends there too; or by `early_stopping`; or where the
    loop finds the training's loss nil; or, under plateau, at the lowest rate. The next one goes on from the best
    weights with a fresh optimiser, and waits anew.

    Args:
        training: the schedule and its numbers.
        steps_per_epoch: optimiser steps of one pass over the training videos, at least 1.

    Attributes:
        stages: (steps, learning rate) of each; one, or two under two-stage; none where there are no epochs.
        step: steps taken, of all stages.
        epoch: epochs ended, of all stages.
        step_of_epoch: steps taken of the epoch that goes on.
    """

    def __init__(self, training: Training, steps_per_epoch: int) -> None:
        self.training, self.steps_per_epoch = training, steps_per_epoch
        wanted = max(training.epochs, math.ceil(training.min_steps / steps_per_epoch)) * steps_per_epoch
        length = training.steps or wanted
        self.stages = [(length, training.lr)] if length else []
        if training.schedule == "two-stage" and self.stages:
            self.stages.append((training.second_epochs * steps_per_epoch, training.lr / 10))
        self.stage = self.step = self.step_of_stage = self.step_of_epoch = self.epoch = 0
        self.lowest, self.waited = math.inf, 0
        self.plateau_rate, self.plateau_waited = training.lr, 0
        self.nothing_left = False  # set by a loop whose loss is nil: the stage ends with the epoch

    @property
    def total_steps(self) -> int:
        """Steps that the training takes, or at most takes."""
        return sum(steps for steps, _ in self.stages)

    @property
    def total_epochs(self) -> int:
        """Epochs that the training takes, or at most takes."""
        return sum(math.ceil(steps / self.steps_per_epoch) for steps, _ in self.stages)

    @property
    def ended(self) -> bool:
        return self.stage == len(self.stages)

    @property
    def begins_stage(self) -> bool:
        return not self.ended and self.step_of_stage == 0

    @property
    def stage_left(self) -> int:
        """Steps that the stage still has, at most."""
        return self.stages[self.stage][0] - self.step_of_stage

    @property
    def epoch_left(self) -> int:
        """Steps that the epoch still has: to its end, or to that of the stage where that comes first."""
        return min(self.steps_per_epoch - self.step_of_epoch, self.stage_left)

    def rate(self) -> float:
        """Learning rate of the next step."""
        if self.training.schedule == "plateau":
            return self.plateau_rate
        steps, lr = self.stages[self.stage]
        at = Place(self.step_of_stage, steps, self.steps_per_epoch)
        return SCHEDULES[self.training.schedule](self.training, at) * lr / self.training.lr

    def count_step(self) -> None:
        self.step += 1
        self.step_of_stage += 1
        self.step_of_epoch += 1

    def end_epoch(self, validation_loss: float | None = None) -> bool:
        """End an epoch, and with it perhaps the stage or the training.

        Args:
            validation_loss: after the epoch; None without a validation part.

        Returns:
            Whether that loss is the lowest so far: these weights are then the ones to keep.
        """
        lower, over = False, self.stage_left == 0 or self.nothing_left
        if validation_loss is not None:
            lower = validation_loss < self.lowest
            self.lowest, self.waited = (validation_loss, 0) if lower else (self.lowest, self.waited + 1)
            over |= self.training.schedule == "plateau" and self._reaches_floor(lower=lower)
            over |= 0 < self.training.early_stopping <= self.waited
        self.epoch, self.step_of_epoch = self.epoch + 1, 0
        if over:
            self.stage, self.step_of_stage, self.waited, self.nothing_left = self.stage + 1, 0, 0, False
        return lower

    def _reaches_floor(self, *, lower: bool) -> bool:
        """× 0.1 when the validation loss stops falling, down to `min_lr`; True when it stops falling there.

        Where a head's paper says "error", avr watches the loss: the error of a small validation part moves in jumps of
        a video and ties for most epochs.
        """
        self.plateau_waited = 0 if lower else self.plateau_waited + 1
        if lower or self.plateau_waited < self.training.patience:
            return False
        # The papers' floors are powers of ten of their rates; a hair of slack keeps rounding from adding a drop.
        dropped = self.plateau_rate * 0.1
        if dropped < self.training.min_lr * (1 - 1e-6) or dropped < 1e-12:
            return True
        self.plateau_rate, self.plateau_waited = dropped, 0
        return False

    def state(self) -> dict[str, Any]:
        """Plain numbers that `restore` takes: what changes on the way."""
        fixed = ("training", "steps_per_epoch", "stages")
        return {name: value for name, value in vars(self).items() if name not in fixed}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        vars(self).update(state)
