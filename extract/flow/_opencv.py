"""OpenCV's flow over a batch: pairs are shared among threads, each with a solver of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from ._method import Pairs

cv: Any = cv2  # the stubs that come with OpenCV leave out its flow classes


def over_pairs(make: Callable[[], Any], *, threads: int | None = None) -> Pairs:
    """A batch function from an OpenCV solver of one pair.

    OpenCV's solvers keep buffers between calls and are not safe to share, so each thread makes its own. They release
    the interpreter's lock while they work, so threads suffice. A pair's flow depends on that pair alone.

    Args:
        make: makes a `cv2.DenseOpticalFlow`.
        threads: how many pairs at once; None: one a core that OpenCV may use.
    """
    local = threading.local()
    workers = threads or max(1, cv.getNumThreads())
    pool: list[ThreadPoolExecutor] = []  # made at the first call, so that a method can be sent to another process

    def one(pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        # A solver a size: DualTVL1 keeps the number of pyramid levels that its smallest image so far allowed.
        if getattr(local, "shape", None) != pair[0].shape:
            local.solver, local.shape = make(), pair[0].shape
        # A fresh None each time: no solver starts from the flow of the pair before.
        flow = local.solver.calc(pair[0], pair[1], None)
        return np.ascontiguousarray(flow.transpose(2, 0, 1), dtype=np.float32)

    def compute(previous: np.ndarray, following: np.ndarray) -> np.ndarray:
        if len(previous) == 1 or workers == 1:
            return np.stack([one(pair) for pair in zip(previous, following, strict=True)])
        if not pool:
            pool.append(ThreadPoolExecutor(workers, thread_name_prefix="flow"))
        return np.stack(list(pool[0].map(one, zip(previous, following, strict=True))))

    return compute
