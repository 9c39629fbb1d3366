"""Dense Inverse Search (Kroeger et al., ECCV 2016), from OpenCV: the fastest on a CPU, and the default there."""

from typing import Literal

from ._method import FlowMethod, padded
from ._opencv import cv, over_pairs

DESCRIPTION = "Dense Inverse Search, OpenCV: the fastest on a CPU"

# OpenCV's settings, and the smallest side that they take: a patch of 8 pixels at the finest level that they solve, half
# or a quarter of the frame. Below, OpenCV refuses frames, or crashes on wide ones.
_PRESETS = {
    "ultrafast": (cv.DISOPTICAL_FLOW_PRESET_ULTRAFAST, 32),
    "fast": (cv.DISOPTICAL_FLOW_PRESET_FAST, 32),
    "medium": (cv.DISOPTICAL_FLOW_PRESET_MEDIUM, 16),
}


def build(
    device: str = "cpu", *, preset: Literal["ultrafast", "fast", "medium"] = "medium", threads: int | None = None
) -> FlowMethod:
    """Dense Inverse Search.

    Args:
        device: taken for the sake of a common signature; it runs on the CPU.
        preset: OpenCV's settings of that name; "medium" is OpenCV's own choice for quality.
        threads: how many pairs at once; None: one a core.
    """
    settings, smallest = _PRESETS[preset]
    solve = over_pairs(lambda: cv.DISOpticalFlow_create(settings), threads=threads)
    return FlowMethod("dis", padded(solve, smallest))
