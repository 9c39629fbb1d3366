"""The settings of a fine-tuning beside those of extraction and optimisation."""

from dataclasses import asdict, dataclass
from typing import Any

from avr.core import UsageError

from .augmentation import AUGMENTATIONS
from .batchnorm import Mode


@dataclass(frozen=True)
class Tuning:
    """How samples are drawn, what batch norm and dropout do, and how memory and time are saved.

    Attributes:
        augmentation: how crops are drawn: corners (STFN), random-resized (GLKA), jitter, centre.
        mirror: mirror half of the samples; flow's x changes sign. Off where left and right tell classes apart.
        dropout: of the backbone; None keeps its own. A network without dropout gets it before its classifier.
        batch_norm: of the backbones: local, sync, partial or frozen (`avr.finetune.batchnorm`).
        new_factor: the new classifier's (the head's) learning rate over the backbone's.
        micro_batch: videos at once in a process; the gradients of a batch's pieces are added up. 0: all at once.
        recompute: hold activations of one video at a time and make them again in the backward pass (end to end). With
            frozen batch norm alone: other statistics would be those of one video.
        bf16: autocast to bfloat16 on CUDA.
        compile: torch.compile the backbones.
        save_every: write the state every so many steps beside the end of each epoch; 0: only there.
    """

    augmentation: str = "corners"
    mirror: bool = True
    dropout: float | None = None
    batch_norm: Mode = "local"
    new_factor: float = 10.0
    micro_batch: int = 0
    recompute: bool = False
    bf16: bool = True
    compile: bool = False
    save_every: int = 0

    def __post_init__(self) -> None:
        if self.augmentation not in AUGMENTATIONS:
            raise UsageError(f"unknown augmentation '{self.augmentation}'; known: {', '.join(AUGMENTATIONS)}")
        if self.batch_norm not in ("local", "sync", "partial", "frozen"):
            raise UsageError(f"unknown batch norm '{self.batch_norm}'; known: local, sync, partial, frozen")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise UsageError(f"dropout must be at least 0 and below 1, not {self.dropout}")
        if self.recompute and self.batch_norm != "frozen":
            raise UsageError(
                f"recompute runs one video at a time, which batch norm '{self.batch_norm}' would take its statistics "
                "from: use --micro-batch instead or, end to end, --batch-norm frozen"
            )
        if self.new_factor <= 0 or self.micro_batch < 0 or self.save_every < 0:
            raise UsageError("new-factor must be above 0, micro-batch and save-every not below")

    def identity(self) -> dict[str, Any]:
        """What a continued training must share; the rest saves memory or time and may change on the way."""
        free = ("micro_batch", "recompute", "compile", "save_every")
        return {name: value for name, value in asdict(self).items() if name not in free}
