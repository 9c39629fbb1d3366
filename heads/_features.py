"""A stream's features of B videos: pooled `(B, N, D)`, tokens `(B, N, P, D)` or a map `(B, N, C, H, W)`."""

import torch
from torch import Tensor

CACHE_VALUES = 1 << 20  # float32 copies of so many stay in a CPU's cache

Moments = tuple[Tensor, Tensor]  # mean and variance of each channel within each view, `(R, C)` float32


def over_positions(features: Tensor) -> Tensor:
    """Mean over a segment's positions: of a map `(B, N, C, H, W)`, of tokens `(B, N, P, D)`; `(B, N, D)` stays."""
    if features.dim() == 3:
        return features
    return features.mean(dim=(3, 4) if features.dim() == 5 else 2, dtype=at_least_float32(features))


def over_segments(features: Tensor) -> Tensor:
    """Mean over segments and their positions, as one segment's pooled features: `(B, 1, D)`."""
    segments = over_positions(features)
    return segments if segments.shape[1] == 1 else segments.mean(dim=1, keepdim=True, dtype=at_least_float32(segments))


def positions_of(features: Tensor) -> Tensor:
    """Each segment's positions, `(B, N, P, D)`: H·W of a map `(B, N, C, H, W)`, one of pooled features `(B, N, D)`."""
    if features.dim() == 5:
        return features.flatten(3).transpose(2, 3)
    return features if features.dim() == 4 else features[:, :, None]


def lay_out(weights: Tensor, features: Tensor) -> Tensor:
    """Weights over all positions of features, `(B, N·P)`, as `Head.attention` gives them.

    Returns:
        `(B, N, H, W)` for a map; else `(B, N)`: of tokens, whose grid a store does not keep, the sum over a segment's.
    """
    if features.dim() == 5:
        return weights.reshape(*features.shape[:2], *features.shape[3:])
    return weights.reshape(*features.shape[:2], -1).sum(dim=2)


def at_least_float32(features: Tensor) -> torch.dtype:
    """Stored fp16 is added up in float32."""
    return torch.promote_types(features.dtype, torch.float32)


def cut(features: Tensor) -> tuple[Tensor, ...]:
    """Parts of some videos each, to work through one after another while a part lies in a CPU's cache."""
    parts: tuple[Tensor, ...] = torch.split(features, max(1, CACHE_VALUES // features[0].numel()))
    return (features,) if features.is_cuda else parts


def moments_of(features: Tensor) -> Moments:
    """Mean and variance of each channel within each of R views, pooled features, tokens or maps."""
    over = (1, 3, 4) if features.dim() == 5 else tuple(range(1, features.dim() - 1))
    means, variances = [], []
    for part in cut(features):
        values = part.float()
        mean = values.mean(dim=over, keepdim=True)
        means.append(mean.flatten(1))
        variances.append((values - mean).square_().mean(dim=over))
    return torch.cat(means), torch.cat(variances)
