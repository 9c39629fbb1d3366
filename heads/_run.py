"""`train_run`: train a head on a store's splits and write the run folder (`avr.store.runs` says what lies where).

    split-1/checkpoint.safetensors, log.csv, scores.h5        a joint head
    split-1/rgb/checkpoint.safetensors, log.csv               one network a stream …
    split-1/scores.h5                                         … and the scores of all

A split's folder appears when it is complete; an interrupted run keeps the splits that are finished, and the same
command goes on after them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from avr.core import AvrError, Progress, UsageError, note
from avr.store import RUNS, FeatureStore, Figures, RunRecord, SplitRecord, claim_run, read_record
from avr.training import Engine, Training, choose_device, read_training

from ._base import head_class, head_options
from ._choices import choose_layers, choose_splits
from ._engines import run_tasks
from ._examples import open_examples
from ._loop import EpochRow
from ._split import Run
from ._trainings import Material, Plan, Task


@dataclass(frozen=True)
class RunResult:
    """What a run wrote and how well its heads do.

    Attributes:
        folder: the run's folder.
        layers: stream -> layer that was read.
        splits: what is kept of each by name, in the order asked for: `results` of the test videos, `folds`, `seconds`.
        summary: output -> top-1, top-5, mean class accuracy: the mean over splits; of several `top1_spread` too
            (standard deviation over splits, of n - 1), `top1_pooled` and `mean_class_pooled`, over the test videos of
            all splits together. Of single-stream heads on several streams, "average" is the mean of their
            probabilities: shown for comparison, and not kept in scores.h5, which fusers read.
    """

    folder: Path
    layers: dict[str, str]
    splits: dict[str, SplitRecord]
    summary: Figures


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


def train_run(  # noqa: PLR0913 (the stage's one entry: all it can be told, keyword-only)
    store: Path | str | Sequence[Path | str],
    head: str,
    *,
    streams: tuple[str, ...] = (),
    layers: Mapping[str, str] | None = None,
    split: str | tuple[str, ...] = "",
    options: Mapping[str, object] | None = None,
    training: Training | Mapping[str, object] | None = None,
    paper: bool = False,
    folds: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    memory_gb: float | None = None,
    engine: Engine | None = None,
) -> RunResult:
    """Train a head on one or more splits of a store; write checkpoints, logs and scores.

    Args:
        store: feature store, a folder or a packed file; or several of one data set, joined by video.
        head: registry name.
        streams: streams to read, in the head's order; empty is all of the store, those of kind rgb first.
        layers: stream -> layer, where it is not the head's default; "" stands for every stream.
        split: name, several names, "all", or "" for the first.
        options: of the head, values or texts.
        training: changes to the head's settings (values or texts), or whole settings.
        paper: start from the paper's settings instead of the command's defaults.
        folds: grouped folds for out-of-fold scores of the training videos; 0 writes none; None takes 5 where they cost
            less than a minute over all splits, judged by the time of the first split's training.
        seed: of weights, order, dropout, validation part and folds.
        out: the run's folder; one that holds this very run is gone on with. None: the newest unfinished run of the same
            settings under `runs/`, else the next `runs/<head>-<dataset>-<k>`.
        device: "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1".
        memory_gb: largest size of features held in memory, in 10⁹ bytes; None is half of what is free. Larger ones
            stream from disk.
        engine: where the trainings of splits, folds and networks run; default this machine, as many as pay.

    Raises:
        UsageError: unknown head, option, setting, stream, layer or split; a folder that holds something else or another
            run, or that another process works in.
        WorkError: damaged features, or a loss that is no number; says in which training.
    """
    request = RunRequest(store, head, streams, layers, split, options, training, paper, folds, seed, out)
    (result,) = train_runs([request], device=device, memory_gb=memory_gb, engine=engine)
    if isinstance(result, AvrError):
        raise result
    return result


def train_runs(
    requests: Sequence[RunRequest],
    *,
    device: str = "auto",
    memory_gb: float | None = None,
    engine: Engine | None = None,
    trainings: int = 0,
) -> list[RunResult | AvrError]:
    """Several runs, whose trainings may all be done side by side: of each what it wrote, or the error that ended it.

    Features are held by store and layers, of one after the other.

    Args:
        requests: what each run is asked for.
        device, memory_gb, engine: as in `train_run`.
        trainings: how many there are in the whole work, where some were done before: how many CPU threads compute one
            follows from it. 0: those of these runs.
    """
    engine = engine or Engine()
    options = _Options(
        choose_device("cpu" if engine.name == "ray" else device), memory_gb, not device.startswith("cpu")
    )
    runs: list[Run | AvrError] = []
    stores: dict[Any, FeatureStore] = {}
    with ExitStack() as stack:
        for number, request in enumerate(requests):
            try:
                key = str(request.store), request.streams
                if key not in stores:  # videos may lack what is not read
                    stores[key] = stack.enter_context(FeatureStore(request.store, streams=request.streams))
                runs.append(_begin(number, request, stores[key], stack))
            except AvrError as error:
                runs.append(error)
        begun = [run for run in runs if isinstance(run, Run)]
        trainings = max(trainings, sum(run.plan.num_trainings(run.plan.folds or 0) for run in begun))
        groups: dict[Any, list[Run]] = {}
        for run in begun:
            if run.missing:
                groups.setdefault((id(run.store), tuple(run.plan.layers.items())), []).append(run)
            else:
                note(f"{run.folder} is finished already: nothing to do")
        for group in groups.values():
            _train_together(group, engine, options, trainings=trainings)
        return [run if isinstance(run, AvrError) else run.error or _result(run) for run in runs]


class _Options(NamedTuple):
    """Where features are held and how many, and whether a cluster's GPUs are taken."""

    device: torch.device
    memory_gb: float | None
    gpus: bool


