"""A run under way: which trainings it is, and its splits, each written as soon as its trainings are there."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import AvrError, UsageError, grouped_folds, measure, note, possible_folds
from avr.store import (
    TEST_VIDEO,
    FeatureStore,
    Figures,
    Scores,
    SplitRecord,
    is_test,
    mean_figures,
    new_split,
    read_record,
    read_scores,
    record_split,
    score_path,
    split_folder,
    write_log,
    write_scores,
)

from ._base import Head, with_average
from ._examples import Examples
from ._trained import CHECKPOINT, save_tensors
from ._trainings import Material, Outcome, Plan, Task, as_tensor, num_epochs, threads_each

FOLDS = 5  # where they are on by themselves
FOLDS_SECONDS = 60.0  # the most they may cost then, over all splits of the run


class Split:
    """A split under way.

    Attributes:
        name: of the split.
        videos, test: positions of its training and test videos.
        fold_of: fold of each training video; empty without folds.
        folds: how many; None until that is settled.

    Raises:
        UsageError: it has no training videos.
    """

    def __init__(self, plan: Plan, store: FeatureStore, name: str) -> None:
        self.plan, self.store, self.name = plan, store, name
        self.videos, self.test = (np.flatnonzero(mask) for mask in store.split(name))
        if not len(self.videos):
            raise UsageError(f"split {name} has no training videos with features")
        self.folds: int | None = None
        self.fold_of = np.zeros(0, dtype=np.int32)
        self._done: dict[tuple[str, int | None], tuple[Task, Outcome]] = {}

    def settle(self, folds: int) -> int:
        """Deal the training videos to so many folds, or to as many as their groups allow; gives how many."""
        self.folds = _possible(folds, self.store.groups[self.videos])
        if self.folds:
            groups, labels = self.store.groups[self.videos], self.store.labels[self.videos]
            self.fold_of = grouped_folds(labels, groups=groups, folds=self.folds, seed=self.plan.seed)
        return self.folds

    def parts(self, fold: int | None) -> tuple[NDArray, NDArray]:
        """The videos that a training sees and those that it scores: all and the test videos, or by fold."""
        if fold is None:
            return self.videos, self.test
        return self.videos[self.fold_of != fold], self.videos[self.fold_of == fold]

    def take(self, task: Task, outcome: Outcome) -> None:
        """Take what a training gave."""
        self._done[task.network, task.fold] = task, outcome

    @property
    def seconds(self) -> float | None:
        """What its own networks took; None until all are there."""
        own = [outcome.seconds for (_, fold), (_, outcome) in self._done.items() if fold is None]
        return sum(own) if len(own) == len(self.plan.networks) else None

    @property
    def complete(self) -> bool:
        """Whether all its trainings are there."""
        return self.folds is not None and len(self._done) == len(self.plan.networks) * (1 + self.folds)

    def publish(self, run: Path) -> SplitRecord:
        """Write its folder, whole or not at all; gives what the run's record keeps of it."""
        store, plan, seconds = self.store, self.plan, self.seconds or 0.0
        test_scores: dict[str, NDArray[np.float32]] = {}
        train_scores: dict[str, NDArray[np.float32]] = {}
        with new_split(run, self.name) as folder:
            for name in plan.networks:
                task, outcome = self._done[name, None]
                weights = {key: as_tensor(value) for key, value in outcome.weights.items()}
                save_tensors(folder / name / CHECKPOINT, weights, _describe(task, store))
                write_log(folder / name, outcome.rows)
                test_scores |= outcome.scores
            for fold, name in ((fold, name) for fold in range(self.folds or 0) for name in plan.networks):
                for output, scores in self._done[name, fold][1].scores.items():
                    shape = (len(self.videos), scores.shape[1])
                    whole = train_scores.setdefault(output, np.zeros(shape, dtype=np.float32))
                    whole[self.fold_of == fold] = scores
            kept = np.concatenate([self.test, self.videos]) if self.folds else self.test
            if len(kept):
                both = [scores for scores in (test_scores, train_scores) if scores]
                write_scores(
                    score_path(folder),
                    Scores.of(  # log-probabilities are logits: their softmax is the probability
                        store,
                        {name: np.concatenate([scores[name] for scores in both]) for name in both[0]},
                        at=kept,
                        split=self.name,
                        fold=np.concatenate([np.full(len(self.test), TEST_VIDEO), self.fold_of]),
                        head=plan.head,
                        provenance={n: getattr(plan, n) for n in ("store", "options", "seed", "layers")},
                    ),
                )
        labels = store.labels[self.test]
        accuracy = {name: measure(scores, labels) for name, scores in with_average(test_scores).items()}
        return SplitRecord(results=accuracy, folds=self.folds or 0, seconds=round(seconds, 3))


