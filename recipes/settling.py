"""What a run will do, settled before anything is made or trained."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avr.core import UsageError, as_text, check_known
from avr.datasets import choose_split

from .jobs import Changes, Job, check_changes, jobs_of
from .making import Making, tuned_together
from .reading import Recipe, Row, load_recipe
from .scores import ScoreFiles
from .serving import Given, Source, assign_stores, look_at, sources_at
from .stages import SEED, BackboneStage, StoreStage, TunedStage, stores_of


@dataclass(frozen=True)
class Plan:
    """A run, settled.

    Attributes:
        sources: split -> section -> what serves it.
        jobs: split -> row -> its training, or why it cannot be run.
        making: what the run makes itself; None: nothing.
        starts: the rows of other recipes that rows start from -> how each is trained, once, on another data set.
    """

    recipe: Recipe
    dataset: str
    splits: tuple[str, ...]
    seeds: tuple[int, ...]
    changes: Changes
    scores: ScoreFiles
    sources: Mapping[str, Mapping[str, Source]]
    jobs: Mapping[str, Mapping[str, Job | str]]
    making: Making | None = None
    starts: Mapping[str, "Plan"] = field(default_factory=dict)

    @property
    def one(self) -> tuple[Row, Job, int, str]:
        """The first row, its training, seed and split: all there is of what others start from.

        Raises:
            UsageError: it cannot be run.
        """
        row, split = self.recipe.rows[0], self.splits[0]
        job = self.jobs[split][row.name]
        if isinstance(job, str):
            raise UsageError(f"{self.recipe.name}, {row.name}: {job}")
        return row, job, self.seeds[0], split

    def finetunes(self, row: Row) -> bool:
        """Whether a row's networks are trained too."""
        return all(row.store in of_split and of_split[row.store].finetuned for of_split in self.sources.values())

    @property
    def changed(self) -> tuple[str, ...]:
        """What the run changes of the recipe, a line each."""
        making = self.making
        told: dict[str, Mapping[str, object]] = {
            "stores": making.extract if making else {},
            "options of heads": self.changes.options,
            "training of heads": self.changes.training,
            "layers": self.changes.layers,
            "fine-tuning": making.backbones if making and making.finetune else {},
            "end to end": making.end_to_end if making and making.finetune else {},
        }
        return tuple(
            f"changed, {what}: " + ", ".join(f"{name or 'all'} {as_text(value)}" for name, value in given.items())
            for what, given in told.items()
            if given
        )

    def tuned(self, row: Row, job: Job, run: Path, *, seed: int, split: str) -> TunedStage | None:
        """The training end to end that a row ends with, which begins from a head's run; None without one."""
        if not (self.making and self.making.finetune and row.end_to_end):
            return None
        spec = job.source.made.spec if job.source.made else self.recipe.stores[row.store]
        made = job.source.made.backbones if job.source.made else {}
        return TunedStage(
            self.making,
            run,
            split,
            seed,
            job.key,
            job.head,
            tuned_together(job.head, spec, self.making, paper=self.changes.settings == "paper"),
            {stream: made[stream].weights for stream in job.layers if stream in made},
        )


def settle(
    recipe: Recipe,
    *,
    stores: Sequence[tuple[str, Path]] = (),
    making: Making | None = None,
    start: Making | Path | None = None,
    splits: str = "",
    seeds: Sequence[int] = (0,),
    changes: Changes,
) -> Plan:
    """What a run will do, settled before anything is made.

    Raises:
        UsageError: as `run_recipe`.
    """
    check_changes(recipe, changes)
    starts = _starts(recipe, start, changes) if start else {}
    served = assign_stores(recipe, stores)
    dataset, names = _data(recipe, served, making, splits or recipe.split)
    if changes.settings == "auto":
        changes = dataclasses.replace(changes, settings="paper" if dataset in recipe.datasets else "small")
    if making and making.finetune:
        _check_end_to_end(recipe, making, paper=changes.settings == "paper")
    if any(own.dataset == dataset for own in starts.values()):
        raise UsageError(f"--start-from {dataset}: the rows are trained on {dataset} itself; name another data set")
    scores = ScoreFiles.of(recipe, changes.scores)
    jobs: dict[str, dict[str, Job | str]] = {}
    sources: dict[str, dict[str, Source]] = {}
    for name in names:
        made: dict[str, StoreStage] = {}
        if making:
            told: dict[str, Any] = {"layers": changes.layers, "paper": changes.settings == "paper"}
            made = stores_of(recipe, making, name, **told, starts=_networks(recipe, starts))
        sources[name] = sources_at(served, made, name)
        told = {"dataset": dataset, "changes": changes, "split": name, "scores": scores}
        keys = {place: plan.one[1].key for place, plan in starts.items()}
        jobs[name] = jobs_of(recipe, sources=sources[name], **told, starts=keys)
    return Plan(recipe, dataset, names, tuple(seeds), changes, scores, sources, jobs, making, starts)


def _starts(recipe: Recipe, start: Making | Path, changes: Changes) -> dict[str, Plan]:
    """How the rows of other recipes are trained that rows start from, each alone: one seed, one split, no trials, and
    none end to end.

    Raises:
        UsageError: no row starts from another, or that one is not there or cannot be trained.
    """
    found = {}
    for place in dict.fromkeys(row.start_from for row in recipe.rows if row.start_from):
        name, _, called = place.partition(":")
        other = load_recipe(name)
        rows = {row.name: row for row in other.rows}
        check_known(f"row of {name}", called, rows)
        row = dataclasses.replace(rows[called], start_from="", end_to_end=False)
        other = dataclasses.replace(other, rows=(row,), stores={row.store: other.stores[row.store]})
        made = dataclasses.replace(start, end_to_end={}) if isinstance(start, Making) else None
        served: dict[str, Any] = {"making": made} if made else {"stores": [("", start)]}
        own = dataclasses.replace(changes, scores={}, trials=0)
        found[place] = settle(other, **served, splits="first", seeds=(SEED,), changes=own)
    if not found:
        raise UsageError(f"no row of {recipe.name} starts from another recipe's: leave --start-from out")
    return found


def _networks(recipe: Recipe, starts: Mapping[str, Plan]) -> dict[str, dict[str, BackboneStage]]:
    """Section -> stream -> the fine-tuned network of the row that the section's rows start from."""
    found = {}
    for row in recipe.rows:
        if row.start_from in starts:
            made = starts[row.start_from].one[1].source.made
            found[row.store] = made.backbones if made else {}
    return found


def _check_end_to_end(recipe: Recipe, making: Making, *, paper: bool) -> None:
    """Refuse changes to the trainings end to end that none of them takes, before anything is made."""
    rows = [row for row in recipe.rows if row.end_to_end]
    if making.end_to_end and not rows:
        raise UsageError(f"no row of {recipe.name} is trained end to end: leave --end-to-end out")
    for row in rows:
        tuned_together(row.head, recipe.stores[row.store], making, paper=paper)


def _data(recipe: Recipe, served: Given, making: Making | None, splits: str) -> tuple[str, tuple[str, ...]]:
    """The data set's name, and the splits to run."""
    if making is None:
        return look_at(served, splits)
    dataset = making.dataset
    if served and look_at(served, "all")[0] != dataset.name:
        raise UsageError(f"a store of another data set than {dataset.name}: run one at a time")
    if not dataset.splits:
        choose_split(dataset)
    known = tuple(dataset.splits)
    names = known if splits in ("all", "first") else tuple(splits.split(","))
    for name in names:
        check_known(f"split of {dataset.name}", name, known)
    return dataset.name, names[:1] if splits == "first" else names
