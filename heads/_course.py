"""How far a training has come, and its state on disk: what goes on ends with the same weights as what never stopped."""

import copy
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avr.core import WorkError, note
from avr.training import (
    Schedule,
    Training,
    build_optimizer,
    read_state,
    restore_optimizer,
    state_is_due,
    write_state,
)

from ._base import Head

EpochRow = dict[str, float]


class Course:
    """How far a training has come: all that changes on the way, so that it can be kept and gone on with."""

    schedule: Schedule
    optimizer: torch.optim.Optimizer

    def __init__(self, head: Head, training: Training, generator: np.random.Generator) -> None:
        self.head, self.training, self.generator = head, training, generator
        self.best: dict[str, Tensor] = {}
        self.rows: list[EpochRow] = []
        self.started = self.kept = time.monotonic()
        self.warm = 0.0  # when the first step was done

    def begin_stage(self) -> None:
        """A stage begins with a fresh optimiser, from the best weights where there is a validation part."""
        if self.best:
            self.head.load_state_dict(self.best)
        self.optimizer = build_optimizer(self.head.parameters(), self.training)

    def end_epoch(self, row: EpochRow) -> None:
        """An epoch has ended, with this row of the log."""
        if self.schedule.end_epoch(row.get("validation_loss")):
            self.best = copy.deepcopy(self.head.state_dict())
        row["seconds"] = time.monotonic() - self.started
        self.rows.append(row)

    def keep(self, path: Path | None, device: torch.device) -> None:
        """Write the state, where the last one is old enough; at an epoch's end."""
        if path is None or self.schedule.ended or not state_is_due(self.kept):
            return
        now = time.monotonic()
        state = {
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state(),
            "best": self.best,
            "rows": self.rows,
            "order": json.dumps(self.generator.bit_generator.state),
            "random": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            "seconds": (now - self.started, now - self.warm),
        }
        write_state(path, state, settings={})
        self.kept = time.monotonic()

    def go_on(self, path: Path | None, device: torch.device) -> bool:
        """Go on from the state that was kept, if one was."""
        try:
            state = read_state(path, {}) if path is not None else None
        except WorkError as error:
            note(f"{error}; the training begins anew")
            state = None
        if state is None:
            return False
        self.head.load_state_dict(state["head"])
        self.schedule.restore(state["schedule"])
        self.best, self.rows = state["best"], state["rows"]
        self.optimizer = build_optimizer(self.head.parameters(), self.training)
        restore_optimizer(self.optimizer, state["optimizer"])
        self.generator.bit_generator.state = json.loads(state["order"])
        torch.set_rng_state(state["random"])
        if device.type == "cuda" and state["cuda"] is not None:  # it may have begun on the CPU
            torch.cuda.set_rng_state(state["cuda"], device)
        self.started, self.warm = (time.monotonic() - before for before in state["seconds"])
        return True


def refitted(training: Training, rows: Sequence[EpochRow]) -> Training:
    """A training's settings without its validation part: as many steps, the rate dropping after as many."""
    drops = tuple(
        int(before["step"]) for before, after in itertools.pairwise(rows) if after["lr"] < 0.99 * before["lr"]
    )
    return replace(
        training,
        steps=int(rows[-1]["step"]),
        schedule="step" if drops else "constant",
        drop_at=drops or None,
        validation=0.0,
        early_stopping=0,
        refit=False,
    )