class Run:
    """A run under way, whose folder this process holds.

    Args:
        number: among those that are trained together.
        plan: what it trains.
        store: open.
        folder: its folder.
        claim: holds it; closed where the run fails.
        outline: its networks without memory.

    Attributes:
        splits: the finished ones by name, in the plan's order.
        error: what ended it.
    """

    def __init__(
        self,
        number: int,
        plan: Plan,
        store: FeatureStore,
        folder: Path,
        *,
        claim: ExitStack,
        outline: Mapping[str, Head],
    ) -> None:
        self.number, self.plan, self.store, self.folder = number, plan, store, folder
        self.splits = dict(read_record(folder).splits)
        self.error: AvrError | None = None
        self._claim, self._outline = claim, outline

    @property
    def missing(self) -> list[str]:
        """Splits that are not finished."""
        return [name for name in self.plan.splits if name not in self.splits]

    def fail(self, error: AvrError) -> None:
        """It ends with an error, and gives its folder back."""
        self.error = error
        self._claim.__exit__(type(error), error, error.__traceback__)

    def begin(self, examples: Examples, material: Material, *, trainings: int) -> list[Task]:
        """The trainings that are missing, as far as is known; folds that the cost decides come later.

        Args:
            examples: the features.
            material: takes what each network reads of them.
            trainings: how many there are with those of other runs.
        """
        self._parts, self._trainings = material.parts, trainings
        for network, head in self._outline.items():
            if self._part(network) not in material.parts:
                material.add(self._part(network), (examples.only(network) if network else examples).kept(head))
        self._work = {name: Split(self.plan, self.store, name) for name in self.missing}
        tasks = [task for split in self._work.values() for task in self._tasks(split, None, trainings)]
        first = self.splits.get(self.plan.splits[0])
        folds = self.plan.folds if first is None else first.folds  # settled by the first split
        return tasks + ([] if folds is None else self._settle(folds))

    def _part(self, network: str) -> str:
        """The name of what a network reads: heads of the same options keep the same features."""
        return f"{network} {self.plan.head} {self.plan.options}"

    def _settle(self, folds: int) -> list[Task]:
        """The trainings of folds, their number settled."""
        trainings = self._trainings
        if self.plan.folds is None:
            trainings += self.plan.num_trainings(folds) - self.plan.num_trainings(0)
        tasks: list[Task] = []
        for split in self._work.values():
            own = split.settle(folds)
            folds = own if split.name == self.plan.splits[0] else folds
            tasks += [task for fold in range(own) for task in self._tasks(split, fold, trainings)]
        return tasks

    def _tasks(self, split: Split, fold: int | None, trainings: int) -> list[Task]:
        """A training of each network: of all the split's videos or without a fold."""
        videos, scored = split.parts(fold)
        tasks = []
        for network, head in self._outline.items():
            part = self._parts[self._part(network)]
            tasks.append(
                Task(
                    run=self.number,
                    plan=self.plan,
                    split=split.name,
                    network=network,
                    fold=fold,
                    part=self._part(network),
                    shapes=dict(head.shapes),
                    videos=videos,
                    scored=scored,
                    threads=threads_each(trainings),
                    weights=sum(weight.numel() for weight in head.parameters()),
                    epochs=num_epochs(self.plan, part, videos, groups=self.store.groups),
                )
            )
        return tasks

    def take(self, task: Task, outcome: Outcome | AvrError) -> list[Task]:
        """Take what a training gave, and write the splits that are complete with it; gives trainings that come now.

        Raises:
            AvrError: the outcome, or a split that cannot be written.
        """
        if isinstance(outcome, AvrError):
            raise outcome
        self._work[task.split].take(task, outcome)
        first = self._work.get(self.plan.splits[0])
        tasks: list[Task] = []
        if first is not None and first.folds is None and first.seconds is not None:
            tasks = self._settle(affordable_folds(self.plan, first.seconds))
        for name in [name for name, split in self._work.items() if split.complete]:
            self.splits[name] = self._work.pop(name).publish(self.folder)
            self.splits = {name: self.splits[name] for name in self.plan.splits if name in self.splits}
            record_split(self.folder, name, self.splits[name], summary=_summarise(self.folder, self.splits))
        return tasks


