"""The settings of a fine-tuning beside those of extraction and optimisation; no torch: command lines read them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from avr.core import (
    About,
    NonNegativeInt,
    OneOf,
    PositiveFloat,
    Share,
    UsageError,
    check_fields,
    options_of,
    read_options,
)
from avr.training import Training, read_training

from .augmentation import AUGMENTATIONS

Mode = Literal["local", "sync", "partial", "frozen"]
# Settings of a training that are of heads on a store; here there is another way, or none.
UNREAD = {
    "standardise": "the features' standardisation stays that of the head's training",
    "refit": "it is of heads on a store",
    "bf16": "a fine-tuning has a bf16 of its own: --bf16 or --no-bf16",
    "class_weights": "its loss weighs videos alike",
}


@dataclass(frozen=True)
class Tuning:
    """How samples are drawn, what batch norm and dropout do, and how memory and time are saved.

    Crops are corners (STFN), random-resized (GLKA), jitter (of the scale) or centre. Batch norm takes its statistics
    from a process's part of the batch (local), from the whole of it (sync), in the first layer alone (partial) or
    nowhere (frozen). `new_factor` multiplies the rate of the new classifier (the head); `micro_batch` cuts a batch into
    pieces whose gradients are added up. `recompute` holds activations of one video at a time and makes them again in
    the backward pass: with frozen batch norm alone, since other statistics would be those of one video.
    """

    augmentation: Annotated[str, OneOf(AUGMENTATIONS), About("How crops are drawn.")] = "corners"
    mirror: Annotated[bool, About("Mirror half of the samples; off where left and right tell classes apart.")] = True
    dropout: Annotated[Share | None, About("Of the backbone; one without gets it before its classifier.")] = None
    batch_norm: Annotated[Mode, About("Whose statistics: a process's, all, fixed but for one, fixed.")] = "local"
    new_factor: Annotated[PositiveFloat, About("Factor on the classifier's (head's) rate.")] = 10.0
    micro_batch: Annotated[NonNegativeInt, About("Videos at once in a process; gradients are added up. 0: all.")] = 0
    recompute: Annotated[bool, About("End to end: hold one video's activations only.")] = False
    bf16: Annotated[bool, About("bfloat16 on CUDA.")] = True
    flow_start: Annotated[
        Literal["rgb", "random"], About("First convolution of flow's network: the mean over RGB's, or drawn anew.")
    ] = "rgb"
    compile: Annotated[bool, About("torch.compile the backbones; not worth it on a CPU.")] = False
    save_every: Annotated[NonNegativeInt, About("Write the state every so many steps too. 0: after epochs alone.")] = 0

    def __post_init__(self) -> None:
        """Refuse values that a setting does not take, and settings that contradict one another."""
        check_fields(self)
        if self.recompute and self.batch_norm != "frozen":
            raise UsageError(
                f"recompute runs one video at a time, which batch norm '{self.batch_norm}' would take its statistics "
                "from: use --micro-batch instead or, end to end, --batch-norm frozen"
            )

    def identity(self, *, processes: int = 1) -> dict[str, Any]:
        """What a continued training must share: all that changes what is computed, rounding apart.

        Batch norm that learns its statistics takes them from a piece of the batch: how it is cut, among processes and
        within one, then belongs to the training. Synced, it takes them from the pieces of all processes together.
        """
        same = {**asdict(self), "processes": processes}
        for free in ("recompute", "compile", "save_every"):
            del same[free]
        if self.batch_norm == "frozen" or not self.micro_batch:
            del same["micro_batch"]
        if self.batch_norm == "frozen" or processes == 1 or (self.batch_norm == "sync" and not self.micro_batch):
            del same["processes"]
        return same


# Train well on small data sets from ImageNet weights: small steps for the trunk, which a new classifier would else undo
# in its first steps, ten times larger ones for the classifier. From random weights lr=1e-3 is better.
BACKBONE = Training(epochs=20, batch_size=16, optimizer="adamw", lr=1e-4, weight_decay=0.05, schedule="cosine")
# End to end: small steps from where head and backbones are, as GLKA (III-G) and Ou and Sun (3.6) take them; larger ones
# lose what fine-tuning won (benchmarks/RESULTS.md, "Fine-tuned beside frozen"). A head that was not trained takes more.
END_TO_END = Training(epochs=10, batch_size=16, optimizer="adamw", lr=1e-5, weight_decay=0.05, schedule="cosine")
FROM_START = replace(END_TO_END, lr=1e-4)
# A head was trained on features made with its backbones' statistics: they stay.
END_TO_END_TUNING = Tuning(batch_norm="frozen", new_factor=1.0)


def is_fresh(training: Mapping[str, object]) -> bool:
    """Whether a head is as it was drawn, by the settings of its training: it had no epochs."""
    return not any(training.get(length, True) for length in ("epochs", "steps"))


def settle_tuning(base: Tuning, given: Tuning | Mapping[str, object] | None) -> Tuning:
    """A whole record as it is, or a base's with some fields changed.

    Raises:
        UsageError: unknown field or value, or fields that contradict one another.
    """
    if isinstance(given, Tuning):
        return given
    return replace(base, **read_options(options_of(Tuning), given or {}, kind="setting of fine-tuning"))


def settle_training(base: Training, given: Training | Mapping[str, object] | None) -> Training:
    """Whole settings, or a base's with some changed; those that fine-tuning does not read are the usual ones, so that
    records differ in what was done alone.

    Raises:
        UsageError: unknown setting or value, settings that contradict one another, or a change of one that fine-tuning
            does not read.
    """
    training = given if isinstance(given, Training) else _changed(base, given or {})
    if not (training.epochs or training.min_steps or training.steps):
        raise UsageError("epochs=0 trains nothing: a fine-tuning takes one at least")
    return replace(training, **{name: getattr(Training(), name) for name in UNREAD})


def _changed(base: Training, given: Mapping[str, object]) -> Training:
    for name in given:
        if name in UNREAD:
            raise UsageError(f"training setting {name}: fine-tuning does not read it ({UNREAD[name]})")
    return read_training(base, given)
