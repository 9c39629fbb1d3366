"""The stages of a run: each one's command, and what it will cost in disk and time."""

import math
import shlex
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from avr.core import UsageError, as_text, quiet
from avr.finetune import BACKBONE, END_TO_END, END_TO_END_TUNING, UNREAD, Tuning
from avr.heads import FOLDS, head_class, store_bytes
from avr.store import FeatureStore
from avr.training import Schedule, Training

from .figures import Figures
from .jobs import Job
from .planning import Pace, head_work, look, seconds_a_video, view_shapes
from .reading import Row
from .settling import Plan
from .stages import SEED, BackboneStage, StoreStage, TunedStage, is_trained
from .tuned import Tuned

BACKWARD = 3.0  # a step of training costs about three forward passes
FRAMES, SHORT, LONG = 100, 240, 320  # of a video, as most of HMDB51 and UCF101 have them


@dataclass(frozen=True)
class Step:
    """One stage of a run.

    Attributes:
        stage: "frames", "backbone", "store", "head", "trials" (a head, after those by which its settings are chosen) or
            "end to end".
        split: whose; "" is of all.
        rows: names of the rows that need it.
        command: what would make it alone; "" of what the run alone makes: frames and flow, which its first stage keeps,
            and stores.
        gigabytes: 10⁹ bytes on disk while it is there; None where it is little.
        hours: about; None where nobody knows.
        done: it is there already.
        trials: how many.
    """

    stage: str
    split: str
    rows: tuple[str, ...]
    command: str
    gigabytes: float | None
    hours: float | None
    done: bool
    trials: int = 0


def plan_stages(plan: Plan, out: Path, *, pace: Pace, where: str, start: str = "") -> list[Step]:
    """The stages of a run, in their order, each once: what is there, and what rows without a figure lack.

    Args:
        plan: settled.
        out: the run's folder.
        pace: of the machine.
        where: what finds the data set's videos, as a command's words: "--dataset hmdb51 --root videos".
        start: what finds those of the data set that rows start from.
    """
    figures = Figures(plan, out)
    wanted = {job.start for _, job, _, _ in figures.missing(list(product(plan.seeds, plan.splits)))}
    before = {name: _stages(own, pace=pace, where=start) for name, own in figures.starts.items()}
    named = [
        replace(step, rows=(name,)) for name, steps in before.items() for step in steps if step.done or name in wanted
    ]
    return [*named, *_stages(figures, pace=pace, where=where)]


def _stages(figures: Figures, *, pace: Pace, where: str) -> list[Step]:
    found: dict[Path, Step] = {}
    plan = figures.plan
    for split in plan.splits:
        for row in plan.recipe.rows:
            job = plan.jobs[split][row.name]
            if isinstance(job, str):
                continue
            for folder, step in _steps(figures, row, job, split, pace=pace, where=where):
                rows = found[folder].rows if folder in found else ()
                found[folder] = replace(step, rows=(*dict.fromkeys((*rows, *step.rows)),))
    return list(found.values())


def _steps(figures: Figures, row: Row, job: Job, split: str, *, pace: Pace, where: str) -> list[tuple[Path, Step]]:
    """Folder and step of all that one row needs in one split."""
    plan = figures.plan
    missing = [seed for seed in plan.seeds if figures.lacks(row, job, seed, split)]
    steps: list[tuple[Path, Step]] = []

    def add(folder: Path, step: Step, *, lacking: bool) -> None:
        if step.done or lacking:
            steps.append((folder, step))

    if store := job.source.made:
        needed = any(figures.needs_store(row, job, seed, split) for seed in missing)
        for backbone in store.backbones.values():
            work = _work(store, (backbone.stream,)) * backbone.tuned.segments / store.spec.steps
            hours = _training_hours(backbone.tuned.training, _videos(store)[0], work, pace)
            step = Step("backbone", split, (row.name,), _backbone(backbone, where), None, hours, backbone.done)
            add(backbone.folder, step, lacking=needed)
        add(store.folder, _store(store, row, pace), lacking=needed)
    of_head = _head_hours(job, split, pace) if missing else None
    for seed in plan.seeds:
        run = figures.run(job, seed, split)
        stage, command = "trials" if job.trials else "head", _head(job, run, seed, split, figures.start(job))
        step = Step(stage, split, (row.name,), command, None, of_head, is_trained(run), job.trials)
        add(run, step, lacking=seed in missing)
        tuned = plan.tuned(row, job, run, seed=seed, split=split)
        if tuned:
            work = _work(store, tuple(job.layers)) if store else 0.0
            of_all = _training_hours(tuned.tuned.training, _videos(store)[0], work, pace) if store else None
            step = Step("end to end", split, (row.name,), _tuned(tuned), None, of_all, tuned.done)
            add(tuned.folder, step, lacking=seed in missing)
    reading = any(not step.done for _, step in steps if step.stage not in ("head", "trials"))  # frames and flow
    first = [(store.making.cache, _frames(store, row, pace))] if store and store.backbones and reading else []
    return [*first, *steps]


def _videos(store: StoreStage) -> tuple[int, int]:
    """Training videos of the store's split, or of the first, and all that are extracted."""
    split = next(iter(store.dataset.splits.values()))
    return len(split.train), len(store.dataset.videos)


def _work(store: StoreStage, streams: tuple[str, ...]) -> float:
    """10⁹ operations of the networks on one view of a video."""
    return sum(store.spec.steps * look(store.settings[stream])[0] for stream in streams)


