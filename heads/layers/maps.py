"""What heads share that fuse the maps of several streams pixel by pixel: their settings, and maps of one size."""

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avr.core import UsageError
from avr.heads._base import Head
from avr.heads._features import at_least_float32, cut
from avr.training import Training

FEWEST_UNITS = 32  # that layer norm works well over
PAPERS_UNITS = 101  # "the hidden state dimension of all LSTM networks is 101" (sections 3.6), on all three data sets


class MapsHead(Head):
    """Base of the two heads of Ou & Sun: maps of equally long streams, and layer-normalised LSTMs.

    Attributes:
        narrow: by stream, what brings its maps to other channels as they are standardised: `forward` sees them so.
    """

    reads: ClassVar[Mapping[str, str]] = {"*": "conv5_3"}
    needs_maps = True
    same_length = True
    defaults: ClassVar[Training] = Training(epochs=20, min_steps=300, batch_size=16, lr=1e-3, weight_decay=0.01)
    paper: ClassVar[Training] = Training(
        epochs=140, second_epochs=46, batch_size=32, optimizer="adam", lr=1e-5, schedule="two-stage", standardise=False
    )
    # its second stage: the backbones join from the first training's weights
    end_to_end = Training(epochs=46, batch_size=32, optimizer="adam", lr=1e-6, schedule="constant", standardise=False)

    narrow: nn.ModuleDict

    def _standardise(self, stream: str, array: Tensor) -> Tensor:
        """Standardised and narrowed; part by part: a batch of wide maps fits no cache."""
        if stream not in self.narrow or self.narrow[stream].weight is None:
            return super()._standardise(stream, array)
        plain = super()._standardise
        return torch.cat([self.narrow[stream](plain(stream, part)) for part in cut(array)])

    def hidden_units(self, readout: str, hidden: int) -> int:
        """Units of an LSTM before a readout: `hidden`, or for 0 the papers' 101, and K where that is more; of a linear
        readout K, at least 32.

        Raises:
            UsageError: the papers' readout with fewer units than classes.
        """
        K = self.num_classes
        if not hidden:
            return max(K, PAPERS_UNITS if readout == "hidden" else FEWEST_UNITS)
        if readout == "hidden" and hidden < K:
            raise UsageError(f"readout=hidden reads one unit a class: hidden must be at least {K} (or 0), not {hidden}")
        return hidden

    def read_units(self, states: Tensor) -> Tensor:
        """Scores of the papers' readout from states `(B, hidden)`: the softmax is over all units, of which those behind
        the first K are never a target; a trained head gives the first K, `(B, K)`, whose softmax is theirs alone.
        """
        return states if self.training else states[:, : self.num_classes]


class MatchChannels(nn.Module):
    """A 1×1 convolution to `width` channels on maps `(B, N, C, H, W)`; nothing where C is `width` already."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = None if channels == width else nn.Parameter(torch.empty(width, channels))
        if self.weight is not None:
            nn.init.orthogonal_(self.weight)

    def forward(self, maps: Tensor) -> Tensor:
        if self.weight is None:
            return maps
        B, N, _, H, W = maps.shape
        volume = torch.matmul(self.weight, maps.transpose(1, 2).flatten(2))  # (B, width, N·H·W)
        return volume.view(B, -1, N, H, W).transpose(1, 2)


def shrink(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Average-pool maps `(B, N, C, H, W)` to `size` (height, width), in float32 at least; never enlarges."""
    B, N, C, H, W = maps.shape
    target = (min(H, size[0]), min(W, size[1]))
    if target == (H, W):
        return maps
    flat = maps.reshape(B * N, C, H, W).to(at_least_float32(maps))
    return F.adaptive_avg_pool2d(flat, target).view(B, N, C, *target)
