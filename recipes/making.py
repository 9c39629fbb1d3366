"""What a run makes itself, and how its networks are fine-tuned."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from avr.core import UsageError
from avr.datasets import Dataset
from avr.finetune import BACKBONE, END_TO_END, END_TO_END_TUNING, PAPER, Tuning
from avr.heads import head_class

from .reading import StoreSpec
from .tuned import Tuned


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


def tuned_backbone(spec: StoreSpec, making: Making, *, paper: bool) -> Tuned:
    """How the networks of a section are fine-tuned: as the paper says, or for small data, and as the run changes it."""
    settled = Tuned(PAPER if paper else BACKBONE, Tuning())
    return settled.change(spec.finetune or {}, drawing_alone=not paper).change(making.backbones)


def tuned_together(head: str, spec: StoreSpec, making: Making, *, paper: bool) -> Tuned:
    """How a head and its networks are trained end to end; crops are drawn as the section's networks have them.

    Raises:
        UsageError: an unknown setting, or a value that it does not take.
    """
    if "segments" in making.end_to_end:
        raise UsageError("--end-to-end segments: it takes those of the store, --extract segments=N")
    made = head_class(head)
    settled = Tuned((made.end_to_end or PAPER) if paper else END_TO_END, END_TO_END_TUNING)
    settled = settled.change(made.end_to_end_tuning if paper else {})
    crops = {name: value for name, value in (spec.finetune or {}).items() if name in ("augmentation", "mirror")}
    return settled.change(crops).change(making.end_to_end)
