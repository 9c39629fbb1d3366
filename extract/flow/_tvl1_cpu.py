"""TV-L1 on a CPU: one pair at a time with OpenCV's warp, resize and median; pairs share threads.

What is done between them is vectorised NumPy here (`NumpyLevel`), and compiled in `_tvl1_compiled.py` where numba is
installed; both give the same numbers, bit for bit. Each array operation lets go of the interpreter's lock, so pairs run
on as many threads as there are cores. A pair's flow depends on that pair alone, bit for bit.
"""

from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np

from ._tvl1 import Parameters, Work, pyramid_sizes

TINY = np.finfo(np.float32).eps  # squared gradients below it count as none, as in OpenCV


class PairLevel(Protocol):
    """One pyramid level of one pair.

    Attributes:
        flow: u and v so far, (H, W) float32 each: what stands in them is gone on from.
    """

    flow: tuple[np.ndarray, np.ndarray]

    def linearise(self, warped: np.ndarray) -> None:
        """Take the second frame about the present flow.

        Args:
            warped: (H, W, 3) float32, the frame there and its x and y derivatives.
        """

    def descend(self, count: int) -> tuple[int, float]:
        """Up to `count` iterations, until the flow moves little enough: how many, and the last one's squared change."""


MakeLevel = Callable[[np.ndarray, np.ndarray, Parameters], PairLevel]  # first frame, flow (2, H, W), parameters


def solve_pair(
    previous: np.ndarray, following: np.ndarray, parameters: Parameters, make_level: MakeLevel
) -> tuple[np.ndarray, list[Work]]:
    """Flow of one pair.

    Args:
        previous, following: (H, W) uint8 grey.
        parameters: of the method.
        make_level: `NumpyLevel`, or the compiled one.

    Returns:
        (2, H, W) float32 pixels, x then y; and what each level took, the coarsest first.
    """
    sizes = pyramid_sizes(previous.shape[0], previous.shape[1], parameters)
    firsts, seconds = _pyramid(previous, sizes, parameters), _pyramid(following, sizes, parameters)
    flow = np.zeros((2, *sizes[-1]), np.float32)
    work = []
    for first, second in zip(reversed(firsts), reversed(seconds), strict=True):
        height, width = first.shape
        if flow.shape[1:] != first.shape:
            flow = np.stack([cv2.resize(part, (width, height)) for part in flow])
            flow *= np.float32(1 / parameters.scale_step)
        level = make_level(first, flow, parameters)
        work.append(_solve_level(level, second, parameters))
        flow = np.stack(level.flow)
    return flow, work


def _pyramid(image: np.ndarray, sizes: list[tuple[int, int]], parameters: Parameters) -> list[np.ndarray]:
    levels: list[np.ndarray] = [image.astype(np.float32)]
    for _ in sizes[1:]:
        # Given the factor rather than the size, OpenCV samples at that exact factor.
        levels.append(cv2.resize(levels[-1], None, fx=parameters.scale_step, fy=parameters.scale_step))
    return levels


