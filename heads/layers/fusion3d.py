"""Fusing the maps of several streams at pixel level (Ou & Sun 2019, section 3.2.1; after Feichtenhofer et al. 2016)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

NARROW = 64  # channels; 3-D convolutions of 512 are slower with channels last


def interleave(maps: Sequence[Tensor]) -> Tensor:
    """Lay the streams' channels alternately (eq. 1): S maps `(B, N, C, H, W)` to `(B, N, S·C, H, W)`.

    Channel `S·c + s` of the result is channel c of stream s (counted from 0).

    Departure from the paper: eq. 1 puts the spatial stream second of each pair; here the streams keep their order. The
    convolution that follows is learnt, so the order changes nothing.
    """
    stacked = torch.stack(list(maps), dim=3)  # (B, N, C, S, H, W)
    return stacked.flatten(2, 3)


def narrow_last(volume: Tensor) -> Tensor:
    """A volume `(B, C, N, H, W)`; of few channels with these side by side in memory, where a CPU is faster so."""
    if volume.is_cuda or volume.shape[1] > NARROW:
        return volume
    return volume.contiguous(memory_format=torch.channels_last_3d)


class Fusion3d(nn.Module):
    """Interleave, then one 3-D convolution back to the channels of a single stream (eq. 2): the same N, H and W.

    In the paper 3×3×3, 1024 → 512, with bias and no activation.

    Args:
        channels: C of every stream.
        streams: S.
        kernel: side of the kernel in time, height and width; odd.
        start: "sum" starts from the kernel that adds matching channels, which section 3.2.1 names as what the filter
            can become, plus small noise; "random" from PyTorch's default. The paper does not say.
    """

    def __init__(
        self, channels: int, *, streams: int = 2, kernel: int = 3, start: Literal["sum", "random"] = "sum"
    ) -> None:
        super().__init__()
        self.channels, self.streams = channels, streams
        self.convolution = nn.Conv3d(streams * channels, channels, kernel, padding=kernel // 2)
        if start == "sum":
            self.start_as_sum()

    def start_as_sum(self, noise: float = 0.1) -> None:
        """Set the kernel so that the output is the sum of matching channels (exactly, with `noise` 0)."""
        weight = self.convolution.weight
        centre = weight.shape[-1] // 2
        with torch.no_grad():
            weight.mul_(noise)
            for stream in range(self.streams):
                channel = torch.arange(self.channels)
                weight[channel, channel * self.streams + stream, centre, centre, centre] += 1.0
            if self.convolution.bias is not None:
                self.convolution.bias.zero_()

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """S maps `(B, N, C, H, W)` to `(B, N, C, H, W)`."""
        volume = narrow_last(interleave(maps).transpose(1, 2))  # (B, S·C, N, H, W)
        return self.convolution(volume).transpose(1, 2)
