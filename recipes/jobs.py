"""What a recipe's rows need, settled before anything is trained: which store, which training, which splits."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from avr.core import UsageError
from avr.heads import Training, choose_layers, choose_splits, head_class, option_types, read_options, read_training
from avr.store import FeatureStore

from .measuring import needs_folds
from .reading import Recipe, Row, StoreSpec

FOLDS = 5  # for the rows whose rule learns
Regime = Literal["auto", "paper", "small"]


@dataclass(frozen=True)
class Changes:
    """What a run changes of a recipe.

    Attributes:
        settings: "paper", "small" (the heads' defaults, for small data), or "auto": the paper's on its data sets.
        options: changes to the heads' options, for the heads that have them.
        training: changes to the training settings.
        layers: stream -> layer to read instead of the heads' own; "" stands for every stream.
        scores: outside score files by the name rows call them.
    """

    settings: Regime = "auto"
    options: Mapping[str, object] = field(default_factory=dict)
    training: Mapping[str, object] = field(default_factory=dict)
    layers: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What the rows of one training share, settled. `layers` is stream -> layer, in the head's order."""

    store: Path
    head: str
    layers: dict[str, str]
    options: dict[str, Any]
    training: Training
    folds: int
    digest: str

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits of everything but seed and split."""
        parts = [self.head, list(self.layers.items()), self.options, dataclasses.asdict(self.training), self.folds]
        text = json.dumps([*parts, self.digest], sort_keys=True, default=list)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def assign_stores(recipe: Recipe, stores: Mapping[str, Path]) -> dict[str, Path]:
    """Store section -> store, for the sections that have one.

    Raises:
        UsageError: an unknown section, or a store given without one that fits none.
    """
    for name in stores:
        if name and name not in recipe.stores:
            raise UsageError(f"{recipe.name} has no store section '{name}'; it has {', '.join(recipe.stores)}")
    served = {name: path for name, path in stores.items() if name}
    if "" in stores:
        fitting = [name for name in recipe.stores if name not in served]
        if recipe.varies:
            with FeatureStore(stores[""]) as store:
                fitting = [name for name in fitting if _fits(store, recipe.stores[name], recipe.varies)]
        if not fitting:
            raise UsageError(
                f"{stores['']} fits no row: the rows of {recipe.name} differ in {recipe.varies}; name its section with "
                f"--store {next(iter(recipe.stores))}={stores['']} (avr recipe plan {recipe.name} lists them)"
            )
        served |= dict.fromkeys(fitting, stores[""])
    return served


def _fits(store: FeatureStore, spec: StoreSpec, varies: str) -> bool:
    if varies == "segments":
        return all(array.shape[0] == spec.steps for array in store.arrays.values())
    return store.provenance.get("settings", {}).get("backbone") == spec["backbone"]


def look_at(served: Mapping[str, Path], splits: str) -> tuple[str, tuple[str, ...]]:
    """The stores' data set, and the names of the splits asked for.

    Raises:
        UsageError: stores of different data sets, no store, an unknown split.
    """
    if not served:
        raise UsageError("no store: give one with --store PATH, or --store SECTION=PATH")
    dataset = ""
    names: tuple[str, ...] = ()
    for path in served.values():
        with FeatureStore(path) as store:
            if dataset and store.dataset != dataset:
                raise UsageError(f"stores of different data sets, {dataset} and {store.dataset}: run one at a time")
            dataset = store.dataset
            asked = splits if splits == "all" else "" if splits == "first" else tuple(splits.split(","))
            names = choose_splits(store, asked)
    return dataset, names


def jobs_of(recipe: Recipe, *, served: Mapping[str, Path], dataset: str, changes: Changes) -> dict[str, Job | str]:
    """Each row's training by the row's name, or why it cannot be run.

    Raises:
        UsageError: an unknown training setting or option value.
    """
    jobs: dict[str, Job | str] = {}
    for row in recipe.rows:
        missing = [name for name in row.scores if name not in changes.scores]
        if row.store not in served:
            jobs[row.name] = f"no store for it: give --store {row.store}=PATH (see avr recipe plan {recipe.name})"
        elif missing:
            jobs[row.name] = f"no outside scores: give --scores {missing[0]}=FILE"
        else:
            changed_there = recipe.training.get(dataset, {}).get(row.head, {})
            streams = row.streams or recipe.stores[row.store]["streams"]
            jobs[row.name] = _job(row, streams, store=served[row.store], changes=changes, on_dataset=changed_there)
    return _share_folds(jobs)


def _job(
    row: Row, streams: tuple[str, ...], *, store: Path, changes: Changes, on_dataset: Mapping[str, Any]
) -> Job | str:
    """A row's training, or which layer its store lacks."""
    made = head_class(row.head)
    known = option_types(row.head)
    paper = changes.settings == "paper"
    chosen = {stream: changes.layers.get(stream) or changes.layers.get("", "") for stream in streams}
    wanted = {**row.layers, **{stream: layer for stream, layer in chosen.items() if layer}}
    with FeatureStore(store) as opened:
        try:
            layers = choose_layers(opened, made, streams=streams, layers=wanted)
            digest = opened.digest
        except UsageError as error:
            return str(error)
    own = {**on_dataset, **row.training} if paper else {}
    return Job(
        store=store,
        head=row.head,
        layers=layers,
        options=read_options(row.head, {**row.options, **{k: v for k, v in changes.options.items() if k in known}}),
        training=read_training(made.paper if paper else made.defaults, {**own, **changes.training}),
        folds=FOLDS if needs_folds(row.fuse) else 0,
        digest=digest,
    )


def _share_folds(jobs: Mapping[str, Job | str]) -> dict[str, Job | str]:
    """Rows of one training take its out-of-fold scores with it, so that it is not trained with and without them."""
    folded = {dataclasses.replace(job, folds=0).key for job in jobs.values() if isinstance(job, Job) and job.folds}
    shared: dict[str, Job | str] = {}
    for name, job in jobs.items():
        if isinstance(job, Job) and dataclasses.replace(job, folds=0).key in folded:
            job = dataclasses.replace(job, folds=FOLDS)
        shared[name] = job
    return shared
