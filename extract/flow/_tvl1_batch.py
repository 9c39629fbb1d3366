"""TV-L1 over a batch of pairs in PyTorch: all pairs of a batch take each level and warp together, each stops alone.

`EagerLevel` is plain PyTorch on any device; `_tvl1_kernels.KernelLevel` does the same in three fused Triton kernels.
"""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ._tvl1 import Parameters, pyramid_sizes

_TINY = torch.finfo(torch.float32).eps


class Level(Protocol):
    """One pyramid level of a batch: the frames, the flow and the dual variables of B pairs."""

    @property
    def flow(self) -> Tensor:
        """The flow so far, (B, 2, H, W) pixels."""

    def warp(self) -> None:
        """Linearise the second frame about the present flow."""

    def median(self, active: Tensor) -> None:
        """Median-filter the flow of the pairs `active` (A,) int64."""

    def iterate(self, active: Tensor, count: int) -> Tensor:
        """Up to `count` iterations of the pairs `active`; returns those (≤ A,) that have not converged."""


MakeLevel = Callable[[Tensor, Tensor, Tensor, Parameters], Level]


def solve_batch(previous: Tensor, following: Tensor, parameters: Parameters, make_level: MakeLevel) -> Tensor:
    """Flow of each pair of a batch.

    Args:
        previous, following: (B, H, W) uint8 grey, on one device.
        parameters: of the method.
        make_level: (first, second, flow, parameters) to a `Level`.

    Returns:
        (B, 2, H, W) float32 pixels, x then y, on that device.
    """
    sizes = pyramid_sizes(previous.shape[1], previous.shape[2], parameters)
    firsts, seconds = [previous.float()], [following.float()]
    for size in sizes[1:]:
        firsts.append(resize(firsts[-1], size, 1 / parameters.scale_step))
        seconds.append(resize(seconds[-1], size, 1 / parameters.scale_step))
    flow = torch.zeros(len(previous), 2, *sizes[-1], device=previous.device)
    for first, second, size in zip(reversed(firsts), reversed(seconds), reversed(sizes), strict=True):
        if flow.shape[2:] != size:
            flow = resize(flow, size) * (1 / parameters.scale_step)
        flow = _solve_level(make_level(first, second, flow, parameters), len(previous), parameters, previous.device)
    return flow


def _solve_level(level: Level, pairs: int, parameters: Parameters, device: torch.device) -> Tensor:
    for _ in range(parameters.warps):
        level.warp()
        active = torch.arange(pairs, device=device)
        for _ in range(parameters.outer_iterations):
            if parameters.median:
                level.median(active)
            active = level.iterate(active, parameters.inner_iterations)
            if len(active) == 0:
                break
    return level.flow


def resize(image: Tensor, size: tuple[int, int], step: float | None = None) -> Tensor:
    """Bilinear resize as OpenCV's INTER_LINEAR: (…, H, W) to (…, *size).

    Args:
        image: (…, H, W) float32.
        size: the new height and width.
        step: old pixels a new pixel, where it is not exactly the quotient of the sizes.
    """
    for axis in (-1, -2):
        before, after = image.shape[axis], size[axis]
        place = (torch.arange(after, dtype=torch.float64) + 0.5) * (step or before / after) - 0.5
        place = place.clamp(0, before - 1)
        low = place.floor().long()
        weight = (place - low).float().to(image.device)
        low, high = low.to(image.device), (low + 1).clamp(max=before - 1).to(image.device)
        weight = weight if axis == -1 else weight[:, None]
        image = image.index_select(axis, low) * (1 - weight) + image.index_select(axis, high) * weight
    return image


def texture(second: Tensor) -> Tensor:
    """The second frame and its centred x and y derivatives: (B, H, W) to (B, 3, H, W)."""
    padded = F.pad(second[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    along_x = 0.5 * (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2])
    along_y = 0.5 * (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1])
    return torch.stack([second, along_x, along_y], dim=1)


class EagerLevel:
    """A level in plain PyTorch: what the fused kernels are tested against, and the way where there is no Triton."""

    def __init__(self, first: Tensor, second: Tensor, flow: Tensor, parameters: Parameters) -> None:
        self.first, self.texture, self.flow, self.parameters = first, texture(second), flow.clone(), parameters
        self.dual = flow.new_zeros(len(flow), 2, 2, *flow.shape[2:])  # component, direction
        self.limit = parameters.limit(*first.shape[1:])

    def warp(self) -> None:
        height, width = self.first.shape[1:]
        # grid_sample's bicubic is OpenCV's: a = -0.75, and 0 outside. It wants the corner pixels at -1 and 1.
        columns = torch.arange(width, device=self.flow.device) + self.flow[:, 0]
        rows = torch.arange(height, device=self.flow.device)[:, None] + self.flow[:, 1]
        grid = torch.stack([columns * (2 / (width - 1)) - 1, rows * (2 / (height - 1)) - 1], dim=-1)
        warped = F.grid_sample(self.texture, grid, mode="bicubic", padding_mode="zeros", align_corners=True)
        image, self.slope = warped[:, 0], warped[:, 1:]
        self.constant = image - (self.slope * self.flow).sum(1) - self.first
        self.inverse = -1 / (self.slope * self.slope).sum(1).clamp(min=_TINY)

    def median(self, active: Tensor) -> None:
        """Median-filter the flow of the pairs `active` with a 5 × 5 window, the border repeated."""
        for pair in active.tolist():  # one at a time: a window view holds 25 times the flow
            windows = F.pad(self.flow[pair][None], (2, 2, 2, 2), mode="replicate")[0].unfold(1, 5, 1).unfold(2, 5, 1)
            self.flow[pair] = windows.flatten(-2).median(-1).values

    def iterate(self, active: Tensor, count: int) -> Tensor:
        flow, dual, slope = self.flow[active], self.dual[active], self.slope[active]
        constant, inverse = self.constant[active], self.inverse[active]
        for _ in range(count):
            flow, dual, error = self._step(flow, dual, slope, constant, inverse)
            going = error > self.limit
            if not bool(going.all()):  # what converged leaves the batch, so that it costs no more
                self.flow[active[~going]], self.dual[active[~going]] = flow[~going], dual[~going]
                active, flow, dual, slope = active[going], flow[going], dual[going], slope[going]
                constant, inverse = constant[going], inverse[going]
                if len(active) == 0:
                    return active
        self.flow[active], self.dual[active] = flow, dual
        return active

    def _step(
        self, flow: Tensor, dual: Tensor, slope: Tensor, constant: Tensor, inverse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One iteration: the new flow, the new dual variables and each pair's summed squared change (B,)."""
        tau, attachment, theta = self.parameters[:3]
        residual = ((slope * flow).sum(1) + constant) * inverse
        residual = residual.clamp(-attachment * theta, attachment * theta)
        divergence = dual[:, :, 0] + dual[:, :, 1]  # (B, 2, H, W)
        divergence[..., 1:] -= dual[:, :, 0, :, :-1]
        divergence[..., 1:, :] -= dual[:, :, 1, :-1]
        change = residual[:, None] * slope + theta * divergence
        flow = flow + change
        gradient = torch.stack([F.pad(flow.diff(dim=-1), (0, 1)), F.pad(flow.diff(dim=-2), (0, 0, 0, 1))], dim=2)
        gradient = gradient * (tau / theta)  # (B, 2, 2, H, W)
        dual = (dual + gradient) / (1 + (gradient * gradient).sum(2, keepdim=True).sqrt())
        # Rows first: the order in which a pair is summed must not depend on the pairs beside it.
        return flow, dual, (change * change).sum(-1).sum((1, 2))
