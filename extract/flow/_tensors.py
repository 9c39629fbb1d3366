"""Methods that run in PyTorch: frames go to the device in slices that fit, flow comes back as an array."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ._method import Pairs


def in_slices(solve: Callable[[Tensor, Tensor], Tensor], pixels: int) -> Callable[[Tensor, Tensor], Tensor]:
    """`solve` over at most so many pixels at once (one pair at the least), along the batch."""

    def sliced(previous: Tensor, following: Tensor) -> Tensor:
        pairs = max(1, pixels // (previous.shape[1] * previous.shape[2]))
        parts = zip(torch.split(previous, pairs), torch.split(following, pairs), strict=True)
        return torch.cat([solve(*part) for part in parts])

    return sliced


def on_arrays(solve: Callable[[Tensor, Tensor], Tensor], device: torch.device) -> Pairs:
    """The same function from NumPy arrays to a NumPy array."""

    @torch.inference_mode()
    def compute(previous: np.ndarray, following: np.ndarray) -> np.ndarray:
        first, second = (torch.from_numpy(np.ascontiguousarray(frames)).to(device) for frames in (previous, following))
        flow: np.ndarray = solve(first, second).cpu().numpy()
        return flow

    return compute