def _summarise(folder: Path, splits: Mapping[str, SplitRecord]) -> Figures:
    """The figures over splits, as `RunResult` has them."""
    summary = mean_figures(splits)
    if len(splits) > 1 and summary:
        tests = [read_test_scores(folder, name) for name in splits]
        labels = np.concatenate([labels for _, labels in tests])
        for output, figures in summary.items():
            pooled = measure(np.concatenate([scores[output] for scores, _ in tests]), labels)
            figures["top1_spread"] = float(np.std([split.results[output]["top1"] for split in splits.values()], ddof=1))
            figures |= {f"{figure}_pooled": pooled[figure] for figure in ("top1", "mean_class")}
    return summary


def read_test_scores(run: Path, split: str) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    """Scores `(M, K)` by output of a finished split's M test videos, "average" among them, and their labels."""
    scores = read_scores(score_path(split_folder(run, split)))
    test = is_test(scores.fold)
    return with_average({output: values[test] for output, values in scores.streams.items()}), scores.labels[test]


def _describe(task: Task, store: FeatureStore) -> dict[str, Any]:
    """A checkpoint's metadata."""
    plan = task.plan
    return plan.facts() | {
        "split": task.split,
        "streams": list(plan.layers),
        "layers": {stream: plan.layers[stream] for stream in task.shapes},
        "shapes": {stream: list(shape) for stream, shape in task.shapes.items()},
        "class_names": list(store.class_names),
    }


def affordable_folds(plan: Plan, seconds: float) -> int:
    """How many folds to train where the cost decides: 5 where they are cheap, else none. Which is said.

    Args:
        plan: of the run.
        seconds: that the networks of one split took.
    """
    cost = (FOLDS - 1) * seconds * len(plan.splits)  # each of FOLDS trainings sees all videos but a fold
    if cost > FOLDS_SECONDS:
        note(f"no out-of-fold scores: {FOLDS} folds would take about {cost:.0f} s (ask for them with --folds {FOLDS})")
        return 0
    note(f"out-of-fold scores of the training videos: {FOLDS} folds, about {cost:.0f} s (--folds 0 leaves them out)")
    return FOLDS


def _possible(wanted: int, groups: NDArray) -> int:
    """So many folds, or fewer where the groups do not allow as many, which is said; below two there are none."""
    folds = possible_folds(groups, folds=wanted) if wanted else 0
    if wanted >= 2 and not folds:
        note("no out-of-fold scores: all training videos are of one group, which folds must not split")
    elif 0 < folds < wanted:
        note(f"{folds} folds instead of {wanted}: the training videos are of {folds} groups, which stay whole")
    return folds