def _result(run: Run) -> RunResult:
    return RunResult(run.folder, run.plan.layers, run.splits, read_record(run.folder).summary)


def _begin(number: int, request: RunRequest, store: FeatureStore, stack: ExitStack) -> Run:
    """Settle a run and claim its folder.

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
    identity = {"streams": list(layers), "digest": store.digest, "folds": plan.folds, "splits": list(plan.splits)}
    record = RunRecord(kind="head", identity=identity, layers=layers, **plan.facts())
    claim = ExitStack()
    stack.push(claim)
    folder = claim.enter_context(claim_run(request.out, RUNS / f"{request.head}-{store.dataset}", record))
    return Run(number, plan, store, folder, claim=claim, outline=outline)


def _about(store: FeatureStore, streams: Iterable[str]) -> dict[str, Any]:
    """What a run's record and checkpoints say of their store or stores: where they lay, how the streams were made.

    Runs of before have one "settings" of all streams in place of "streams", and no "paths".
    """
    paths = [str(place) for place in store.places]
    return {
        "path": paths[0],
        "paths": paths,
        "digest": store.digest,
        "dataset": store.dataset,
        "streams": {stream: store.settings(stream) for stream in streams},
    }


def _train_together(runs: Sequence[Run], engine: Engine, options: "_Options", *, trainings: int) -> None:
    """Train what runs of the same layers of one store lack; a run that fails keeps its error, the others go on."""
    store, layers = runs[0].store, runs[0].plan.layers
    material = Material({}, store.groups, store.ids, tuple(store.class_names))
    queue: list[Task] = []
    try:
        examples = open_examples(store, layers, device=options.device, memory_gb=options.memory_gb)
    except AvrError as error:  # such as damaged features
        for run in runs:
            run.fail(error)
        return
    for run in runs:
        try:
            queue += run.begin(examples, material.parts, trainings=trainings)
        except AvrError as error:
            run.fail(error)
    del examples  # of which the parts may be less
    queue.sort(key=lambda task: task.place)
    label = runs[0].plan.head if len(runs) == 1 else f"{len(runs)} runs"
    counted: Counter[Task] = Counter()  # epochs that the bar has
    with Progress(label, total=sum(task.epochs for task in queue), unit="epochs") as bar:

        def show(task: Task, number: int, row: EpochRow) -> None:
            figures = {name: f"{row[name]:.3f}" for name in ("loss", "accuracy", "validation_loss") if name in row}
            bar.advance(max(0, number - counted[task]), **figures)
            counted[task] = max(number, counted[task])

        with closing(run_tasks(queue, material, engine, on_row=show, gpus=options.gpus)) as ended:
            for task, outcome in ended:
                bar.advance(task.epochs - counted[task])
                run = next(run for run in runs if run.number == task.run)
                if run.error:  # this one was under way when another of the run's failed
                    continue
                try:
                    more = run.take(task, outcome)
                    bar.more(sum(task.epochs for task in more))
                    queue[:] = sorted([*queue, *more], key=lambda task: task.place)
                except AvrError as error:
                    run.fail(error)
                    queue[:] = [task for task in queue if task.run != run.number]
                if all(run.error for run in runs):
                    break
    material.parts.clear()  # which the runs hold too
