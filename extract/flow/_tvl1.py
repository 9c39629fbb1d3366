"""What every form of our TV-L1 shares: the parameters, the pyramid, and the order of levels, warps and iterations.

The energy is that of Zach, Pock and Bischof, "A duality based approach for realtime TV-L1 optical flow" (DAGM 2007),
solved as OpenCV's DualTVL1 solves it (after Sánchez, Meinhardt-Llopis and Facciolo, IPOL 2013): on each level of a
pyramid the second frame is warped by the flow so far, then the linearised energy is minimised by alternating a
pointwise threshold with one step of the dual variables, until the flow moves by less than `epsilon` a pixel. A median
filter runs after every `inner_iterations`.
"""

from typing import NamedTuple

import numpy as np

SMALLEST_SIDE = 16  # pixels: a level with a shorter side is left out, as OpenCV does


class Parameters(NamedTuple):
    """The parameters of TV-L1; names and defaults are those of OpenCV's DualTVL1 (gamma 0, no initial flow).

    The dual step is `tau / theta`, the threshold of the data term `attachment * theta`.
    """

    tau: float = 0.25
    attachment: float = 0.15  # OpenCV's lambda, a word that Python keeps for itself
    theta: float = 0.3
    scales: int = 5
    warps: int = 5
    epsilon: float = 0.01  # pixels
    inner_iterations: int = 30
    outer_iterations: int = 10
    scale_step: float = 0.8
    median: bool = True  # the 5 × 5 median filter

    def limit(self, height: int, width: int) -> float:
        """The summed squared change of the flow, in square pixels, at which a pair of this size stops."""
        return self.epsilon**2 * height * width


class Work(NamedTuple):
    """What one pair took on one level."""

    pixels: int
    iterations: int
    medians: int  # how often the flow was filtered
    warps: int


def pyramid_sizes(height: int, width: int, parameters: Parameters) -> list[tuple[int, int]]:
    """(height, width) of each level, the finest first.

    A side is the one above times `scale_step`, rounded to the nearest, half to even, as OpenCV's `resize` does. The
    finest level is kept whatever its size.
    """
    sizes = [(height, width)]
    for _ in range(parameters.scales - 1):
        height, width = round(height * parameters.scale_step), round(width * parameters.scale_step)
        if min(height, width) < SMALLEST_SIDE:
            break
        sizes.append((height, width))
    return sizes


def small_pair() -> tuple[np.ndarray, np.ndarray]:
    """Two frames (40, 56) uint8 on which compiled forms are tried before they are trusted: a pattern moves a pixel."""
    row, column = np.mgrid[:40, :56]
    first, second = (128 + 60 * np.sin((column + shift) / 4) * np.cos(row / 5) for shift in (0, 1))
    return first.round().astype(np.uint8), second.round().astype(np.uint8)
