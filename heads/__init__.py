"""Heads on stored features: one file a head, one training loop, prediction.

from avr.heads import train_run, load_run
result = train_run("features/shapes", "stfn", split="1")
scores = load_run(result.folder).predict({"rgb": rgb, "flow": flow})   # (V, N, D) each
"""

from avr.training import Epoch, TensorBoard, Training

from ._base import Head, build_head, head_class, head_options, with_average
from ._choices import choose_layers, choose_splits
from ._dataset import FeatureDataset
from ._examples import MemoryExamples, StreamedExamples, open_examples, store_bytes
from ._loop import train
from ._predicting import evaluate, predict
from ._requests import RunRequest
from ._run import RunResult, train_run, train_runs
from ._space import USUAL
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
from ._trials import Trial, chosen_by
from ._tuning import FOLDS, Tuned, tune_run
from ._vectors import write_vectors

# Public, a page each in docs/api; the other names here are for avr's own rooms.
__all__ = [
    "Epoch",
    "FeatureDataset",
    "Head",
    "RunRequest",
    "RunResult",
    "TensorBoard",
    "TrainedRun",
    "Training",
    "Trial",
    "Tuned",
    "build_head",
    "load_head",
    "load_run",
    "train_run",
    "train_runs",
    "tune_run",
]
