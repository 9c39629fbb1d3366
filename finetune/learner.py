"""What the fine-tuning loop is given and gives back: samples, what is trained on them, how memory is saved."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .draws import DropoutKeys

Outputs = dict[str, Tensor]


class Samples(Protocol):
    """The training videos, as the loop sees them."""

    @property
    def names(self) -> Sequence[str]:
        """The videos' ids."""

    def read(self, videos: Sequence[int], epoch: int) -> Any:
        """Draw and read the videos' frames for an epoch; called in a thread, ahead of time."""

    def prepare(self, raw: Any, device: torch.device) -> tuple[Any, Tensor]:
        """Augment what was read, on the device: the network's input, and labels `(B,)` int64."""


@dataclass
class Learner:
    """What is trained.

    Attributes:
        network: input -> outputs `(B, K)` by name; it holds all that is learnt.
        loss: outputs and labels -> mean loss of the batch, a scalar.
        prediction: outputs -> the scores `(B, K)` that accuracy is told of.
        begin: puts the network in training mode, with its batch norm as asked; called before each epoch.
        groups: parameters with the factor on the learning rate that they train with.
        keys: what the network's dropout masks are keyed by.
        validate: loss of the validation part; None where there is no such part.
        weights_prefix: start of the names, in the network's state, of the tensors that make one weights file under
            torchvision's names; None where there is no such file, as with several backbones.
    """

    network: nn.Module
    loss: Callable[[Outputs, Tensor], Tensor]
    prediction: Callable[[Outputs], Tensor]
    begin: Callable[[], object]
    groups: Sequence[tuple[list[nn.Parameter], float]]
    keys: DropoutKeys
    validate: Callable[[], float] | None = None
    weights_prefix: str | None = None


@dataclass(frozen=True)
class Economy:
    """How memory and time are saved; none of it changes what is computed but for rounding, where there is no batch norm
    that learns its statistics from the pieces.

    Attributes:
        micro_batch: videos at once in a process; the gradients of a batch's pieces are added up. 0: all at once.
        bf16: autocast to bfloat16, on CUDA; the weights stay float32.
        save_every: write the state every so many steps, beside the end of each epoch; 0: only there.
    """

    micro_batch: int = 0
    bf16: bool = True
    save_every: int = 0


@dataclass
class Fitted:
    """What a training went through: one row an epoch, and the loss of each step over its global batch."""

    history: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    finished: bool = False
