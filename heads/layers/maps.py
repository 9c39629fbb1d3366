"""Bringing the maps of several streams to one size, before they are fused pixel by pixel."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avr.core import UsageError

MapShape = tuple[int, ...]  # (N, C, H, W)


def check_maps(shapes: Mapping[str, tuple[int, ...]], head: str, layer: str) -> None:
    """Refuse pooled layers and streams of different lengths.

    Raises:
        UsageError: a stream holds no `(N, C, H, W)`, or N differs between streams.
    """
    flat = [stream for stream, shape in shapes.items() if len(shape) != 4]
    if flat:
        raise UsageError(
            f"the {head} head reads maps, but the layer read of {', '.join(flat)} is pooled: read a layer of maps "
            f"(avr extract --layers {layer})"
        )
    if len({shape[0] for shape in shapes.values()}) > 1:
        lengths = ", ".join(f"{stream} {shape[0]}" for stream, shape in shapes.items())
        raise UsageError(f"the {head} head fuses the streams step by step, but their lengths differ: {lengths}")


class MatchChannels(nn.Module):
    """A 1×1 convolution to `width` channels on maps `(B, N, C, H, W)`; nothing where C is `width` already."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = None if channels == width else nn.Parameter(torch.empty(width, channels))
        if self.weight is not None:
            nn.init.orthogonal_(self.weight)

    def forward(self, maps: Tensor) -> Tensor:
        return maps if self.weight is None else torch.einsum("dc,bnchw->bndhw", self.weight, maps)


def shrink(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Average-pool maps `(B, N, C, H, W)` to `size` (height, width); never enlarges."""
    B, N, C, H, W = maps.shape
    target = (min(H, size[0]), min(W, size[1]))
    if target == (H, W):
        return maps
    return F.adaptive_avg_pool2d(maps.reshape(B * N, C, H, W), target).view(B, N, C, *target)
