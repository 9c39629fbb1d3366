"""Recognising new videos with a trained pipeline, found through its run.

from avr.predict import Predictor

Predictor("runs/stfn-shapes-1").predict("clip.avi").top

Names that need torch are loaded when they are first used: what is wrong with a request is told at once.
"""

from typing import TYPE_CHECKING

from avr.core import lazy

from .requests import check_request, check_runs, drawn_paths, gather_videos
from .table import write_table

if TYPE_CHECKING:
    from .drawing import draw_prediction
    from .onnx import OnnxFile, export_onnx
    from .predictor import Prediction, Predictor, Window
else:
    __getattr__, __dir__ = lazy(__name__)

# Public, a page each in docs/api; the other names here are for avr's own rooms.
__all__ = [
    "OnnxFile",
    "Prediction",
    "Predictor",
    "Window",
    "draw_prediction",
    "export_onnx",
    "write_table",
]
