"""Runs and score files read into what a report shows."""

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, WorkError, confusion_matrix, measure, note, softmax
from avr.store import (
    AVERAGE,
    MULTIPLY,
    RUNS,
    UNLABELLED,
    Scores,
    files_below,
    finished_runs,
    is_test,
    read_scores,
    warn_unfinished,
)


@dataclass(frozen=True)
class Curve:
    """One training log: what it is of ("split-1/rgb"), its epochs, and its columns of numbers by name."""

    name: str
    epochs: tuple[float, ...]
    columns: dict[str, tuple[float, ...]]


@dataclass
class Outcome:
    """What one run, or one score file, gave.

    Attributes:
        name: the run's folder, or the file.
        dataset: the data set's name.
        class_names: K names.
        main: the output that stands for the run: its own fused prediction, its only stream, or the streams' average.
        rows: by split ("" where the scores name none), then by output (a stream, the head's own "fused", the streams'
            "average" and "multiply", the mean of their log-probabilities), what `measure` gives.
        confusion: counts `(K, K)` of the main output, summed over the splits.
        videos: test videos by split.
        curves: the learning curves.
        lack: what the run, or the store it was made of, lacks to be whole; "" where that is nothing.
        weights: of a fusion whose classes weigh streams apart, by split: names of S
            streams, weights of classes and streams (K, S).
    """

    name: str
    dataset: str
    class_names: tuple[str, ...]
    main: str
    rows: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    confusion: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    videos: dict[str, int] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    lack: str = ""
    weights: dict[str, tuple[list[str], NDArray[np.float64]]] = field(default_factory=dict)


def read_outcomes(paths: list[Path]) -> list[Outcome]:
    """Read run folders and score files.

    Args:
        paths: run folders (every score file and log below is read) or score files.

    Raises:
        UsageError: nothing given, a path that is missing, or a folder without scores.
    """
    if not paths:
        raise UsageError("no runs to report on; name run folders or score files")
    return [_read_outcome(path, name) for path, name in zip(paths, _names(paths), strict=True)]


def _names(paths: list[Path]) -> list[str]:
    """Last parts of the paths, with as many more as tell them apart."""
    for parts in range(1, 20):
        names = [Path(*path.resolve().parts[-parts:]).as_posix() for path in paths]
        if len(set(names)) == len({path.resolve() for path in paths}):
            return names
    return [str(path) for path in paths]


def _read_outcome(path: Path, name: str) -> Outcome:
    if path.is_dir():
        files, logs = files_below(path)
        if not files:
            raise UsageError(f"{path}: no scores.h5 in it; name a run's folder (runs/<head>-…) or a score file")
    elif path.is_file():
        files, logs = [path], []
    else:
        raise UsageError(f"{path}: no such run or score file")
    found = [read_scores(file) for file in files]
    classes = found[0].class_names
    empty = np.zeros((len(classes), len(classes)), dtype=np.int64)
    lack = warn_unfinished(path, found[0].provenance)
    outcome = Outcome(name, found[0].dataset, classes, found[0].prediction, confusion=empty, lack=lack)
    for file, scores in zip(files, found, strict=True):
        if scores.class_names != classes:
            raise UsageError(f"{file}: has other classes than {files[0]}; report on them one by one")
        _add(outcome, scores, file)
    outcome.curves = [curve for log in logs if (curve := read_curve(log, log.parent.relative_to(path).as_posix()))]
    return outcome


def _add(outcome: Outcome, scores: Scores, file: Path) -> None:
    """Take the test videos' figures of one score file into the outcome."""
    known = scores.labels != UNLABELLED
    test = is_test(scores.fold) & known
    if not test.any():
        test = (scores.fold >= 0) & known
        if not test.any():
            why = "holds scores of videos that its head was trained on alone" if known.any() else "holds no label"
            raise UsageError(f"{file}: {why}: there is nothing to report on")
        note(f"{file}: holds out-of-fold scores alone; they are what is reported")
    labels = scores.labels[test]
    outputs = {name: _probabilities(values[test], scores.kind) for name, values in scores.streams.items()}
    alone = [values for name, values in outputs.items() if name != scores.fused]
    if len(alone) > 1 and AVERAGE not in outputs:
        outputs[AVERAGE] = np.mean(alone, axis=0)
        outputs[MULTIPLY] = np.mean(np.log(np.maximum(alone, np.finfo(np.float64).tiny)), axis=0)
    split = scores.split
    if split in outcome.rows:
        told = f"split {split}" if split else "no split"
        raise UsageError(f"{file}: the run has scores of {told} already; name the score files one by one")
    outcome.rows[split] = {name: measure(values, labels) for name, values in outputs.items()}
    outcome.videos[split] = len(labels)
    outcome.confusion += confusion_matrix(outputs[outcome.main], labels, len(scores.class_names))
    if scores.provenance.get("weights"):
        streams, weights = read_weights(scores, file)
        if np.ptp(weights, axis=0).max() > 1e-3:  # else all classes weigh alike, which needs no picture
            outcome.weights[split] = streams, weights


def read_weights(scores: Scores, file: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Names of S streams, and a fusion's weights of classes and streams `(K, S)`, as its scores keep them.

    Raises:
        WorkError: they are none.
    """
    try:
        streams = [str(name) for name in scores.provenance["streams"]]
        weights = np.asarray(scores.provenance["weights"], dtype=np.float64)
        fit = weights.shape == (len(scores.class_names), len(streams)) and bool(np.isfinite(weights).all())
    except (KeyError, TypeError, ValueError):
        fit = False
    if not fit:
        raise WorkError(f"{file}: damaged (its weights are not those of its classes and streams)")
    return streams, weights


def _probabilities(values: NDArray, kind: str) -> NDArray:
    return softmax(values) if kind == "logits" else values.astype(np.float64)


def read_curve(path: Path, name: str) -> Curve | None:
    """Read a training log (CSV) whose columns are numbers, one of them `epoch`; None when it holds no epoch yet.

    Raises:
        UsageError: no column `epoch`, or a cell that is no number (file:line).
    """
    columns: dict[str, list[float]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if "epoch" not in (reader.fieldnames or []):
            raise UsageError(f"{path}: not a training log: it has no column 'epoch'")
        for row in reader:
            for key, cell in row.items():
                try:
                    columns.setdefault(str(key), []).append(float(cell) if cell else math.nan)
                except (TypeError, ValueError):
                    raise UsageError(f"{path}:{reader.line_num}: {key} is {cell!r}, not a number") from None
    epochs = tuple(columns.pop("epoch", ()))
    return Curve(name, epochs, {key: tuple(values) for key, values in columns.items()}) if epochs else None


def newest_runs(folder: Path = RUNS) -> list[Path]:
    """The newest finished runs with scores under a folder, at most eight, in the order of their names; says which.

    Raises:
        UsageError: there is none.
    """
    taken = sorted(finished_runs(folder)[-8:])
    note(f"report on {', '.join(map(str, taken))}")
    return taken
