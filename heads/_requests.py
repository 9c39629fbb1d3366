"""What a run is asked for, and what it is once that is settled."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from avr.core import UsageError
from avr.store import FeatureStore, RunRecord
from avr.training import LBFGS, Training, check_read, read_training

from ._base import Head, head_class, head_options
from ._choices import APPEARANCE, choose_layers, choose_splits
from ._starting import Start
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
    start_from: Path | None = None
    freeze: tuple[str, ...] = ()
    keep_statistics: bool = False


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
        base, given = made.paper if request.paper else made.defaults, training or {}
        training = read_training(base, given)
        check_read(training, [name for name in given if getattr(training, name) != getattr(base, name)])
    layers = choose_layers(store, made, streams=request.streams, layers=request.layers or {})
    splits = choose_splits(store, request.split)
    start = Start.of(
        request.start_from and Path(request.start_from),
        dataset=store.dataset,
        splits=splits,
        freeze=request.freeze,
        keep_statistics=request.keep_statistics,
    )
    plan = Plan(
        head=request.head,
        options=_started(made, head_options(request.head, request.options or {}), store, layers),
        training=training,
        layers=layers,
        folds=_folds(request.folds, start),
        seed=request.seed,
        store=_about(store, layers),
        splits=splits,
        start=start,
    )
    shapes = {stream: store.array(stream, layer).shape for stream, layer in layers.items()}
    outline = plan.outline(shapes, len(store.class_names))  # what heads refuse is told before anything is read
    if training.optimizer == "lbfgs" and not all(head.linear_layers() for head in outline.values()):
        raise UsageError(LBFGS)
    if training.optimizer == "lbfgs" and training.epochs and start is not None:
        raise UsageError(
            "optimizer lbfgs solves for all weights, wherever they start: leave start_from and freeze out, or choose "
            "another --optimizer"
        )
    identity = {"streams": list(layers), "digest": store.digest, "folds": plan.folds, "splits": list(plan.splits)}
    if start is not None:
        start.look(outline)
        identity |= start.identity(plan.networks)
    record = RunRecord(kind="head", identity=identity, layers=layers, **plan.facts())
    return Planned(number, plan, store, outline, record, request.out)


def _folds(asked: int | None, start: Start | None) -> int | None:
    """Folds that are asked for; none where the weights that all of them start from have seen every fold.

    Raises:
        UsageError: some are asked for all the same.
    """
    if start is None or not start.own:
        return asked
    if asked:
        raise UsageError(
            "start_from is a run of this data set, whose weights have seen the videos of every fold: leave folds out"
        )
    return 0


def _started(made: type[Head], options: dict[str, Any], store: FeatureStore, streams: Iterable[str]) -> dict[str, Any]:
    """Options that say where weights start, "store" replaced by the weights of the store's network for appearance.

    Raises:
        UsageError: the store does not say which.
    """
    for option in (name for name in made.starting if options[name] == "store"):
        kept = [store.settings(stream) for stream in streams if store.kind(stream) == APPEARANCE]
        named = [str(settings["weights"]) for settings in kept if settings.get("weights")]
        if not named:
            raise UsageError(f"{option}=store: the store does not say with which weights its {APPEARANCE} was made")
        options = options | {option: named[0]}
    return options


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
