"""Temporal pyramid and the factorised 3-D convolutions of Ou & Sun, TPN-BiLSTM (sections 3.1 and 3.3)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def temporal_pyramid(steps: Tensor, levels: Sequence[int] = (1, 2, 4)) -> Tensor:
    """Means over 1, 2, 4, … equal spans of time: `(B, N, …)` to `(B, Σ levels, …)`, coarse spans first.

        N = 8:  aaaaaaaa        1 span of 8
                bbbbcccc        2 spans of 4
                ddeeffgg        4 spans of 2     -> a b c d e f g

    With 8 steps of 7×7×512 the seven vectors hold 7·7·7·512 = 175 616 values. Where N is no multiple of a level, spans
    share a step at their borders.
    """
    flat = steps.flatten(2).transpose(1, 2)  # (B, values, N)
    pooled = torch.cat([F.adaptive_avg_pool1d(flat, level) for level in levels], dim=2)  # (B, values, Σ levels)
    return pooled.transpose(1, 2).reshape(steps.shape[0], -1, *steps.shape[2:])


class FactorisedConv3d(nn.Module):
    """A 3-D convolution as k×k×1 over space, then 1×1×t over time, the same N, H and W (section 3.1).

    n³ values of a kernel become n² + n. Works on volumes `(B, C, N, H, W)`; ReLU after the pair, none between, for the
    pair stands for one convolution.

    Args:
        channels: C in.
        width: C out, of both convolutions.
        spatial: k, odd.
        temporal: t, odd.
    """

    def __init__(self, channels: int, width: int, *, spatial: int = 3, temporal: int = 3) -> None:
        super().__init__()
        self.space = nn.Conv3d(channels, width, (1, spatial, spatial), padding=(0, spatial // 2, spatial // 2))
        self.time = nn.Conv3d(width, width, (temporal, 1, 1), padding=(temporal // 2, 0, 0))
        nn.init.kaiming_normal_(self.space.weight, nonlinearity="linear")
        nn.init.kaiming_normal_(self.time.weight, nonlinearity="relu")
        for convolution in (self.space, self.time):
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)

    def forward(self, volume: Tensor) -> Tensor:
        return F.relu(self.time(self.space(volume)))


class MultiScaleConv3d(nn.Module):
    """MST-3D: parallel factorised convolutions at several scales, concatenated: `(B, C, N, H, W)` to 3·width channels.

    The paper's temporal kernels are 3, 3, 5 (fig. 3) and 512 channels become 1536.

    Departure from the paper: its spatial kernels are in the figure alone; ours are 1, 3, 5.
    """

    def __init__(
        self, channels: int, width: int, *, spatial: Sequence[int] = (1, 3, 5), temporal: Sequence[int] = (3, 3, 5)
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            FactorisedConv3d(channels, width, spatial=side, temporal=length)
            for side, length in zip(spatial, temporal, strict=True)
        )

    def forward(self, volume: Tensor) -> Tensor:
        return torch.cat([branch(volume) for branch in self.branches], dim=1)
