"""What every flow method is, and finding one by its name."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from avr.core import UsageError, load_item

Solve = Callable[[Tensor, Tensor], Tensor]


class FlowMethod:
    """A flow method ready to be called, and what computes it.

    Args:
        name: the method's name, such as "tvl1".
        solve: (P, H, W) uint8 twice, or (P, H, W, 3) where `needs_colour`, on `device`, to (P, 2, H, W) float32 there;
            P is at least 1.
        needs_colour: whether it reads RGB frames; the others read grey ones.
        backend: what computes it, such as "opencv" or "triton"; kept with the features.
        device: where it computes.
    """

    def __init__(
        self, name: str, solve: Solve, *, needs_colour: bool = False, backend: str = "opencv", device: str = "cpu"
    ) -> None:
        self.name, self.solve, self.device = name, solve, device
        self.needs_colour, self.backend = needs_colour, backend

    @torch.inference_mode()
    def __call__(self, previous: np.ndarray, following: np.ndarray) -> np.ndarray:
        """Flow of each pair.

        Args:
            previous: (P, H, W) uint8 grey, or (P, H, W, 3) uint8 RGB where `needs_colour`; P is at least 1.
            following: the same shape: the frames that come after.

        Returns:
            (P, 2, H, W) float32, pixels, x then y. A pair's flow does not depend on the pairs beside it: bit for bit
            on a CPU, except `raft`, within 1e-3 px.
        """
        first, second = (torch.from_numpy(np.array(frames)).to(self.device) for frames in (previous, following))
        flow: np.ndarray = self.solve(first, second).cpu().numpy()
        return flow


def in_slices(solve: Solve, pixels: int) -> Solve:
    """`solve` over at most so many pixels at once (one pair at the least), along the batch."""

    def sliced(previous: Tensor, following: Tensor) -> Tensor:
        pairs = max(1, pixels // (previous.shape[1] * previous.shape[2]))
        parts = zip(torch.split(previous, pairs), torch.split(following, pairs), strict=True)
        return torch.cat([solve(*part) for part in parts])

    return sliced


def padded(solve: Solve, smallest: int, multiple: int = 1) -> Solve:
    """`solve` of frames too small for it, or of no fitting size: with their border repeated, and cut off the flow.

    Args:
        solve: wants sides of at least `smallest` pixels, and of a multiple of so many.
    """

    def wide(previous: Tensor, following: Tensor) -> Tensor:
        height, width = previous.shape[1:3]
        high, broad = (max(smallest, -(-side // multiple) * multiple) - side for side in (height, width))
        if not high and not broad:
            return solve(previous, following)
        top, left = high // 2, broad // 2
        rows = (torch.arange(height + high, device=previous.device) - top).clamp(0, height - 1)
        columns = (torch.arange(width + broad, device=previous.device) - left).clamp(0, width - 1)
        flow = solve(*(frames[:, rows][:, :, columns] for frames in (previous, following)))
        return flow[..., top : top + height, left : left + width].contiguous()

    return wide


def load(name: str, device: str = "cpu", **options: object) -> FlowMethod:
    """A flow method by its name.

    Args:
        name: an item of this folder: "dis", "farneback", "tvl1" or "raft"; "raft=FILE" names its weights as well.
        device: "cpu" or "cuda", "cuda:1" …; methods that have no GPU form run on the CPU whatever it says.
        options: the method's own settings, keywords of the item's `build`.

    Raises:
        UsageError: no such method (the known ones are listed), or one without weights.
    """
    name, _, weights = name.partition("=")
    build = load_item("avr.extract.flow", name, "flow method").build
    if weights:
        if "weights" not in (build.__kwdefaults__ or {}):
            raise UsageError(f"flow '{name}' has no weights: leave ={weights} out")
        options["weights"] = weights
    method: FlowMethod = build(device, **options)
    return method
