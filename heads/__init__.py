"""Heads on stored features: one file a head, one training loop, prediction.

from avr.heads import train_run, load_run
result = train_run("features/shapes", "stfn", split="1")
scores = load_run(result.folder).predict({"rgb": rgb, "flow": flow})   # (V, N, D) each
"""

from avr.training import Training

from ._base import Head, build_head, head_class, head_options, with_average
from ._choices import choose_layers, choose_splits
from ._examples import MemoryExamples, StreamedExamples, open_examples, store_bytes
from ._loop import train
from ._predicting import evaluate, predict
from ._requests import RunRequest
from ._run import RunResult, train_run, train_runs
from ._trained import (
    CHECKPOINT,
    SeparateHeads,
    TrainedRun,
    load_checkpoint,
    load_head,
    load_run,
    save_tensors,
)
from ._trainings import num_trainings
from ._vectors import write_vectors

__all__ = [
    "CHECKPOINT",
    "Head",
    "MemoryExamples",
    "RunRequest",
    "RunResult",
    "SeparateHeads",
    "StreamedExamples",
    "TrainedRun",
    "Training",
    "build_head",
    "choose_layers",
    "choose_splits",
    "evaluate",
    "head_class",
    "head_options",
    "load_checkpoint",
    "load_head",
    "load_run",
    "num_trainings",
    "open_examples",
    "predict",
    "save_tensors",
    "store_bytes",
    "train",
    "train_run",
    "train_runs",
    "with_average",
    "write_vectors",
]
