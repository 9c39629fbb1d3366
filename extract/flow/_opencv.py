"""Flow of one pair at a time on a CPU: pairs are shared among threads; OpenCV's solvers, one a thread."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
from torch import Tensor, from_numpy

from ._method import Solve

SMALL = 1 << 14  # pixels: DIS may change its settings for frames below 91 pixels a side, and then keeps them so
cv: Any = cv2  # the stubs that come with OpenCV leave out its flow classes


def over_threads(one: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Solve:
    """A batch function from a function of one pair, two (H, W) uint8 frames to (2, H, W) float32.

    As many pairs at once as OpenCV may use cores. Threads suffice, since OpenCV and NumPy let go of the interpreter's
    lock while they work.
    """
    workers = max(1, cv.getNumThreads())
    pool: list[ThreadPoolExecutor] = []  # made at the first call that wants it

    def solve(previous: Tensor, following: Tensor) -> Tensor:
        pairs = previous.numpy(), following.numpy()
        if len(previous) == 1 or workers == 1:
            return from_numpy(np.stack(list(map(one, *pairs))))
        if not pool:
            pool.append(ThreadPoolExecutor(workers, thread_name_prefix="flow"))
        return from_numpy(np.stack(list(pool[0].map(one, *pairs))))

    return solve


def over_pairs(make: Callable[[], Any]) -> Solve:
    """A batch function from what makes an OpenCV solver of one pair, a `cv2.DenseOpticalFlow`.

    Solvers keep buffers between calls and are not safe to share, so each thread makes its own.
    """
    local = threading.local()

    def one(previous: np.ndarray, following: np.ndarray) -> np.ndarray:
        # A solver a size: DualTVL1 keeps the number of pyramid levels that its smallest image so far allowed.
        if getattr(local, "shape", None) != previous.shape or previous.size < SMALL:
            local.solver, local.shape = make(), previous.shape
        # A fresh None each time: no solver starts from the flow of the pair before.
        flow = local.solver.calc(previous, following, None)
        return np.ascontiguousarray(flow.transpose(2, 0, 1), dtype=np.float32)

    return over_threads(one)
