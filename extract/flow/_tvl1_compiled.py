# mypy: ignore-errors
"""TV-L1's inner loop on a CPU compiled by numba (extra `fast`): the numbers of `_tvl1_cpu.py`, bit for bit.

An iteration is one sweep down the rows: a row's flow from the dual variables of this row and the one above, then the
dual variables of the row above from both rows' flow. It needs nothing from further below, so the next iteration follows
one row behind, and reads what this one wrote while it still lies in the core's own cache, where a level's arrays do not
fit. So several iterations run at once, before it is known which of them is the last; what was there before is kept, and
where they were too many they are done again, as many as it takes.

Every operation is a single IEEE one in float32, in the order of the NumPy form; errors are summed down the columns.
"""

import math

import numpy as np
from numba import njit
from numba.core.compiler import CompilerBase, DefaultPassBuilder

from ._tvl1 import Parameters
from ._tvl1_cpu import TINY

DEPTH = 6  # iterations at once: more save nothing, and their rows would not lie in a core's own cache
FALL = 8  # iterations in which the error falls to a third, at least: about ten near the limit
_ZERO, _ONE = np.float32(0), np.float32(1)


class _Apart(CompilerBase):
    """Tells LLVM that the arrays of a function do not overlap: of so many it does not find out, and vectorises none."""

    def define_pipelines(self):
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


def _compiled(function):
    """The function, compiled when it is first called: once for this user, where there is a place to keep it."""
    options = {"nogil": True, "error_model": "numpy", "pipeline_class": _Apart}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither the folder of this file nor one of the user's can be written
        return njit(**options)(function)


@_compiled
def _copy_row(source, target, y):
    for x in range(source.shape[1]):
        target[y, x] = source[y, x]


@_compiled
def _follow(flow, along, down, y, dual_step):
    """The dual variables of row y - 1 of one component follow the gradient of its flow, back towards the unit disc."""
    for x in range(flow.shape[1] - 1):
        gradient_x = (flow[y - 1, x + 1] - flow[y - 1, x]) * dual_step
        gradient_y = (flow[y, x] - flow[y - 1, x]) * dual_step
        norm = math.sqrt(gradient_x * gradient_x + gradient_y * gradient_y) + _ONE
        along[y, x + 1] = (along[y, x + 1] + gradient_x) / norm
        down[y, x + 1] = (down[y, x + 1] + gradient_y) / norm


@_compiled
def _sweep(state, linear, errors, before, depth, numbers):
    """`depth` iterations; each one's sums of squared change by column go to `errors`, the old state to `before`."""
    u, v, along_u, down_u, along_v, down_v = state
    slope_x, slope_y, constant, inverse = linear
    reach, theta, dual_step = numbers
    height, width = slope_x.shape
    for iteration in range(depth):
        for x in range(width):
            errors[iteration, x] = _ZERO
    for head in range(height + depth):
        if head <= height:
            for plane in range(6):
                _copy_row(state[plane], before[plane], head)
        for iteration in range(depth):
            y = head - iteration
            if y < 0 or y > height:
                continue
            if y < height:
                for x in range(width):
                    residual = (slope_x[y, x] * u[y, x] + slope_y[y, x] * v[y, x] + constant[y, x]) * inverse[y, x]
                    residual = min(max(residual, -reach), reach)
                    du = along_u[y + 1, x + 1] + down_u[y + 1, x + 1] - along_u[y + 1, x] - down_u[y, x + 1]
                    dv = along_v[y + 1, x + 1] + down_v[y + 1, x + 1] - along_v[y + 1, x] - down_v[y, x + 1]
                    du = du * theta + residual * slope_x[y, x]
                    dv = dv * theta + residual * slope_y[y, x]
                    u[y, x] += du
                    v[y, x] += dv
                    errors[iteration, x] += du * du + dv * dv
                u[y, width], v[y, width] = u[y, width - 1], v[y, width - 1]
            else:
                for x in range(width):
                    u[y, x], v[y, x] = u[y - 1, x], v[y - 1, x]
            if y > 0:
                _follow(u, along_u, down_u, y, dual_step)
                _follow(v, along_v, down_v, y, dual_step)


@_compiled
def _descend(state, linear, errors, before, count, limit, error, numbers):
    """Up to `count` iterations, until the error is at most `limit`: how many, and the error."""
    done = 0
    while done < count:
        # As many at once as will be needed at least, or nothing is known yet, one.
        likely = FALL * math.log(error / limit) if error < np.inf else 1.0
        depth = max(1, min(int(likely), DEPTH, count - done))
        _sweep(state, linear, errors, before, depth, numbers)
        for iteration in range(depth):
            error = 0.0
            for x in range(errors.shape[1]):
                error += errors[iteration, x]
            if error <= limit:
                if iteration + 1 < depth:
                    for plane in range(6):
                        for y in range(before[plane].shape[0]):
                            _copy_row(before[plane], state[plane], y)
                    _sweep(state, linear, errors, before, iteration + 1, numbers)
                return done + iteration + 1, error
        done += depth
    return done, error


@_compiled
def _linearise(warped, first, u, v, linear, tiny):
    """The data term about the flow (u, v), of the frame warped by it and its derivatives `(H, W, 3)`."""
    slope_x, slope_y, constant, inverse = linear
    height, width = first.shape
    for y in range(height):
        for x in range(width):
            along_x, along_y = warped[y, x, 1], warped[y, x, 2]
            slope_x[y, x], slope_y[y, x] = along_x, along_y
            constant[y, x] = warped[y, x, 0] - along_x * u[y, x] - along_y * v[y, x] - first[y, x]
            inverse[y, x] = -_ONE / max(along_x * along_x + along_y * along_y, tiny)


class CompiledLevel:
    """A level whose inner loop is compiled.

    Its arrays have a row and a column more, so that no border needs a branch: of the flow behind the last, which they
    repeat, of the dual variables before the first, where they are zero.
    """

    def __init__(self, first: np.ndarray, flow: np.ndarray, parameters: Parameters) -> None:
        height, width = first.shape
        self.first, self.limit, self.error = first, parameters.limit(height, width), np.inf
        self.state, self.before = (
            tuple(np.zeros((height + 1, width + 1), np.float32) for _ in range(6)) for _ in range(2)
        )
        self.flow = self.state[0][:-1, :-1], self.state[1][:-1, :-1]
        for part, start in zip(self.flow, flow, strict=True):
            part[:] = start
        self.linear = tuple(np.empty((height, width), np.float32) for _ in range(4))
        self.errors = np.empty((DEPTH, width), np.float32)
        numbers = parameters.attachment * parameters.theta, parameters.theta, parameters.tau / parameters.theta
        self.numbers = tuple(np.float32(number) for number in numbers)

    def linearise(self, warped: np.ndarray) -> None:
        _linearise(warped, self.first, *self.state[:2], self.linear, TINY)
        self.error = np.inf

    def descend(self, count: int) -> tuple[int, float]:
        done, self.error = _descend(
            self.state, self.linear, self.errors, self.before, count, self.limit, self.error, self.numbers
        )
        return done, self.error
