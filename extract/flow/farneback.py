"""Polynomial expansion (Farnebäck, SCIA 2003), from OpenCV."""

from typing import Any

from ._method import FlowMethod
from ._opencv import cv, over_pairs

DESCRIPTION = "Farnebäck's polynomial expansion, OpenCV"


def build(
    device: str = "cpu", *, levels: int = 5, window: int = 13, iterations: int = 10, threads: int | None = None
) -> FlowMethod:
    """Farnebäck's method; the defaults are OpenCV's own.

    Args:
        device: taken for the sake of a common signature; it runs on the CPU.
        levels: pyramid levels, each half the size of the one before.
        window: side of the averaging window, pixels.
        iterations: at each level.
        threads: how many pairs at once; None: one a core.
    """

    def make() -> Any:
        return cv.FarnebackOpticalFlow_create(numLevels=levels, winSize=window, numIters=iterations)

    return FlowMethod("farneback", over_pairs(make, threads=threads))