def _training_hours(training: Training, samples: int, work: float, pace: Pace, *, tensors: int = 0) -> float:
    """Hours of a training on so many views, at most, with so much work a view; `tensors` are of a head's weights."""
    an_epoch = math.ceil(samples / min(training.batch_size or samples, samples))
    steps = Schedule(training, an_epoch).total_steps
    seconds = BACKWARD * steps / an_epoch * samples * work / pace.gflops + tensors * steps * pace.step_seconds
    return seconds * (2 if training.refit else 1) / 3600


def _head_hours(job: Job, split: str, pace: Pace) -> float | None:
    """Hours of a head's training, its folds, and the trials before, one after the other; None where it refuses what it
    would read."""
    if store := job.source.made:
        shapes, videos, views = view_shapes(store.settings), _videos(store)[0], int(store.spec["views"])
        classes = len(store.making.dataset.class_names)
    else:
        with quiet(), FeatureStore(job.source.path, streams=tuple(job.layers)) as opened:
            shapes = {f"{s}/{layer}": opened.array(s, layer).shape for s, layer in job.layers.items()}
            train = opened.split(split)[0]
            videos, classes = int(train.sum()), len(opened.class_names)
            views = round(opened.views[train].sum() / max(videos, 1))
    read = {stream: shapes[f"{stream}/{layer}"] for stream, layer in job.layers.items()}
    try:
        work, tensors = head_work(job.head, job.options, read, classes)
    except UsageError:  # the run tells
        return None
    training = job.training
    if training.optimizer == "lbfgs":  # whose looks at the data are nothing but work
        tensors = 0

    def hours(share: float) -> float:
        samples = max(1, round(share * videos * (views if training.views == "all" else 1)))
        return _training_hours(training, samples, work, pace, tensors=tensors)

    trials = job.trials * FOLDS * hours(1 - 1 / FOLDS)
    return hours(1) + trials + (job.folds * hours(1 - 1 / job.folds) if job.folds else 0.0)


def _frames(store: StoreStage, row: Row, pace: Pace) -> Step:
    side = min(SHORT, *(own.resize[0] for own in store.settings.values() if own.resize), SHORT)
    pixels = FRAMES * side * side * LONG / SHORT
    kinds = [own.kind for own in store.settings.values()]
    videos = len(store.making.dataset.videos)
    size = videos * pixels * sum(2 if kind == "flow" else 3 for kind in dict.fromkeys(kinds)) / 1e9
    flows = {own.flow for own in store.settings.values() if own.kind == "flow"}
    hours = videos * FRAMES * sum(pace.flow_seconds[flow] for flow in flows) / 3600
    return Step("frames", "", (row.name,), "", size, hours, False)


def _store(store: StoreStage, row: Row, pace: Pace) -> Step:
    videos, views = _videos(store)[1], int(store.spec["views"])
    if store.backbones:  # frames and flow are there
        seconds = views * _work(store, tuple(store.settings)) / pace.gflops
    else:
        seconds = seconds_a_video(store.spec, pace)
    size = store_bytes(view_shapes(store.settings), videos=videos, views=views) / 1e9
    return Step("store", store.split, (row.name,), "", size, videos * seconds / 3600, store.done)


def _backbone(stage: BackboneStage, where: str) -> str:
    asked = stage.asked
    words = ["--stream", f"{stage.stream}={asked.kind}", "--split", stage.split, "--weights", asked.weights]
    words += ["--segments", str(asked.segments), "--backbone", asked.backbone]
    for name in ("stack", "flow", "resize", "crop"):
        if getattr(asked, name) and (asked.kind == "flow" or name in ("resize", "crop")):
            words += [f"--{name}", as_text(getattr(asked, name))]
    words += _settings(stage.tuned, BACKBONE, Tuning())
    words += ["--seed", str(SEED), "--cache", str(stage.making.cache), "--out", str(stage.folder)]
    return f"avr finetune backbone {where} {shlex.join(words)}"


def _head(job: Job, run: Path, seed: int, split: str, start: Path | None) -> str:
    words = ["avr", "heads", "tune" if job.trials else "train", job.head]
    words += ["--store", str(job.source.path), "--split", split]
    words += ["--stream", ",".join(job.layers)]
    for stream, layer in job.layers.items():
        words += ["--layer", f"{stream}={layer}"]
    for name, value in job.options.items():
        words += ["--set", f"{name}={as_text(value)}"]
    words += _changed(job.training, head_class(job.head).defaults)
    if job.trials:
        words += ["--trials", str(job.trials), *(["--hold", ",".join(job.held)] if job.held else [])]
    words += ["--start-from", str(start)] if start else []
    return shlex.join([*words, "--folds", str(job.folds), "--seed", str(seed), "--out", str(run)])


def _tuned(stage: TunedStage) -> str:
    words = ["avr", "finetune", "end-to-end", "--run", str(stage.run), "--split", stage.split]
    for stream, file in stage.weights.items():
        words += ["--weights", f"{stream}={file}"]
    words += _settings(stage.tuned, END_TO_END, END_TO_END_TUNING)
    words += ["--seed", str(stage.seed), "--cache", str(stage.making.cache), "--out", str(stage.folder)]
    return shlex.join(words)


def _settings(tuned: Tuned, training: Training, tuning: Tuning) -> list[str]:
    """What differs from a command's own settings, as its options."""
    words = _changed(tuned.training, training, unread=UNREAD)
    for name, value in asdict(tuned.tuning).items():
        if value != getattr(tuning, name):
            flag = name.replace("_", "-")
            words += (
                [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
            )
    return words


def _changed(training: Training, usual: Any, *, unread: Collection[str] = ()) -> list[str]:
    given = asdict(training)
    changed = [name for name, value in given.items() if value != getattr(usual, name) and name not in unread]
    return [word for name in changed for word in ("--training", f"{name}={as_text(given[name])}")]
