"""A run under way: which trainings it is, what they gave, kept as it comes, and its splits, written one by one."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avr.core import AvrError, measure, note
from avr.store import (
    FeatureStore,
    Figures,
    SplitRecord,
    begun_folder,
    is_test,
    mean_figures,
    read_record,
    read_scores,
    record_split,
    score_path,
    split_folder,
)

from ._base import Head, with_average
from ._examples import Examples
from ._kept import keep_outcome, kept_outcome
from ._split import Split
from ._trainings import Material, Outcome, Plan, Task, make_tasks, threads_each

FOLDS = 5  # where they are on by themselves
FOLDS_SECONDS = 60.0  # the most they may cost then, over all splits of the run


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
        splits: those that are published, by name, in the plan's order.
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
        return [name for name in self.plan.splits if name not in self.splits or self.splits[name].unfinished]

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
        self._material, self._trainings = material, trainings
        material.add_parts(self.plan, self._outline, examples)
        self._work = {name: Split(self.plan, self.store, name, published=name in self.splits) for name in self.missing}
        tasks = [task for split in self._work.values() if not split.published for task in self._tasks(split, None)]
        first = self.splits.get(self.plan.splits[0])
        folds = self.plan.folds if first is None or first.unfinished else first.folds
        if folds is not None:
            tasks += self._settle(folds)
        return self._offer(tasks) + self._advance()

    def _settle(self, folds: int) -> list[Task]:
        """The trainings of folds, their number settled."""
        if self.plan.folds is None:
            self._trainings += self.plan.num_trainings(folds) - self.plan.num_trainings(0)
        tasks: list[Task] = []
        for split in self._work.values():
            own = split.settle(folds)
            folds = own if split.name == self.plan.splits[0] else folds
            tasks += [task for fold in range(own) for task in self._tasks(split, fold)]
        return tasks

    def _tasks(self, split: Split, fold: int | None) -> list[Task]:
        """A training of each network: of all the split's videos or without a fold."""
        videos, scored = split.parts(fold)
        kept = begun_folder(self.folder.absolute(), split.name) / ("whole" if fold is None else f"fold-{fold + 1}")
        return make_tasks(
            self.plan,
            self._outline,
            self._material,
            run=self.number,
            split=split.name,
            fold=fold,
            videos=videos,
            scored=scored,
            threads=threads_each(self._trainings),
            kept=kept,
        )

    def take(self, task: Task, outcome: Outcome | AvrError) -> list[Task]:
        """Take and keep what a training gave, and write the splits that are complete with it; gives trainings that come
        now.

        Raises:
            AvrError: the outcome, or a split that cannot be written.
        """
        if isinstance(outcome, AvrError):
            raise outcome
        keep_outcome(task, outcome)  # the last one too: writing its split may fail
        self._work[task.split].take(task, outcome)
        return self._advance()

    def _offer(self, tasks: list[Task]) -> list[Task]:
        """Those of some trainings that are still to be done; what the others gave was kept."""
        left = []
        for task in tasks:
            outcome = kept_outcome(task)
            if outcome is None:
                left.append(task)
            else:
                self._work[task.split].take(task, outcome)
        return left

    def _advance(self) -> list[Task]:
        """Publish the splits whose networks are there, settle the folds, finish the splits that have all of theirs."""
        for split in [split for split in self._work.values() if split.trained and not split.published]:
            self._record(split, split.publish(self.folder))
        tasks: list[Task] = []
        first = self._work.get(self.plan.splits[0])
        if first is not None and first.published and first.folds is None:
            seconds = self.splits[first.name].seconds
            tasks = self._offer(self._settle(affordable_folds(self.plan, seconds)))
        for split in [split for split in self._work.values() if split.complete]:
            if self.splits[split.name].unfinished:
                self._record(split, split.add_folds(self.folder, self.splits[split.name]))
            del self._work[split.name]
        return tasks

    def _record(self, split: Split, record: SplitRecord) -> None:
        self.splits[split.name] = record
        self.splits = {name: self.splits[name] for name in self.plan.splits if name in self.splits}
        record_split(self.folder, split.name, record, summary=_summarise(self.folder, self.splits))
        split.drop_kept()


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
