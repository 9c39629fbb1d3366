"""Dense Inverse Search (Kroeger et al., ECCV 2016), from OpenCV: the fastest on a CPU, and the default there."""

from ._method import FlowMethod, padded
from ._opencv import cv, over_pairs

DESCRIPTION = "Dense Inverse Search, OpenCV: the fastest on a CPU"

# Pixels: a patch of 8 at the finest level that OpenCV solves, half of the frame. Frames that are smaller OpenCV
# refuses, or crashes on where they are wide.
SMALLEST_SIDE = 16


def build(device: str = "cpu") -> FlowMethod:
    """Dense Inverse Search with OpenCV's own choice of settings, "medium"; on the CPU, whatever `device`."""
    solve = over_pairs(lambda: cv.DISOpticalFlow_create(cv.DISOPTICAL_FLOW_PRESET_MEDIUM))
    return FlowMethod("dis", padded(solve, SMALLEST_SIDE))
