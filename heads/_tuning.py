"""`tune_run`: a head's options and settings chosen by trials on grouped folds of the training part alone, then one
training with them and one look at the test part.

    <run>/tuning/settings.json          what is searched, of which head, store and split
    <run>/tuning/trials.json            every trial, as it ends: what it tried, held-out loss and accuracy
    <run>/tuning/outer-1/trials.json    of `nested`, the trials of each outer fold

Trials are proposed by Optuna's TPE (Bergstra et al. 2011), `TOGETHER` at a time, from the trials of the batches before
alone: so they do not depend on how many run side by side, nor on whether the tuning was interrupted.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import (
    AvrError,
    Progress,
    UsageError,
    grouped_folds,
    load_extra,
    measure,
    note,
    possible_folds,
)
from avr.store import FUSED, MULTIPLY, RUNS, FeatureStore, claim_tuning
from avr.training import Engine, choose_device

from ._base import with_average
from ._engines import run_tasks
from ._examples import Examples, open_examples
from ._requests import RunRequest, settle
from ._run import RunResult, train_runs
from ._space import Dimension, changed, plain, read_space
from ._trainings import Material, Outcome, Plan, Task, make_tasks
from ._trials import Trial, best_of, judge, keep_trials, read_trials

FOLDS = 5  # of the training part; and outer ones
TOGETHER = 8  # trials that are proposed at once
RANDOM = 8  # trials before the proposals learn from them


@dataclass(frozen=True)
class Tuned:
    """What a tuning gives.

    Attributes:
        chosen: option or setting -> value of the trial with the lowest held-out loss.
        trials: all, in order; the first is the head as it was asked for.
        nested: top-1 and the other figures of training videos, each by settings chosen without its outer fold; empty
            unless asked for.
        result: of the run with what was chosen.
    """

    chosen: dict[str, Any]
    trials: list[Trial]
    result: RunResult
    nested: dict[str, float] = field(default_factory=dict)


def tune_run(
    request: RunRequest,
    *,
    search: Mapping[str, str] | None = None,
    trials: int = 24,
    held: Collection[str] = (),
    nested: bool = False,
    device: str = "auto",
    memory_gb: float | None = None,
    engine: Engine | None = None,
) -> Tuned:
    """Choose a head's options and settings on one split's training part, then train with them.

    Args:
        request: the run, of one split; what it says of options and training is the first trial, and holds for all that
            is not searched.
        search: name -> "low..high" or "a,b,c"; none takes the head's usual.
        trials: how many.
        held: of the head's usual, what is not searched.
        nested: also choose anew without each outer fold of the training part, for an honest estimate: 6 times the work.
        device, memory_gb, engine: as of `train_run`.

    Raises:
        UsageError: as `train_run`; Optuna is not installed; what is searched is unknown or takes no such value.
        WorkError: every trial failed.
    """
    load_extra("optuna", "a tuning")
    engine = engine or Engine()
    with FeatureStore(request.store, streams=request.streams) as store:
        plan = settle(0, request, store).plan
        if len(plan.splits) > 1:
            raise UsageError(f"settings are chosen for one split at a time: --split {' or '.join(plan.splits)}")
        if plan.start is not None and plan.start.own:
            raise UsageError("start_from is a run of this data set, whose weights have seen what trials are judged by")
        space = read_space(plan, search or {}, held=held)
        told = plan.facts() | {
            "layers": plan.layers,
            "split": plan.splits[0],
            "trials": trials,
            "space": {name: list(dimension) for name, dimension in space.items()},
            **(plan.start.identity(plan.networks) if plan.start is not None else {}),
        }
        prefix = RUNS / f"{plan.head}-{store.dataset}"
        with claim_tuning(request.out, prefix, told) as (run, place):
            work = _Work(plan, space, store, engine=engine, device=device, most=memory_gb)
            done = work.search(work.videos, place, trials=trials)
            estimate = work.nested(place, trials=trials) if nested else {}
            chosen = best_of(done)
            del work  # and the features that it holds
    made = changed(plan, chosen.values)
    options, training = made.options, made.training
    (result,) = train_runs(
        [replace(request, split=plan.splits[0], options=options, training=training, paper=False, out=run)],
        device=device,
        memory_gb=memory_gb,
        engine=engine,
    )
    if isinstance(result, AvrError):
        raise result
    return Tuned(chosen.values, done, result, estimate)


class _Work:
    """The trials of a tuning, and what they read."""

    def __init__(
        self,
        plan: Plan,
        space: Mapping[str, Dimension],
        store: FeatureStore,
        *,
        engine: Engine,
        device: str,
        most: float | None,
    ) -> None:
        self.plan, self.space, self.store, self.split = plan, space, store, plan.splits[0]
        self.engine, self.device, self.memory_gb = engine, device, most
        self.videos = np.flatnonzero(store.split(self.split)[0])
        # No trial can see what it must not: all other videos have no label.
        self.labels = np.full(len(store.labels), -1)
        self.labels[self.videos] = store.labels[self.videos]

    def search(self, videos: NDArray, place: Path, *, trials: int) -> list[Trial]:
        """All trials on folds of some videos; those that `place` keeps are not done again."""
        done = read_trials(place)
        fold_of = self.deal(videos)
        with Progress("tuning", total=trials, unit="trials") as bar:
            bar.advance(len(done))
            while len(done) < trials:
                first = len(done) - len(done) % TOGETHER  # of a batch of which some may be done
                values = self.propose(done[:first], min(TOGETHER, trials - first))[len(done) - first :]
                for tried, folds in zip(values, self.run(values, videos, fold_of), strict=True):
                    done.append(judge(tried, folds, self.labels[videos], fold_of))
                    keep_trials(place, done)
                    bar.advance(1)
        return done

    def nested(self, place: Path, *, trials: int) -> dict[str, float]:
        """Figures of the training videos, each by settings chosen and a head trained without its outer fold."""
        fold_of = self.deal(self.videos)
        scores = np.zeros((len(self.videos), len(self.store.class_names)))
        for fold in range(fold_of.max() + 1):
            note(f"outer fold {fold + 1} of {fold_of.max() + 1}")
            done = self.search(self.videos[fold_of != fold], place / f"outer-{fold + 1}", trials=trials)
            ((found,),) = self.run([best_of(done).values], self.videos, np.where(fold_of == fold, 0, -1))
            if isinstance(found, AvrError):
                raise found
            scores[fold_of == fold] = found
        return measure(scores, self.labels[self.videos])

    def deal(self, videos: NDArray) -> NDArray[np.int32]:
        """Folds of some videos, by group.

        Raises:
            UsageError: all are of one group.
        """
        groups = self.store.groups[videos]
        return grouped_folds(
            self.labels[videos], groups=groups, folds=possible_folds(groups, folds=FOLDS), seed=self.plan.seed
        )

    def propose(self, done: list[Trial], count: int) -> list[dict[str, Any]]:
        """The values of the next trials; the first of all is the head as it is."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        kinds = {name: dimension.distribution() for name, dimension in self.space.items()}
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=RANDOM, constant_liar=True, seed=self.plan.seed + len(done)
        )
        study = optuna.create_study(sampler=sampler)
        for trial in done:
            if trial.loss is not None and all(self.space[name].holds(value) for name, value in trial.values.items()):
                study.add_trial(optuna.trial.create_trial(params=trial.values, distributions=kinds, value=trial.loss))
        told = {**vars(self.plan.training), **self.plan.options}
        as_it_is = {name: plain(told[name]) for name in self.space}
        asked = [study.ask(kinds).params for _ in range(count)]
        return asked if done else [as_it_is, *asked[1:]]

    @cached_property
    def examples(self) -> Examples:
        """The features, with no label but of the split's training videos."""
        device = choose_device("cpu" if self.engine.name == "ray" else self.device)
        examples = open_examples(self.store, self.plan.layers, device=device, memory_gb=self.memory_gb)
        examples.labels = self.labels
        return examples

    def run(
        self, values: list[dict[str, Any]], videos: NDArray, fold_of: NDArray
    ) -> Iterator[list[NDArray | AvrError]]:
        """Of each trial in turn what it says of each fold's videos, `(n, K)`, when it is trained on the others; or the
        one error of values that cannot be together."""
        material = Material({}, self.store.groups, self.store.ids, tuple(self.store.class_names))
        shapes = {stream: self.store.array(stream, layer).shape for stream, layer in self.plan.layers.items()}
        folds = range(fold_of.max() + 1)
        queue: list[Task] = []
        refused: dict[int, AvrError] = {}
        for number, tried in enumerate(values):
            try:
                plan = changed(self.plan, tried)
                outline = plan.outline(shapes, len(self.store.class_names))
            except AvrError as error:
                refused[number] = error
                continue
            material.add_parts(plan, outline, self.examples)
            for fold in folds:
                parts: dict[str, Any] = {"videos": videos[fold_of != fold], "scored": videos[fold_of == fold]}
                queue += make_tasks(
                    plan, outline, material, run=number, split=self.split, fold=fold, threads=1, **parts
                )
        wanted = Counter((task.run, task.fold) for task in queue)
        ended: dict[tuple[int, int | None], list[Outcome | AvrError]] = defaultdict(list)
        waiting = deque(range(len(values)))

        def ready() -> Iterator[list[NDArray | AvrError]]:
            while waiting and all(len(ended[waiting[0], fold]) == wanted[waiting[0], fold] for fold in folds):
                number = waiting.popleft()
                yield [refused.get(number) or _prediction(ended[number, fold]) for fold in folds]

        yield from ready()
        with closing(run_tasks(queue, material, self.engine, on_row=lambda *_: None, device=self.device)) as running:
            for task, outcome in running:
                ended[task.run, task.fold].append(outcome)
                yield from ready()


def _prediction(outcomes: list[Outcome | AvrError]) -> NDArray | AvrError:
    """Log-probabilities `(n, K)` of a head, or its error; of several streams of their product."""
    scores: dict[str, NDArray] = {}
    for outcome in outcomes:
        if isinstance(outcome, AvrError):
            return outcome
        scores |= outcome.scores
    found = with_average(scores)
    return found.get(FUSED, found.get(MULTIPLY, next(iter(found.values()))))
