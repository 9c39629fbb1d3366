"""The settings of one training, and the optimiser they name: what a command line may change, a checkpoint records.

A new optimiser or schedule is one line of the tables here; command lines and their help find it there.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from avr.core import (
    About,
    NonNegativeFloat,
    NonNegativeInt,
    OneOf,
    PositiveFloat,
    PositiveInt,
    Share,
    UsageError,
    check_fields,
    options_of,
    read_options,
)

if TYPE_CHECKING:
    import torch


class Optimizer(NamedTuple):
    """A class of `torch.optim` by name, what it reads of `Training` beside `lr`, and whether torch has it fused."""

    kind: str
    reads: tuple[str, ...] = ("weight_decay",)
    fused: bool = True


OPTIMIZERS = {
    "adamw": Optimizer("AdamW"),
    "sgd": Optimizer("SGD", ("momentum", "weight_decay")),
    "rmsprop": Optimizer("RMSprop", fused=False),
    "adam": Optimizer("Adam"),
    "lbfgs": Optimizer("LBFGS"),
}


LATER = {
    "class_weights": "none",
    "drop_at": None,
    "refit": False,
}  # settings that the first runs do not have, and what they did
LBFGS = (
    "optimizer lbfgs solves a convex problem: the heads linear and statistics-pooling, or consensus over=average, "
    "with dropout=0; choose another --optimizer"
)
LBFGS_READS = ("optimizer", "epochs", "weight_decay", "label_smoothing", "class_weights", "standardise")


class Place(NamedTuple):
    """Where in a stage its next step is: after how many, of how many, and how many make an epoch."""

    step: int
    steps: int
    epoch: int


def cosine(training: "Training", at: Place) -> float:
    """From `lr` to `min_lr` along half a cosine."""
    share = at.step / max(at.steps, 1)
    return training.min_lr + (training.lr - training.min_lr) * 0.5 * (1 + math.cos(math.pi * share))


def drops(training: "Training", at: Place) -> float:
    """× 0.1 every `drop_every`: lr 1e-3, drop_every 2 epochs of 5 steps: 1e-3 for steps 0-9, 1e-4 for 10-19, …; or
    after each of the steps of `drop_at`."""
    if training.drop_at:
        return training.lr * float(0.1 ** sum(at.step >= step for step in training.drop_at))
    unit = at.epoch if training.drop_unit == "epochs" else 1
    return training.lr * float(0.1 ** (at.step // (training.drop_every * unit)))


# Name -> learning rate of a stage's next step, were it the first stage. `Schedule` adds what plateau does.
SCHEDULES: dict[str, Callable[["Training", Place], float]] = {
    "constant": lambda training, at: training.lr,
    "cosine": cosine,
    "step": drops,
    "plateau": lambda training, at: training.lr,
    "two-stage": lambda training, at: training.lr,
}


@dataclass(frozen=True)
class Training:
    """Everything that changes the weights a training ends with, besides the features and the seed.

    Length. `epochs` passes over the training videos; a data set so small that they make fewer than `min_steps`
    optimiser steps gets more epochs, until there are as many. `steps` > 0 sets the length in optimiser steps instead
    (papers that count iterations), and `epochs` and `min_steps` are then not read.

    Schedules, of the learning rate `lr`:
        constant: `lr` throughout.
        cosine: from `lr` to `min_lr` along half a cosine, step by step.
        step: × 0.1 every `drop_every` epochs or steps (`drop_unit`), or after the steps of `drop_at`.
        plateau: × 0.1 when the loss on the validation part has not fallen for `patience` epochs; the training ends
            when it stops falling at `min_lr`. Needs `validation` > 0.
        two-stage: `epochs` at `lr`, then `second_epochs` from those weights at `lr` / 10 with a fresh optimiser.

    A validation part (`validation` > 0) is that share of the training videos, whole groups only, drawn by the seed; the
    weights of the epoch with its lowest loss are the ones kept. `early_stopping` > 0 also ends a stage (the training,
    where it has one) after that many epochs without a lower loss. Under plateau, `refit` gives the part back: a fresh
    head is trained on all training videos, in as many steps and with the rate dropping after as many as before. A head
    whose loss is nil (an epoch's mean below 1e-4) has nothing more to learn, and its stage ends.

    The optimiser lbfgs solves a linear head whole, on all views of all videos: of the settings it reads `epochs`, its
    iterations at most, `weight_decay`, `label_smoothing`, `class_weights` and `standardise` (`LBFGS_READS`).
    """

    epochs: Annotated[NonNegativeInt, About("Passes over the training videos; 0: weights stay as drawn.")] = 30
    min_steps: Annotated[NonNegativeInt, About("Optimiser steps, at least.")] = 0
    steps: Annotated[NonNegativeInt, About("Length in optimiser steps instead.")] = 0
    batch_size: Annotated[NonNegativeInt, About("Videos a step, of all processes together; 0: all.")] = 32
    views: Annotated[Literal["one", "all"], About("Of a video in an epoch: one drawn anew, or each.")] = "one"
    optimizer: Annotated[str, OneOf(OPTIMIZERS), About("Which optimiser.")] = "adamw"
    lr: Annotated[PositiveFloat, About("Learning rate.")] = 1e-3
    momentum: Annotated[Share, About("Of sgd.")] = 0.9
    weight_decay: Annotated[
        NonNegativeFloat, About("Decoupled in adamw, an L2 term elsewhere; 0 of lbfgs: chosen by inner folds.")
    ] = 0.0
    schedule: Annotated[str, OneOf(SCHEDULES), About("Of the learning rate.")] = "cosine"
    min_lr: Annotated[NonNegativeFloat, About("Where cosine and plateau end.")] = 0.0
    drop_every: Annotated[NonNegativeInt, About("Epochs or steps between two drops, under step.")] = 0
    drop_unit: Annotated[Literal["epochs", "steps"], About("What drop_every counts.")] = "epochs"
    drop_at: Annotated[tuple[PositiveInt, ...] | None, About("Steps after which it drops instead, under step.")] = None
    patience: Annotated[NonNegativeInt, About("Epochs without a lower loss before a drop, under plateau.")] = 5
    second_epochs: Annotated[NonNegativeInt, About("Length of the second stage, under two-stage.")] = 0
    validation: Annotated[Share, About("Share of the training videos, by whole groups.")] = 0.0
    early_stopping: Annotated[NonNegativeInt, About("Epochs without a lower validation loss; 0: never.")] = 0
    refit: Annotated[bool, About("Under plateau: then train anew on all videos, with its drops.")] = False
    label_smoothing: Annotated[Share, About("Of the cross-entropy.")] = 0.0
    class_weights: Annotated[
        Literal["none", "balanced"], About("Of the cross-entropy; balanced: classes weigh alike, however many videos.")
    ] = "none"
    clip_norm: Annotated[NonNegativeFloat, About("Largest norm of a step's gradient; 0 leaves it.")] = 0.0
    standardise: Annotated[bool, About("Each channel to mean 0 and deviation 1 in training.")] = True
    bf16: Annotated[bool, About("Autocast to bfloat16 on CUDA.")] = True

    def __post_init__(self) -> None:
        """Refuse values that a setting does not take, and settings that contradict one another."""
        check_fields(self)
        if self.schedule == "step" and self.drop_every <= 0 and not self.drop_at:
            raise UsageError("schedule step needs drop_every: the epochs or steps (drop_unit) between two drops")
        if self.refit and self.schedule != "plateau":
            raise UsageError("refit repeats the drops of schedule plateau: leave it out, or set schedule=plateau")
        if self.schedule == "two-stage" and self.second_epochs <= 0:
            raise UsageError("schedule two-stage needs second_epochs: the length of its second stage")
        for needy, there in (("schedule plateau", self.schedule == "plateau"), ("early_stopping", self.early_stopping)):
            if there and not self.validation:
                raise UsageError(f"{needy} needs a validation part: set validation, such as validation=0.2")
        if self.optimizer == "lbfgs" and self.validation:
            raise UsageError("optimizer lbfgs holds out its own folds: validation must be 0")
        if self.optimizer == "lbfgs" and self.label_smoothing and self.class_weights != "none":
            raise UsageError("optimizer lbfgs takes label_smoothing or class_weights, not both: leave one out")


def check_read(training: Training, names: Iterable[str]) -> None:
    """Refuse settings that were named, or are to be searched, where the training's optimiser reads none of them.

    Raises:
        UsageError: naming them.
    """
    unread = [name for name in names if name not in LBFGS_READS] if training.optimizer == "lbfgs" else []
    if unread:
        raise UsageError(
            f"optimizer lbfgs does not read {', '.join(unread)}: leave it out, or choose another --optimizer, such as "
            "adamw"
        )


def settings_of(training: Training) -> dict[str, Any]:
    """Settings by name, as an avr before some of them wrote them: those are left out where they change nothing."""
    told = {name: getattr(training, name) for name in options_of(Training)}
    return {name: value for name, value in told.items() if name not in LATER or value != LATER[name]}


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


def build_optimizer(
    parameters: "Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]]", training: Training
) -> "torch.optim.Optimizer":
    """The optimiser a training names, for parameters or groups of them. The loop sets its learning rate at each step.

    A step is one fused kernel, where torch has one: it reads and writes each weight once.
    """
    if training.optimizer == "lbfgs":
        raise UsageError(LBFGS)
    known = OPTIMIZERS[training.optimizer]
    options = {name: getattr(training, name) for name in known.reads} | ({"fused": True} if known.fused else {})
    return without_compiler(known.kind)(parameters, lr=training.lr, **options)


@cache
def without_compiler(kind: str) -> "Callable[..., torch.optim.Optimizer]":
    """A class of `torch.optim` whose use does not import torch's compiler: 900 modules, two CPU seconds of a process.

    Three of its methods are wrapped to hide them from that compiler, which has to be there for it; here are the methods
    themselves. Where torch does not wrap them, nothing changes.
    """
    import torch

    plain = getattr(torch.optim, kind)
    methods = {name: inspect.unwrap(getattr(plain, name)) for name in ("add_param_group", "zero_grad", "step")}
    return type(kind, (plain,), methods | {"step": torch.no_grad()(methods["step"])})
