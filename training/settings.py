"""The settings of one training: what a head trains with, what a command line may change, what a checkpoint records."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from avr.core import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Share,
    UsageError,
    check_fields,
    options_of,
    read_options,
)


@dataclass(frozen=True)
class Training:
    """Everything that changes the weights a training ends with, besides the features and the seed.

    Length. `epochs` passes over the training videos; a data set so small that they make fewer than `min_steps`
    optimiser steps gets more epochs, until there are as many. `steps` > 0 sets the length in optimiser steps instead
    (papers that count iterations), and `epochs` and `min_steps` are then not read.

    Schedules, of the learning rate `lr`:
        constant: `lr` throughout.
        cosine: from `lr` to `min_lr` along half a cosine, step by step.
        step: × 0.1 every `drop_every` epochs or steps (`drop_unit`).
        plateau: × 0.1 when the loss on the validation part has not fallen for `patience` epochs; the training ends
            when it stops falling at `min_lr`. Needs `validation` > 0.
        two-stage: `epochs` at `lr`, then `second_epochs` from those weights at `lr` / 10 with a fresh optimiser.

    A validation part (`validation` > 0) is that share of the training videos, whole groups only, drawn by the seed; the
    weights of the epoch with its lowest loss are the ones kept. `early_stopping` > 0 also ends the training after that
    many epochs without a lower loss.
    """

    epochs: PositiveInt = 30
    min_steps: NonNegativeInt = 0
    steps: NonNegativeInt = 0
    batch_size: NonNegativeInt = 32  # samples a step; 0 takes all of them in each step
    views: Literal["one", "all"] = "one"  # of a video in an epoch: one drawn anew, or each as a sample of its own
    optimizer: Literal["adamw", "sgd", "rmsprop", "adam"] = "adamw"
    lr: PositiveFloat = 1e-3
    momentum: Share = 0.9  # sgd only
    weight_decay: NonNegativeFloat = 0.0  # decoupled in adamw, an L2 term of the gradient in the others
    schedule: Literal["constant", "cosine", "step", "plateau", "two-stage"] = "cosine"
    min_lr: NonNegativeFloat = 0.0  # cosine and plateau end there
    drop_every: NonNegativeInt = 0  # step
    drop_unit: Literal["epochs", "steps"] = "epochs"  # step
    patience: NonNegativeInt = 5  # plateau: epochs without a lower validation loss before a drop
    second_epochs: NonNegativeInt = 0  # two-stage
    validation: Share = 0.0  # share of the training videos, by whole groups
    early_stopping: NonNegativeInt = 0  # epochs without a lower validation loss; 0 never stops early
    label_smoothing: Share = 0.0
    clip_norm: NonNegativeFloat = 0.0  # largest norm of a step's gradient; 0 leaves it
    standardise: bool = True  # each channel to mean 0 and deviation 1 over the training videos
    bf16: bool = True  # autocast to bfloat16 on CUDA

    def __post_init__(self) -> None:
        """Refuse values that a setting does not take, and settings that contradict one another.

        Raises:
            UsageError: naming the setting and what it takes or needs.
        """
        check_fields(self)
        if self.schedule == "step" and self.drop_every <= 0:
            raise UsageError("schedule step needs drop_every: the epochs or steps (drop_unit) between two drops")
        if self.schedule == "two-stage" and self.second_epochs <= 0:
            raise UsageError("schedule two-stage needs second_epochs: the length of its second stage")
        if self.schedule == "plateau" and not self.validation:
            raise UsageError("schedule plateau needs a validation part: set validation, such as validation=0.2")
        if self.early_stopping and not self.validation:
            raise UsageError("early_stopping needs a validation part: set validation, such as validation=0.2")


def read_training(base: Training, given: Mapping[str, object]) -> Training:
    """Training settings with some changed; texts are turned into their types.

    Where a number of epochs is given, it holds: `min_steps` and `steps` of the base are then 0, unless given too.

    Raises:
        UsageError: unknown setting or value, or settings that contradict one another.
    """
    changed = read_options(options_of(Training), given, kind="training setting")
    if "epochs" in changed:
        changed = {"min_steps": 0, "steps": 0} | changed
    return replace(base, **changed)
