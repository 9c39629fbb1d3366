"""Heads on stored features: one file a head, one training loop, prediction.

from avr.heads import train_run, load_run
result = train_run("features/shapes", "stfn", split="1")
scores = load_run(result.folder).predict({"rgb": rgb, "flow": flow})   # (V, N, D) each
"""

from avr.training import Training

from ._base import Head
from ._build import build_head, head_class, read_options
from ._examples import MemoryExamples, StreamedExamples, open_examples, store_bytes
from ._loop import evaluate, predict, train
from ._run import RunResult, choose_layers, choose_splits, train_run
from ._split import SplitResult
from ._trained import (
    CHECKPOINT,
    SeparateHeads,
    TrainedRun,
    load_checkpoint,
    load_head,
    load_run,
    save_checkpoint,
    with_average,
)

__all__ = [
    "CHECKPOINT",
    "Head",
    "MemoryExamples",
    "RunResult",
    "SeparateHeads",
    "SplitResult",
    "StreamedExamples",
    "TrainedRun",
    "Training",
    "build_head",
    "choose_layers",
    "choose_splits",
    "evaluate",
    "head_class",
    "load_checkpoint",
    "load_head",
    "load_run",
    "open_examples",
    "predict",
    "read_options",
    "save_checkpoint",
    "store_bytes",
    "train",
    "train_run",
    "with_average",
]
