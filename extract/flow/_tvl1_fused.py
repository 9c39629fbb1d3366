"""The level of a batch that runs on the fused Triton kernels of `_tvl1_kernels.py`."""

from types import ModuleType

import torch
from torch import Tensor

from avr.core import message_of, warn

from ._tvl1 import Parameters, small_pair
from ._tvl1_batch import EagerLevel, Level, MakeLevel, solve_batch, texture

# Pixels a program and its launch: compiled for Hopper these take 102, 64 and 127 registers a thread and spill none.
ITERATE = {"BLOCK": 1024, "num_warps": 8, "enable_fp_fusion": True}
SAMPLE = {"BLOCK": 256, "num_warps": 4, "enable_fp_fusion": True}  # the median filter and the warp
LOOK_EVERY = 10  # iterations between two looks at which pairs still move; even, so the flow is back in the first buffer


class KernelLevel:
    """A level whose warp, median filter and iteration are one Triton kernel each.

    The state is kept twice, (B, 6, plane) float32: u, v, then the dual variables of u along x and y and of v; an
    iteration reads one and writes the other. `plane` is H·W rounded up to 16, so that every plane starts aligned.
    """

    def __init__(
        self, kernels: ModuleType, first: Tensor, second: Tensor, flow: Tensor, parameters: Parameters
    ) -> None:
        pairs, self.height, self.width = first.shape
        self.kernels, self.parameters, self.pairs = kernels, parameters, pairs
        self.pixels = self.height * self.width
        self.plane = -(-self.pixels // 16) * 16
        self.blocks = -(-self.pixels // ITERATE["BLOCK"])
        self.samples = -(-self.pixels // SAMPLE["BLOCK"])
        self.limit = parameters.limit(self.height, self.width)
        self.first = self._planes(first[:, None])
        self.texture = self._planes(texture(second))
        self.linear = first.new_empty(pairs, 3, self.plane)
        self.state = self._planes(torch.cat([flow, flow.new_zeros(pairs, 4, *flow.shape[2:])], dim=1))
        self.other = self.state.clone()
        # Each block's share of the squared change: two rows for what came before, then one an iteration.
        self.shares = first.new_empty(LOOK_EVERY + 2, pairs, self.blocks)

    def _planes(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to contiguous (B, C, plane)."""
        planes = image.new_zeros(*image.shape[:2], self.plane)
        planes[..., : self.pixels] = image.flatten(2)
        return planes

    @property
    def flow(self) -> Tensor:
        return self.state[:, :2, : self.pixels].reshape(self.pairs, 2, self.height, self.width)

    def warp(self) -> None:
        self.kernels._warp[(self.samples, self.pairs)](
            self.first, self.texture, self.state, self.linear, self.height, self.width, self.plane, **SAMPLE
        )  # fmt: skip

    def median(self, active: Tensor) -> None:
        """Median-filter the flow of the pairs `active` with a 5 × 5 window, the border repeated."""
        self.kernels._median[(self.samples, len(active), 2)](
            self.state, self.other, active, self.height, self.width, self.plane,
            EXCHANGES=self.kernels.EXCHANGES, **SAMPLE,
        )  # fmt: skip
        self.state[:, :2].index_copy_(0, active, self.other[:, :2].index_select(0, active))

    def iterate(self, active: Tensor, count: int) -> Tensor:
        for done in range(0, count, LOOK_EVERY):
            active = self._iterate(active, min(LOOK_EVERY, count - done))
            if len(active) == 0:
                break
        return active

    def _iterate(self, active: Tensor, count: int) -> Tensor:
        tau, attachment, theta = self.parameters[:3]
        self.shares.zero_()
        self.shares[:2, :, 0] = torch.inf  # nothing has converged yet
        source, target = self.state, self.other
        for row in range(2, count + 2):
            self.kernels._iterate[(self.blocks, len(active))](
                source, target, self.linear, self.shares, active, row, self.pairs, self.height, self.width,
                self.plane, self.blocks, self.limit, attachment * theta, theta, tau / theta,
                BLOCKS=1 << (self.blocks - 1).bit_length(), **ITERATE,
            )  # fmt: skip
            source, target = target, source
        if count % 2:  # the result is in the second buffer, where pairs that stopped long ago have none
            self.state.index_copy_(0, active, self.other.index_select(0, active))
        return active[self.shares[count + 1, active].sum(1) > self.limit]


def kernels_or_none(device: torch.device) -> MakeLevel | None:
    """The fused level for a device, or None where there is no Triton or its kernels do not do what they should.

    The kernels are tried on a small pair against plain PyTorch before they are trusted: a compiler that is missing,
    too old or wrong costs speed, with a warning, and never a feature.
    """
    try:
        from . import _tvl1_kernels

        def fused(first: Tensor, second: Tensor, flow: Tensor, parameters: Parameters) -> Level:
            return KernelLevel(_tvl1_kernels, first, second, flow, parameters)

        first, second = (torch.from_numpy(frame)[None].to(device) for frame in small_pair())
        quick = Parameters(warps=2)
        difference = solve_batch(first, second, quick, fused) - solve_batch(first, second, quick, EagerLevel)
        if not float(difference.abs().mean()) < 0.02:
            raise RuntimeError("they differ from plain PyTorch")
    except Exception as error:
        warn(f"TV-L1's fused kernels cannot be used on {device} ({message_of(error)}): plain PyTorch, slower, is")
        return None
    return fused
