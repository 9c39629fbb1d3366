"""Dense Inverse Search (Kroeger et al., ECCV 2016), from OpenCV: the fastest on a CPU, and the default there."""

from typing import Literal

from ._method import FlowMethod
from ._opencv import cv, over_pairs

DESCRIPTION = "Dense Inverse Search, OpenCV: the fastest on a CPU"

_PRESETS = {
    "ultrafast": cv.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv.DISOPTICAL_FLOW_PRESET_MEDIUM,
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
    return FlowMethod("dis", over_pairs(lambda: cv.DISOpticalFlow_create(_PRESETS[preset]), threads=threads))
