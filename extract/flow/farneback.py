"""Polynomial expansion (Farnebäck, SCIA 2003), from OpenCV."""

from ._method import FlowMethod
from ._opencv import cv, over_pairs

DESCRIPTION = "Farnebäck's polynomial expansion, OpenCV"


def build(device: str = "cpu") -> FlowMethod:
    """Farnebäck's method with OpenCV's own settings; on the CPU, whatever `device`."""
    return FlowMethod("farneback", over_pairs(lambda: cv.FarnebackOpticalFlow_create()))
