"""A split under way: what each of its trainings sees, its folder, written as soon as its own networks are there, and
the out-of-fold scores that are added to it then.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, grouped_folds, measure, note, possible_folds
from avr.store import (
    TEST_VIDEO,
    FeatureStore,
    Scores,
    SplitRecord,
    is_test,
    new_split,
    read_scores,
    score_path,
    split_folder,
    write_log,
    write_scores,
)

from ._base import with_average
from ._kept import drop_outcome
from ._trained import CHECKPOINT, save_tensors
from ._trainings import Outcome, Plan, Task, as_tensor
from ._vectors import videos_of, write_vectors


class Split:
    """A split under way.

    Attributes:
        name: of the split.
        videos, test: positions of its training and test videos.
        fold_of: fold of each training video; empty without folds.
        folds: how many; None until that is settled.
        published: whether the folder of its own networks is there.

    Raises:
        UsageError: it has no training videos.
    """

    def __init__(self, plan: Plan, store: FeatureStore, name: str, *, published: bool = False) -> None:
        self.plan, self.store, self.name, self.published = plan, store, name, published
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
    def trained(self) -> bool:
        """Whether its own networks are there."""
        return self.published or all((name, None) in self._done for name in self.plan.networks)

    @property
    def complete(self) -> bool:
        """Whether it is published, and all its folds are there."""
        wanted = ((name, fold) for fold in range(self.folds or 0) for name in self.plan.networks)
        return self.published and self.folds is not None and all(key in self._done for key in wanted)

    def publish(self, run: Path) -> SplitRecord:
        """Write the folder of its own networks, whole or not at all; gives what the run's record keeps of it."""
        store, own = self.store, {name: self._done[name, None] for name in self.plan.networks}
        scores = {output: values for _, outcome in own.values() for output, values in outcome.scores.items()}
        with new_split(run, self.name) as folder:
            for name, (task, outcome) in own.items():
                weights = {key: as_tensor(value) for key, value in outcome.weights.items()}
                save_tensors(folder / name / CHECKPOINT, weights, _describe(task, store))
                if outcome.rows:
                    write_log(folder / name, outcome.rows)
                if outcome.vectors:
                    seen = np.concatenate([task.videos, task.scored])
                    about = {s: {"kind": store.kind(s), "store": store.digests[s]} for s in outcome.vectors}
                    told: dict[str, Any] = {"about": about, "lacking": store.lacking}
                    write_vectors(folder, videos_of(store, seen, self.name), outcome.vectors, **told)
            if scores:
                self._write_scores(folder, scores, at=self.test, fold=np.full(len(self.test), TEST_VIDEO))
        self.published = True
        labels = store.labels[self.test]
        return SplitRecord(
            results={name: measure(values, labels) for name, values in with_average(scores).items()},
            seconds=round(sum(outcome.seconds for _, outcome in own.values()), 3),
            unfinished=self.folds is None or self.folds > 0,
        )

    def drop_kept(self) -> None:
        """Remove what was kept of its own networks, once the run's record names it."""
        for task in (task for task, _ in self._done.values() if task.fold is None):
            drop_outcome(task)

    def add_folds(self, run: Path, record: SplitRecord) -> SplitRecord:
        """Add the out-of-fold scores of its folds, all of them there, to what is published."""
        folder, outputs = split_folder(run, self.name), dict[str, NDArray[np.float32]]()
        for fold, name in ((fold, name) for fold in range(self.folds or 0) for name in self.plan.networks):
            for output, scores in self._done[name, fold][1].scores.items():
                shape = (len(self.videos), scores.shape[1])
                outputs.setdefault(output, np.zeros(shape, dtype=np.float32))[self.fold_of == fold] = scores
        if outputs:
            at, fold_of = self.videos, self.fold_of
            if len(self.test):
                tests = read_scores(score_path(folder))
                test = is_test(tests.fold)
                outputs = {name: np.concatenate([tests.streams[name][test], outputs[name]]) for name in tests.streams}
                at = np.concatenate([self.test, at])
                fold_of = np.concatenate([np.full(len(self.test), TEST_VIDEO), fold_of])
            self._write_scores(folder, outputs, at=at, fold=fold_of)
        return replace(record, folds=self.folds or 0, unfinished=False)

    def _write_scores(self, folder: Path, outputs: Mapping[str, NDArray], *, at: NDArray, fold: NDArray) -> None:
        plan = self.plan
        scores = Scores.of(  # log-probabilities are logits: their softmax is the probability
            self.store,
            outputs,
            at=at,
            split=self.name,
            fold=fold,
            head=plan.head,
            provenance={name: getattr(plan, name) for name in ("store", "options", "seed", "layers")},
        )
        write_scores(score_path(folder), scores)


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


def _possible(wanted: int, groups: NDArray) -> int:
    """So many folds, or fewer where the groups do not allow as many, which is said; below two there are none."""
    folds = possible_folds(groups, folds=wanted) if wanted else 0
    if wanted >= 2 and not folds:
        note("no out-of-fold scores: all training videos are of one group, which folds must not split")
    elif 0 < folds < wanted:
        note(f"{folds} folds instead of {wanted}: the training videos are of {folds} groups, which stay whole")
    return folds
