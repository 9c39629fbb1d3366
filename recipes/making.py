"""What a run makes itself, and how its networks are fine-tuned."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from avr.core import UsageError, check_known, options_of, read_value
from avr.datasets import Dataset
from avr.finetune import BACKBONE, END_TO_END, END_TO_END_TUNING, PAPER, UNREAD, Tuning
from avr.heads import head_class
from avr.training import Training, read_training

from .reading import StoreSpec


@dataclass(frozen=True)
class Making:
    """What a run makes itself, of which videos, and where.

    Attributes:
        dataset: indexed.
        folder: below which the stages lie, of all recipes of this data set.
        finetune: whether networks are fine-tuned, alone and, in the rows that say so, end to end; else they are frozen.
        extract: changes to the store sections, texts by setting or by "setting@section".
        backbones: changes to the fine-tuning of networks alone: settings of `Training` and `Tuning`, and "segments".
        end_to_end: changes to the trainings end to end.
        cache: of decoded frames and flow.
        keep_stores: they stay when their rows are measured.
    """

    dataset: Dataset
    folder: Path
    cache: Path
    finetune: bool = True
    extract: Mapping[str, str] = field(default_factory=dict)
    backbones: Mapping[str, str] = field(default_factory=dict)
    end_to_end: Mapping[str, str] = field(default_factory=dict)
    keep_stores: bool = False


@dataclass(frozen=True)
class Tuned:
    """How a network is fine-tuned."""

    training: Training
    tuning: Tuning
    segments: int = 1

    def __post_init__(self) -> None:
        if self.segments < 1:
            raise UsageError(f"segments must be at least 1, not {self.segments}")

    def change(self, given: Mapping[str, object], *, drawing_alone: bool = False) -> "Tuned":
        """With other settings, values or texts; with `drawing_alone` those of the training are left as they are.

        Raises:
            UsageError: an unknown setting, or a value that it does not take.
        """
        tunings, trainings = options_of(Tuning), options_of(Training)
        known = sorted({*tunings, *trainings, "segments"} - set(UNREAD))
        for name in given:
            check_known("setting of a fine-tuning", name, known)
        drawing = {n: read_value(n, value, tunings[n].hint) for n, value in given.items() if n in tunings}
        rates = {} if drawing_alone else {n: value for n, value in given.items() if n in trainings}
        segments = read_value("segments", given.get("segments", self.segments), int)
        return Tuned(read_training(self.training, rates), replace(self.tuning, **drawing), segments)


def tuned_backbone(spec: StoreSpec, making: Making, *, paper: bool) -> Tuned:
    """How the networks of a section are fine-tuned: as the paper says, or for small data, and as the run changes it."""
    settled = Tuned(PAPER if paper else BACKBONE, Tuning())
    return settled.change(spec.finetune or {}, drawing_alone=not paper).change(making.backbones)


def tuned_together(head: str, spec: StoreSpec, making: Making, *, paper: bool) -> Tuned:
    """How a head and its networks are trained end to end; crops are drawn as the section's networks have them."""
    made = head_class(head)
    settled = Tuned((made.end_to_end or PAPER) if paper else END_TO_END, END_TO_END_TUNING)
    settled = settled.change(made.end_to_end_tuning if paper else {})
    crops = {name: value for name, value in (spec.finetune or {}).items() if name in ("augmentation", "mirror")}
    return settled.change(crops).change(making.end_to_end)
