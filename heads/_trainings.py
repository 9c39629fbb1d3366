"""One training of a run: what it is told, what it gives, and the one function between, all plain data.

So it can be done in this process, in a child of it or on another machine. The numbers are the same, bit for bit: how
many CPU threads compute is told with the training, and follows from the run, not from where it is done.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avr.training import Training, deterministic, settings_of

from ._base import Head, Shapes, build_head, head_class
from ._course import EpochRow, refitted
from ._examples import Examples, MemoryExamples
from ._loop import course_of, hold_out, train
from ._predicting import predict
from ._starting import Start
from ._vectors import read_vectors


@dataclass(frozen=True)
class Plan:
    """What a run trains, settled.

    Attributes:
        head, options, training, seed: the registry name, every option, the settings.
        layers: stream -> layer.
        folds: asked for; None lets the cost decide.
        store: what checkpoints and scores say of it.
        splits: those the run trains.
        start: where weights come from and which stay; None: all are fresh and learn.
    """

    head: str
    options: dict[str, Any]
    training: Training
    layers: dict[str, str]
    folds: int | None
    seed: int
    store: dict[str, Any]
    splits: tuple[str, ...]
    start: Start | None = None

    @property
    def networks(self) -> dict[str, tuple[str, ...]]:
        """Sub-folder -> streams of each network: one of all streams, or one a stream."""
        return {"": tuple(self.layers)} if head_class(self.head).joint else {s: (s,) for s in self.layers}

    def part(self, network: str) -> str:
        """The name of what a network reads: heads of the same options keep the same features."""
        return f"{network} {self.head} {self.options}"

    def num_trainings(self, folds: int) -> int:
        """How many trainings the run is, with so many folds."""
        return num_trainings(self.head, len(self.layers), splits=len(self.splits), folds=folds)

    def outline(self, shapes: Shapes, num_classes: int) -> dict[str, Head]:
        """Each network without memory or values.

        Raises:
            UsageError: the head refuses these streams.
        """
        with torch.device("meta"):
            return {
                name: self.build({stream: shapes[stream] for stream in streams}, num_classes)
                for name, streams in self.networks.items()
            }

    def build(self, shapes: Shapes, num_classes: int) -> Head:
        """A fresh head for these streams."""
        return build_head(self.head, shapes, num_classes, options=self.options)

    def facts(self) -> dict[str, Any]:
        """What the run's record and every checkpoint say of it."""
        return {
            "head": self.head,
            "options": self.options,
            "training": settings_of(self.training),
            "seed": self.seed,
            "store": self.store,
        }


@dataclass(frozen=True)
class Material:
    """What trainings read, the same for all of them.

    Attributes:
        parts: features and labels of the same M videos, as far as networks of one kind come without their weights.
        groups, ids: `(M,)` of each video its group and its id.
        class_names: K of them.
    """

    parts: dict[str, Examples]
    groups: NDArray
    ids: NDArray
    class_names: tuple[str, ...]

    def add(self, name: str, part: Examples) -> None:
        """Take a part under a name; one with the same features, under another, is taken in its place."""
        self.parts[name] = next((held for held in self.parts.values() if _are_equal(held, part)), part)

    def add_parts(self, plan: "Plan", outline: Mapping[str, Head], examples: Examples) -> None:
        """Take what each network of a plan reads of features."""
        for network, head in outline.items():
            if plan.part(network) not in self.parts:
                self.add(plan.part(network), (examples.only(network) if network else examples).kept(head))


def _are_equal(one: Examples, other: Examples) -> bool:
    """Whether examples of the same videos and store are held, with the same values."""
    return (
        isinstance(one, MemoryExamples)
        and isinstance(other, MemoryExamples)
        and one.shapes == other.shapes
        and all(array is other.arrays[s] or torch.equal(array, other.arrays[s]) for s, array in one.arrays.items())
    )


@dataclass(frozen=True, eq=False)
class Task:
    """One training.

    Attributes:
        run: number of its run, among those that are trained together.
        plan: of that run.
        split, network, fold: which of its trainings this is; fold None is the split's own, of all its videos.
        part: which features of the material it reads.
        shapes: stream -> shape of one view in the store.
        videos, scored: positions of those to train on, and of those to predict then.
        threads: CPU threads that compute.
        weights: how many the network has.
        epochs: how many it takes at most.
        kept: path, but for the suffix, of what is kept of it until its split is written; None where it cannot be.
    """

    run: int
    plan: Plan
    split: str
    network: str
    fold: int | None
    part: str
    shapes: dict[str, tuple[int, ...]]
    videos: NDArray
    scored: NDArray
    threads: int
    weights: int
    epochs: int
    kept: Path | None = None

    @property
    def state(self) -> Path | None:
        """File of its own state while it lasts."""
        return None if self.kept is None else self.kept.with_name(f"{self.kept.name}.state")

    @property
    def second_state(self) -> Path | None:
        """The same of a training that is done anew on all videos."""
        return None if self.kept is None else self.kept.with_name(f"{self.kept.name}.refit-state")

    @property
    def name(self) -> str:
        """How a person knows it: "linear, rgb, split 1, fold 2"."""
        network = f", {self.network}" if self.network else ""
        fold = f", fold {self.fold + 1}" if self.fold is not None else ""
        return f"{self.plan.head}{network}, split {self.split}{fold}"

    @property
    def label(self) -> str:
        """How a log calls it: "split-1/rgb/fold-2"."""
        fold = "" if self.fold is None else f"fold-{self.fold + 1}"
        return "/".join(filter(None, (f"split-{self.split}", self.network, fold)))

    @property
    def place(self) -> tuple[int, int, int, int]:
        """Where it comes in order: run by run, split by split, the split's own networks before its folds."""
        networks, fold = list(self.plan.networks), -1 if self.fold is None else self.fold
        return self.run, self.plan.splits.index(self.split), fold, networks.index(self.network)


