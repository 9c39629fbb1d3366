"""TV-L1 (Zach, Pock and Bischof, DAGM 2007), the flow that the two-stream papers use."""

from ._method import FlowMethod
from ._opencv import cv, over_pairs

DESCRIPTION = "TV-L1, the papers' flow"


def build(device: str = "cpu") -> FlowMethod:
    """TV-L1 with the parameters of OpenCV's DualTVL1."""
    return FlowMethod("tvl1", over_pairs(cv.optflow.DualTVL1OpticalFlow_create))
