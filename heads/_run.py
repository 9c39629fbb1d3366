"""`train_run`: train a head on a store's splits and write the run folder (`avr.store.runs` says what lies where).

    split-1/checkpoint.safetensors, log.csv, scores.h5        a joint head
    split-1/rgb/checkpoint.safetensors, log.csv               one network a stream …
    split-1/scores.h5                                         … and the scores of all

A split's folder appears as soon as its networks are trained, before its folds begin. An interrupted run keeps every
training that is done, and of one of minutes the state that it was in (`_kept.py`): the same command goes on from there,
and ends with the same checkpoints and scores; what differs is the seconds in log.csv and run.json.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from avr.core import AvrError, Progress, UsageError, note
from avr.store import RUNS, FeatureStore, Figures, SplitRecord, claim_run, read_record
from avr.training import Engine, Training, check_device, choose_device

from ._course import EpochRow
from ._engines import run_tasks
from ._examples import open_examples
from ._requests import Planned, RunRequest, settle
from ._running import Run
from ._trainings import Material, Task


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
            probabilities and "multiply" that of their log-probabilities: shown for comparison, and not kept in
            scores.h5, which fusers read.
        lacking: what the store lacked, "rgb: 3 of 12 shards"; "" of a whole one.
    """

    folder: Path
    layers: dict[str, str]
    splits: dict[str, SplitRecord]
    summary: Figures
    lacking: str = ""


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
    start_from: Path | None = None,
    freeze: tuple[str, ...] = (),
    keep_statistics: bool = False,
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
        device: "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1"; on Ray no number, and CUDA is the cluster's.
        memory_gb: largest size of features held in memory, in 10⁹ bytes; None is half of what is free. Larger ones
            stream from disk.
        engine: where the trainings of splits, folds and networks run; default this machine, as many as pay.
        start_from: a trained run, or one of its splits, whose tensors of equal name and shape the weights start from.
            Of a run of the same data set each split starts from its own, and there are no folds.
        freeze: names of the head's parts that do not learn, such as "learned".
        keep_statistics: standardise by the statistics of that run, not by those of this store's training videos.

    Raises:
        UsageError: unknown head, option, setting, stream, layer or split; a folder that holds something else or another
            run, or that another process works in.
        WorkError: damaged features, or a loss that is no number; says in which training.
    """
    asked = (store, head, streams, layers, split, options, training, paper, folds, seed, out)
    request = RunRequest(*asked, start_from=start_from, freeze=tuple(freeze), keep_statistics=keep_statistics)
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
        trainings: how many there are of the same features in the whole work, where some were done before: how many CPU
            threads compute one follows from it. 0: those of these runs.

    Raises:
        UsageError: the device is unknown or not there.
    """
    engine = engine or Engine()
    if engine.name == "ray" and ":" in check_device(device):
        raise UsageError(f"device {device}: Ray chooses which GPU is whose; --device takes auto, cpu or cuda there")
    options = _Options(choose_device("cpu" if engine.name == "ray" else device), memory_gb, device)
    if options.device.type != "cpu" and engine.workers > 1:
        note(f"--workers {engine.workers} is for CPUs: on {options.device} one training follows another")
    ended: dict[int, RunResult | AvrError] = {}
    groups: dict[Any, list[Planned]] = {}  # of the same features
    stores: dict[Any, FeatureStore] = {}
    with ExitStack() as stack:
        for number, request in enumerate(requests):
            try:
                key = str(request.store), request.streams
                if key not in stores:  # videos may lack what is not read
                    stores[key] = stack.enter_context(FeatureStore(request.store, streams=request.streams))
                planned = settle(number, request, stores[key])
                groups.setdefault((key, tuple(planned.plan.layers.items())), []).append(planned)
            except AvrError as error:
                ended[number] = error
        for group in groups.values():
            trainings = max(trainings, sum(run.plan.num_trainings(run.plan.folds or 0) for run in group))
        for group in groups.values():
            ended |= _train_group(group, engine, options, trainings=trainings)
    return [ended[number] for number in range(len(requests))]


class _Options(NamedTuple):
    """Where features are held and how many, and the device that was asked for."""

    device: torch.device
    memory_gb: float | None
    asked: str


def _result(run: Run) -> RunResult:
    record = read_record(run.folder)
    return RunResult(run.folder, run.plan.layers, run.splits, record.summary, record.lacking)


def _begin(planned: Planned, stack: ExitStack) -> Run:
    """Claim a run's folder.

    Raises:
        UsageError, WorkError: as `claim_run`.
    """
    number, plan, store, outline, record, out = planned
    claim = ExitStack()
    stack.push(claim)
    folder = claim.enter_context(claim_run(out, RUNS / f"{plan.head}-{store.dataset}", record))
    return Run(number, plan, store, folder, claim=claim, outline=outline)


def _train_group(
    group: Sequence[Planned], engine: Engine, options: _Options, *, trainings: int
) -> dict[int, RunResult | AvrError]:
    """Claim and train runs of the same layers of one store; gives what became of each by number."""
    ended: dict[int, RunResult | AvrError] = {}
    runs: list[Run] = []
    with ExitStack() as stack:
        for planned in group:
            try:
                runs.append(_begin(planned, stack))
            except AvrError as error:
                ended[planned.number] = error
        for run in runs:
            if not run.missing:
                note(f"{run.folder} is finished already: nothing to do")
        missing = [run for run in runs if run.missing]
        if missing:
            _train_together(missing, engine, options, trainings=trainings)
        return ended | {run.number: run.error or _result(run) for run in runs}


def _train_together(runs: Sequence[Run], engine: Engine, options: _Options, *, trainings: int) -> None:
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
            queue += run.begin(examples, material, trainings=trainings)
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

        with closing(run_tasks(queue, material, engine, on_row=show, device=options.asked)) as ended:
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
