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


class MapsHead(Head):
    """Base of the two heads of Ou & Sun: maps of equally long streams, and layer-normalised LSTMs of K units.

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
        """Units of an LSTM before a readout: `hidden`, or for 0 the papers' K, at least 32 where the readout is linear.

        Raises:
            UsageError: the papers' readout with a hidden size that is not K.
        """
        K = self.num_classes
        if not hidden:
            return K if readout == "hidden" else max(K, FEWEST_UNITS)
        if readout == "hidden" and hidden != K:
            raise UsageError(f"readout=hidden reads one unit a class: hidden must be {K} (or 0), not {hidden}")
        return hidden


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