@dataclass(frozen=True)
class Outcome:
    """What a training gives.

    Attributes:
        scores: output -> log-probabilities `(len(scored), K)`.
        rows: the log, one an epoch.
        seconds: a training like it takes.
        weights: the network's by name, and its statistics; of a fold none, which is not kept.
        vectors: stream -> those of its head `(len(videos) + len(scored), D)`, training videos first; of a fold none.
    """

    scores: dict[str, NDArray[np.float32]]
    rows: list[EpochRow]
    seconds: float
    weights: dict[str, NDArray] = field(default_factory=dict)
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)


def train_task(task: Task, material: Material, on_epoch: Callable[[EpochRow], None]) -> Outcome:
    """Train a fresh head and predict; `on_epoch` is called with each epoch's log row.

    Raises:
        UsageError, WorkError: as `train` and `predict` do.
    """
    plan, part = task.plan, material.parts[task.part]
    # The fresh weights are drawn on the CPU, from the seed.
    with deterministic(part.device, seed=plan.seed, threads=task.threads):

        def begin() -> Head:
            head = plan.build(task.shapes, len(material.class_names))
            if plan.start is not None:
                plan.start.begin(head, task.split, task.network)
            return head

        head = begin()
        told: dict[str, Any] = {"groups": material.groups, "names": material.ids, "seed": plan.seed}
        told |= {"on_epoch": on_epoch}
        trained = train(head, part, task.videos, training=plan.training, state=task.state, **told)
        if plan.training.refit and trained.rows:
            head, again = begin(), refitted(plan.training, trained.rows)
            second = train(head, part, task.videos, training=again, state=task.second_state, **told)
            trained = replace(second, rows=trained.rows + second.rows, seconds=trained.seconds + second.seconds)
        scores = predict(head, part, task.scored, names=material.ids) if len(task.scored) else {}
        seen = np.concatenate([task.videos, task.scored])
        vectors = read_vectors(head, part, seen) if task.fold is None else {}
    state = head.state_dict() if task.fold is None else {}
    weights = {name: value.detach().cpu().numpy() for name, value in state.items()}
    return Outcome(scores, trained.rows, trained.seconds, weights, vectors)


def make_tasks(  # noqa: PLR0913 (all that a task is told, keyword-only)
    plan: Plan,
    outline: Mapping[str, Head],
    material: Material,
    *,
    run: int,
    split: str,
    fold: int | None,
    videos: NDArray,
    scored: NDArray,
    threads: int,
    kept: Path | None = None,
) -> list[Task]:
    """A training of each network of a plan; `kept` is the folder of what is kept of them."""
    tasks = []
    for network, head in outline.items():
        part = material.parts[plan.part(network)]
        tasks.append(
            Task(
                run=run,
                plan=plan,
                split=split,
                network=network,
                fold=fold,
                part=plan.part(network),
                shapes=dict(head.shapes),
                videos=videos,
                scored=scored,
                threads=threads,
                weights=sum(weight.numel() for weight in head.parameters()),
                epochs=num_epochs(plan, part, videos, groups=material.groups),
                kept=kept / (network or "network") if kept else None,
            )
        )
    return tasks


def num_trainings(head: str, streams: int, *, splits: int = 1, folds: int = 0) -> int:
    """How many trainings a run of so many streams, splits and folds is."""
    return splits * (1 + folds) * (1 if head_class(head).joint else streams)


def threads_each(trainings: int) -> int:
    """CPU threads of each of so many trainings: all of torch's, shared out, as if all trainings ran side by side.

    Heads whose steps are small take one of them (`train`).
    """
    return max(1, torch.get_num_threads() // trainings)


def num_epochs(plan: Plan, examples: Examples, videos: NDArray, *, groups: NDArray) -> int:
    """Epochs that a training on some videos takes, at most."""
    videos, _ = hold_out(examples, videos, groups=groups, share=plan.training.validation, seed=plan.seed)
    return course_of(plan.training, examples, videos).total_epochs * (2 if plan.training.refit else 1)


def as_tensor(array: NDArray) -> Tensor:
    """A tensor of an array that may be read alone; avr does no more."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(array))
