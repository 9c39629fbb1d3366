"""Every random number of a fine-tuning, as a pure function of (seed, what it is for), not of what ran before.

An epoch's order depends on (seed, epoch); a video's frames and crop on (seed, epoch, video); a mask of dropout or of
stochastic depth on (seed, step, layer, video). So a run that is continued draws what an uninterrupted one would have
drawn, and a batch draws the same whether one process takes it, several share it, or it is cut into pieces that fit the
memory.
"""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def generator_for(seed: int, purpose: str, *key: int) -> np.random.Generator:
    """A generator of its own for each seed, purpose and key."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *key])


def seed_for(seed: int, purpose: str, *key: int) -> int:
    """A 63-bit seed of its own for each seed, purpose and key, for torch's generators."""
    return int(generator_for(seed, purpose, *key).integers(2**63))


def epoch_order(seed: int, epoch: int, count: int) -> list[int]:
    """The order in which an epoch takes `count` videos: the one global order that all processes cut their part from."""
    return [int(index) for index in generator_for(seed, "order", epoch).permutation(count)]


def share(batch: Sequence[int], rank: int, world: int) -> list[int]:
    """One process's part of a global batch: contiguous, sizes differing by one at most.

    5 videos among 2 processes: `00011`. Processes beyond the batch's size get none.
    """
    first, rest = divmod(len(batch), world)
    start = rank * first + min(rank, rest)
    return list(batch[start : start + first + (rank < rest)])


def cut(batch: Sequence[int], micro_batch: int, *, rank: int = 0, world: int = 1) -> list[list[int]]:
    """One process's part of a global batch, in pieces of at most `micro_batch` videos (0: one piece).

    Every process gets the same number of pieces, so that all meet in the same sums; some may be empty. 10 videos among
    3 processes, 2 at a time: `[[0, 1], [2, 3]] [[4, 5], [6]] [[7, 8], [9]]`.
    """
    mine = share(batch, rank, world)
    largest = math.ceil(len(batch) / world)
    pieces = math.ceil(largest / (micro_batch or largest))
    return [share(mine, number, pieces) for number in range(pieces)]


class DropoutKeys:
    """What the dropout masks of one forward pass depend on; the training loop sets it before each."""

    def __init__(self, seed: int) -> None:
        self.seed, self.step, self.videos = seed, 0, [0]

    def set(self, step: int, videos: Sequence[int]) -> None:
        """Name the step and the videos whose rows follow, video by video."""
        self.step, self.videos = step, list(videos)


class KeyedDropout(nn.Module):
    """Dropout whose mask depends on (seed, step, layer, video) alone.

    The rows of its input are taken video by video: `(videos · rows, …)`. Where the rows are no multiple of the videos
    (a layer that runs over time first, say) one mask is drawn for the whole input, and then only the same batch in the
    same process draws the same.
    """

    purpose = "dropout"

    def __init__(self, p: float, keys: DropoutKeys, layer: int) -> None:
        super().__init__()
        self.p, self.keys, self.layer = p, keys, layer

    def mask(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """What the input is multiplied by: 0 with probability p, else 1 / (1 - p). Drawn on the CPU, for any device."""
        videos = self.keys.videos
        rows = shape[0] // len(videos)
        if rows * len(videos) == shape[0]:
            uniform = torch.cat([self._draw([video], (rows, *shape[1:])) for video in videos])
        else:
            uniform = self._draw(videos, shape)
        return ((uniform >= self.p) / (1 - self.p)).to(device)

    def _draw(self, videos: Sequence[int], shape: Sequence[int]) -> Tensor:
        seed = seed_for(self.keys.seed, self.purpose, self.keys.step, self.layer, *videos)
        return torch.rand(tuple(shape), generator=torch.Generator().manual_seed(seed))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if self.p >= 1:
            return x * 0
        return x * self.mask(self.mask_shape(x), x.device).to(x.dtype)

    def mask_shape(self, x: Tensor) -> Sequence[int]:
        """Of the mask of an input."""
        return x.shape


class KeyedStochasticDepth(KeyedDropout):
    """Stochastic depth (torchvision's, mode "row") whose mask depends on (seed, step, layer, video) alone.

    A row, which is one image of a video, is kept or dropped whole.
    """

    purpose = "depth"

    def mask_shape(self, x: Tensor) -> Sequence[int]:
        return len(x), *[1] * (x.dim() - 1)


class KeyedHeadDropout(TorchFunctionMode):
    """Inside, dropout in functional form (`F.dropout`, which heads call) draws keyed masks as well.

    Layers are numbered as they are called, from `first`.
    """

    def __init__(self, keys: DropoutKeys, first: int) -> None:
        super().__init__()
        self.keys, self.layer = keys, first

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not functional.dropout:
            return func(*args, **kwargs)
        named = {**dict(zip(("input", "p", "training"), args, strict=False)), **kwargs}
        dropout = KeyedDropout(float(named.get("p", 0.5)), self.keys, self.layer)
        self.layer += 1
        return dropout.train(named.get("training", True))(named["input"])


def key_dropout(network: nn.Module, keys: DropoutKeys, *, p: float | None = None) -> int:
    """Replace every `nn.Dropout` in a network by a `KeyedDropout`, in place, and stochastic depth by a keyed one.

    With `p`, all dropout layers get this probability; stochastic depth keeps its own. Dropout in functional form is
    left (`KeyedHeadDropout`). Gives how many dropout layers there were.
    """
    from torchvision.ops import StochasticDepth  # takes seconds to load

    count = depths = 0
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, (nn.Dropout, nn.Dropout1d, nn.Dropout2d)):
                setattr(module, name, KeyedDropout(child.p if p is None else p, keys, count))
                count += 1
            elif isinstance(child, StochasticDepth) and child.mode == "row":  # torchvision's networks have no other
                setattr(module, name, KeyedStochasticDepth(child.p, keys, depths))
                depths += 1
    return count


def compiled(network: nn.Module) -> Any:
    """What torch.compile makes of a network whose masks are drawn as before: by Python, from their keys."""
    for module in network.modules():
        if isinstance(module, KeyedDropout):
            module.mask = torch.compiler.disable(module.mask)  # type: ignore[method-assign, no-untyped-call]
    return torch.compile(network)
