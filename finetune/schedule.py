"""When a fine-tuning's learning rate changes and when it ends: the heads' schedules, with a state that can be kept."""

import math
from typing import Any

from avr.heads import Plateau, Training, learning_rate, stages


class Schedule:
    """Learning rate of each step and the end of a training, from its settings and what validation said so far.

    Args:
        training: the schedule and its numbers; see `avr.heads.Training`.
        steps_per_epoch: optimiser steps of one pass over the training videos.
    """

    def __init__(self, training: Training, steps_per_epoch: int) -> None:
        self.training, self.steps_per_epoch = training, steps_per_epoch
        self.stages = stages(training, steps_per_epoch)
        self.total_steps = sum(steps for steps, _ in self.stages)
        self.plateau = Plateau(training) if training.schedule == "plateau" else None
        self.finished, self.lowest, self.waited = False, math.inf, 0

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if self.plateau is not None:
            return self.plateau.rate
        for steps, rate in self.stages:
            if step < steps:
                return rate if len(self.stages) > 1 else self._of_one_stage(step)
            step -= steps
        return self.stages[-1][1]

    def _of_one_stage(self, step: int) -> float:
        return learning_rate(self.training, step, total_steps=self.total_steps, steps_per_epoch=self.steps_per_epoch)

    def begins_stage(self, step: int) -> bool:
        """Whether a stage after the first begins with this step: the optimiser is then fresh (schedule two-stage)."""
        return len(self.stages) > 1 and step == self.stages[0][0]

    def begin_stage(self) -> None:
        """Early stopping counts its epochs anew; the lowest loss stays, as the weights that reached it do."""
        self.waited = 0

    def ended(self, step: int) -> bool:
        """Whether the training is over before this step."""
        return self.finished or step >= self.total_steps

    def watch(self, validation_loss: float) -> bool:
        """Take the validation loss of an epoch; True when it is the lowest so far."""
        lower = validation_loss < self.lowest
        self.lowest, self.waited = (validation_loss, 0) if lower else (self.lowest, self.waited + 1)
        if self.plateau is not None and self.plateau.update(validation_loss):
            self.finished = True
        if self.training.early_stopping and self.waited >= self.training.early_stopping:
            self.finished = True
        return lower

    def state(self) -> dict[str, Any]:
        """Plain numbers that `restore` takes."""
        plateau = None
        if self.plateau is not None:
            plateau = {"rate": self.plateau.rate, "lowest": self.plateau.lowest, "waited": self.plateau.waited}
        return {"finished": self.finished, "lowest": self.lowest, "waited": self.waited, "plateau": plateau}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        self.finished, self.lowest, self.waited = state["finished"], state["lowest"], state["waited"]
        if self.plateau is not None:
            self.plateau.rate = state["plateau"]["rate"]
            self.plateau.lowest, self.plateau.waited = state["plateau"]["lowest"], state["plateau"]["waited"]