def centred_gradient(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y derivatives, (H, W) each: half the difference of the two neighbours, the border pixel repeated."""
    padded = np.pad(image, 1, mode="edge")
    half = np.float32(0.5)
    return half * (padded[1:-1, 2:] - padded[1:-1, :-2]), half * (padded[2:, 1:-1] - padded[:-2, 1:-1])


def _solve_level(level: PairLevel, second: np.ndarray, parameters: Parameters) -> Work:
    """Improve a level's flow; returns what it took."""
    height, width = second.shape
    limit = parameters.limit(height, width)
    texture = np.dstack([second, *centred_gradient(second)])
    columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    u, v = level.flow
    iterations = medians = 0
    for _ in range(parameters.warps):
        # Outside the frame the warped image and its derivatives are 0: cv2.remap's default border.
        level.linearise(cv2.remap(texture, columns + u, rows + v, cv2.INTER_CUBIC))
        error = np.inf
        for _ in range(parameters.outer_iterations):
            if error <= limit:
                break
            if parameters.median:
                medians += 1
                for part in level.flow:
                    part[:] = cv2.medianBlur(part, 5)
            done, error = level.descend(parameters.inner_iterations)
            iterations += done
    return Work(height * width, iterations, medians, parameters.warps)


class NumpyLevel:
    """A level in NumPy: what the compiled form is held against, and the way where there is no numba."""

    def __init__(self, first: np.ndarray, flow: np.ndarray, parameters: Parameters) -> None:
        self.first, self.flow, self.limit = first, (flow[0], flow[1]), parameters.limit(*first.shape)
        self.step = _bind_step(flow, parameters)

    def linearise(self, warped: np.ndarray) -> None:
        image, along_x, along_y = (np.ascontiguousarray(warped[..., channel]) for channel in range(3))
        constant = image - along_x * self.flow[0] - along_y * self.flow[1] - self.first
        inverse = -1 / np.maximum(along_x * along_x + along_y * along_y, TINY)
        self.linear = along_x, along_y, constant, inverse

    def descend(self, count: int) -> tuple[int, float]:
        error = np.inf
        for done in range(count):
            error = self.step(*self.linear)
            if error <= self.limit:
                return done + 1, error
        return count, error


def _bind_step(flow: np.ndarray, parameters: Parameters) -> Callable[..., float]:
    """One iteration on `flow` (2, H, W), changed in place, and dual variables that it keeps; it gives the change.

    Every buffer and view is made here, once: an iteration is some forty short array operations, and making views would
    cost as much as they do.
    """
    theta, reach = np.float32(parameters.theta), np.float32(parameters.attachment * parameters.theta)
    dual_step, one = np.float32(parameters.tau / parameters.theta), np.float32(1)
    height, width = flow.shape[1:]
    residual, product = np.empty((2, height, width), np.float32)
    change, norm = np.empty((2, 2, height, width), np.float32)
    columns = np.empty(width, np.float32)
    dual = np.zeros((2, 2, height, width), np.float32)  # component, direction
    gradient = np.zeros_like(dual)  # its last column (x) and last row (y) stay 0: the border of the forward difference
    dual_x, dual_y = dual[:, 0], dual[:, 1]
    gradient_x, gradient_y = gradient[:, 0], gradient[:, 1]
    after_left, after_top, left, top = change[..., 1:], change[:, 1:], dual_x[..., :-1], dual_y[:, :-1]

    def step(along_x: np.ndarray, along_y: np.ndarray, constant: np.ndarray, inverse: np.ndarray) -> float:
        # The data term: how far along the image gradient the residual asks the flow to go, at most `reach`.
        np.multiply(along_x, flow[0], out=residual)
        np.multiply(along_y, flow[1], out=product)
        np.add(residual, product, out=residual)
        np.add(residual, constant, out=residual)
        np.multiply(residual, inverse, out=residual)
        np.clip(residual, -reach, reach, out=residual)
        # The divergence of the dual variables, zero before the first column and row.
        np.add(dual_x, dual_y, out=change)
        np.subtract(after_left, left, out=after_left)
        np.subtract(after_top, top, out=after_top)
        np.multiply(change, theta, out=change)
        np.multiply(residual, along_x, out=product)
        np.add(change[0], product, out=change[0])
        np.multiply(residual, along_y, out=product)
        np.add(change[1], product, out=change[1])
        np.add(flow, change, out=flow)
        np.multiply(change, change, out=norm)
        np.add(norm[0], norm[1], out=norm[0])
        np.add.reduce(norm[0], axis=0, out=columns)  # row after row, an order that the compiled form can keep
        error = float(np.add.accumulate(columns, dtype=np.float64)[-1])
        # The dual variables follow the gradient of the flow, and are pulled back towards the unit disc.
        np.subtract(flow[..., 1:], flow[..., :-1], out=gradient_x[..., :-1])
        np.subtract(flow[:, 1:], flow[:, :-1], out=gradient_y[:, :-1])
        np.multiply(gradient, dual_step, out=gradient)
        np.multiply(gradient_x, gradient_x, out=norm)
        np.multiply(gradient_y, gradient_y, out=change)
        np.add(norm, change, out=norm)
        np.sqrt(norm, out=norm)
        np.add(norm, one, out=norm)
        np.add(dual, gradient, out=dual)
        np.divide(dual_x, norm, out=dual_x)
        np.divide(dual_y, norm, out=dual_y)
        return error

    return step
