"""What trainings gave, kept on disk until the split is written that they belong to: an interruption costs none of it.

One safetensors file a training, below the run's `.begun/split-<name>/`, and beside it while it lasts its own state
(`avr.training.write_state`); names are of `Task.kept`.
"""

from pathlib import Path

from safetensors import SafetensorError

from avr.core import message_of, note

from ._trained import read_tensors, save_tensors
from ._trainings import Outcome, Task, as_tensor

WEIGHT, SCORE, VECTOR = "weight/", "score/", "vector/"


def keep_outcome(task: Task, outcome: Outcome) -> None:
    """Keep what a training gave, whole; its state is then no longer needed.

    Raises:
        WorkError: it cannot be written.
    """
    tensors = {f"{WEIGHT}{name}": as_tensor(value) for name, value in outcome.weights.items()}
    tensors |= {f"{SCORE}{name}": as_tensor(value) for name, value in outcome.scores.items()}
    tensors |= {f"{VECTOR}{name}": as_tensor(value) for name, value in outcome.vectors.items()}
    save_tensors(_file(task), tensors, {"rows": outcome.rows, "seconds": outcome.seconds, "names": list(tensors)})
    for state in (task.state, task.second_state):
        if state is not None:
            state.unlink(missing_ok=True)


def kept_outcome(task: Task) -> Outcome | None:
    """What `keep_outcome` kept of a training; None where there is nothing that reads."""
    path = _file(task)
    if not path.is_file():
        return None
    try:
        tensors, about = read_tensors(path)
        found = {name: tensors[name].numpy() for name in about["names"]}  # in their order
        weights, scores, vectors = (
            {name.removeprefix(kind): value for name, value in found.items() if name.startswith(kind)}
            for kind in (WEIGHT, SCORE, VECTOR)
        )
        return Outcome(scores, list(about["rows"]), float(about["seconds"]), weights, vectors)
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        note(f"{path} is damaged ({message_of(error)}); the training is done again")
        return None


def drop_outcome(task: Task) -> None:
    """Remove what was kept of a training, which is now written elsewhere."""
    for path in (_file(task), task.state, task.second_state):
        if path is not None:
            path.unlink(missing_ok=True)


def _file(task: Task) -> Path:
    assert task.kept is not None  # of a run's own tasks
    return task.kept.with_name(f"{task.kept.name}.safetensors")
