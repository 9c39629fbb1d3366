"""What a run is asked for, and what it is once that is settled."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from avr.core import UsageError
from avr.store import FeatureStore, RunRecord
from avr.training import LBFGS, Training, read_training

from ._base import Head, head_class, head_options
from ._choices import choose_layers, choose_splits
from ._trainings import Plan


@dataclass(frozen=True)
class RunRequest:
    """What a run is asked for; `train_run` says each."""

    store: Path | str | Sequence[Path | str]
    head: str
    streams: tuple[str, ...] = ()
    layers: Mapping[str, str] | None = None
    split: str | tuple[str, ...] = ""
    options: Mapping[str, object] | None = None
    training: Training | Mapping[str, object] | None = None
    paper: bool = False
    folds: int | None = None
    seed: int = 0
    out: Path | None = None


class Planned(NamedTuple):
    """A run whose folder is not claimed yet."""

    number: int
    plan: Plan
    store: FeatureStore
    outline: dict[str, Head]
    record: RunRecord
    out: Path | None


def settle(number: int, request: RunRequest, store: FeatureStore) -> Planned:
    """Settle a run.

    Raises:
        UsageError, WorkError: as `train_run`.
    """
    made = head_class(request.head)
    if request.seed < 0 or (request.folds or 0) < 0:
        raise UsageError(f"seed and folds must be at least 0, not {min(request.seed, request.folds or 0)}")
    training = request.training
    if not isinstance(training, Training):
        training = read_training(made.paper if request.paper else made.defaults, training or {})
    layers = choose_layers(store, made, streams=request.streams, layers=request.layers or {})
    plan = Plan(
        head=request.head,
        options=head_options(request.head, request.options or {}),
        training=training,
        layers=layers,
        folds=request.folds,
        seed=request.seed,
        store=_about(store, layers),
        splits=choose_splits(store, request.split),
    )
    shapes = {stream: store.array(stream, layer).shape for stream, layer in layers.items()}
    outline = plan.outline(shapes, len(store.class_names))  # what heads refuse is told before anything is read
    if training.optimizer == "lbfgs" and not all(head.linear_layers() for head in outline.values()):
        raise UsageError(LBFGS)
    identity = {"streams": list(layers), "digest": store.digest, "folds": plan.folds, "splits": list(plan.splits)}
    record = RunRecord(kind="head", identity=identity, layers=layers, **plan.facts())
    return Planned(number, plan, store, outline, record, request.out)


def _about(store: FeatureStore, streams: Iterable[str]) -> dict[str, Any]:
    """What a run's record and checkpoints say of their store or stores: where they lay, how the streams were made.

    Runs of before have one "settings" of all streams in place of "streams", no "paths" and no "digests".
    """
    paths = [str(place) for place in store.places]
    streams = tuple(streams)
    return {
        "path": paths[0],
        "paths": paths,
        "digest": store.digest,
        "digests": {stream: store.digests[stream] for stream in streams},
        "dataset": store.dataset,
        "streams": {stream: store.settings(stream) for stream in streams},
        **({"lacking": store.lacking} if store.lacking else {}),
    }
