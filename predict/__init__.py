"""Recognising new videos with a trained pipeline, found through its run.

from avr.predict import Predictor

Predictor("runs/stfn-shapes-1").predict("clip.avi").top
"""

from .predictor import Prediction, Predictor, Window, check_request

__all__ = ["Prediction", "Predictor", "Window", "check_request"]
