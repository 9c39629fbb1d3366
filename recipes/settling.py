"""What a run will do, settled before anything is made or trained."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avr.core import UsageError, as_text, check_known, options_of
from avr.datasets import Dataset, choose_split
from avr.heads import head_class

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
        is_start: it is one of these: it ends in the weights that others go on from, and nothing is trained end to end.
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
    is_start: bool = False

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

    @property
    def flow_methods(self) -> set[str]:
        """Of all that is extracted, for what rows start from too."""
        sources = [one for of_split in self.sources.values() for one in of_split.values()]
        streams = [own for source in sources if source.made for own in source.made.settings.values()]
        own = {settings.flow for settings in streams if settings.kind == "flow"}
        return own.union(*(start.flow_methods for start in self.starts.values()))

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
        if self.is_start or not (self.making and self.making.finetune and row.end_to_end):
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
    if making and isinstance(start, Making):
        _check_other_videos(making.dataset, start.dataset)
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
        row = dataclasses.replace(rows[called], start_from="")
        other = dataclasses.replace(other, rows=(row,), stores={row.store: other.stores[row.store]})
        made = dataclasses.replace(start, end_to_end={}) if isinstance(start, Making) else None
        served: dict[str, Any] = {"making": made} if made else {"stores": [("", start)]}
        known = options_of(head_class(row.head))
        options = {option: value for option, value in changes.options.items() if option in known}
        own = dataclasses.replace(changes, options=options, scores={}, trials=0)
        settled = settle(other, **served, splits="first", seeds=(SEED,), changes=own)
        found[place] = dataclasses.replace(settled, is_start=True)
    if not found:
        raise UsageError(f"no row of {recipe.name} starts from another recipe's: leave --start-from out")
    return found


def _check_other_videos(dataset: Dataset, before: Dataset) -> None:
    """Refuse a start on the run's own videos under another name: those that one split tests may be trained on."""
    shared = len(_places(dataset) & _places(before))
    if shared:
        raise UsageError(
            f"--start-from {before.name}: {shared} of its files are files of {dataset.name}, on which the rows are "
            "trained themselves; name another data set"
        )


def _places(dataset: Dataset) -> set[Path]:
    """Where the files of a data set are, however they are reached."""
    folders = {folder: folder.resolve() for folder in {video.path.parent for video in dataset.videos}}
    return {folders[video.path.parent] / video.path.name for video in dataset.videos}


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
