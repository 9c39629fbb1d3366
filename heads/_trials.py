"""What a tuning tried: its trials as they end, kept on disk, and the one that is chosen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import AvrError, WorkError, read_json, write_json
from avr.store import tuning_folder

TRIALS = "trials.json"


@dataclass(frozen=True)
class Trial:
    """What was tried, and how well it did on held-out videos of the training part; `error` says why it did not."""

    values: dict[str, Any]
    loss: float | None = None
    accuracy: float | None = None
    error: str = ""


def read_trials(place: Path) -> list[Trial]:
    """The trials that a folder keeps, in order; none where there is none yet.

    Raises:
        WorkError: they are damaged.
    """
    path = place / TRIALS
    if not path.exists():
        return []
    try:
        return [_read_trial(trial) for trial in read_json(path)["trials"]]
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise WorkError(f"{path} is damaged: remove it, and its trials are done again") from error


def _read_trial(told: dict[str, Any]) -> Trial:
    """A trial of a file, which may say anything."""
    trial = Trial(**told)
    judged = [number for number in (trial.loss, trial.accuracy) if number is not None]
    numbers = [*judged, *(value for value in trial.values.values() if not isinstance(value, str))]
    if not (isinstance(trial.error, str) and len(judged) != 1 and all(map(math.isfinite, numbers))):
        raise ValueError
    return trial


def keep_trials(place: Path, trials: Sequence[Trial]) -> None:
    """Write the trials that have ended."""
    write_json(place / TRIALS, {"trials": [vars(trial) for trial in trials]})


def best_of(trials: Sequence[Trial]) -> Trial:
    """The trial with the lowest loss, the first of those.

    Raises:
        WorkError: none has one.
    """
    if all(trial.loss is None for trial in trials):
        raise WorkError(f"every trial failed, the first one: {trials[0].error}" if trials else "there are no trials")
    return min(trials, key=lambda trial: np.inf if trial.loss is None else trial.loss)


def chosen_by(run: Path) -> dict[str, Any]:
    """Option or setting -> the value that a tuned run was trained with.

    Raises:
        WorkError: its trials are damaged or gone, or all of them failed.
    """
    place = tuning_folder(run)
    trials = read_trials(place)
    if not trials:
        raise WorkError(f"{place / TRIALS} is gone, which says what was chosen: remove {run}, and it is tuned again")
    return best_of(trials).values


def judge(values: dict[str, Any], folds: Sequence[NDArray | AvrError], labels: NDArray, fold_of: NDArray) -> Trial:
    """A trial by what its folds gave."""
    loss, right = 0.0, 0
    for fold, scores in enumerate(folds):
        if isinstance(scores, AvrError):
            return Trial(values, error=str(scores))
        wanted = labels[fold_of == fold]
        loss -= float(scores[np.arange(len(wanted)), wanted].sum(dtype=np.float64))
        right += int((scores.argmax(axis=1) == wanted).sum())
    return Trial(values, loss / len(labels), right / len(labels))
