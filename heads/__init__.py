"""Heads on stored features: one file a head, one training loop, prediction.

from avr.heads import train_run, load_run
result = train_run("features/shapes", "stfn", split="1")
scores = load_run(result.folder).predict({"rgb": rgb, "flow": flow})   # (V, N, D) each
"""

from ._base import Head
from ._build import build_head, describe_options, head_class
from ._data import MemoryExamples
from ._loop import train
from ._predict import predict
from ._run import RunResult, train_run
from ._split import SplitResult
from ._trained import TrainedRun, load_head, load_run
from ._training import Training

__all__ = [
    "Head",
    "MemoryExamples",
    "RunResult",
    "SplitResult",
    "TrainedRun",
    "Training",
    "build_head",
    "describe_options",
    "head_class",
    "load_head",
    "load_run",
    "predict",
    "train",
    "train_run",
]
