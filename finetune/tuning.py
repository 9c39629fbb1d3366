"""The settings of a fine-tuning beside those of extraction and optimisation."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from avr.core import NonNegativeInt, OneOf, PositiveFloat, Share, UsageError, check_fields

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

    augmentation: Annotated[str, OneOf(AUGMENTATIONS)] = "corners"
    mirror: bool = True
    dropout: Share | None = None
    batch_norm: Mode = "local"
    new_factor: PositiveFloat = 10.0
    micro_batch: NonNegativeInt = 0
    recompute: bool = False
    bf16: bool = True
    compile: bool = False
    save_every: NonNegativeInt = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.recompute and self.batch_norm != "frozen":
            raise UsageError(
                f"recompute runs one video at a time, which batch norm '{self.batch_norm}' would take its statistics "
                "from: use --micro-batch instead or, end to end, --batch-norm frozen"
            )

    def identity(self) -> dict[str, Any]:
        """What a continued training must share; the rest saves memory or time and may change on the way."""
        free = ("micro_batch", "recompute", "compile", "save_every")
        return {name: value for name, value in asdict(self).items() if name not in free}
