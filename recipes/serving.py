"""Which store serves which section of a recipe in which split, what it holds, and how it differs from what the paper
has.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avr.core import UsageError, as_text, check_known, quiet
from avr.extract import trained_on, weights_files
from avr.heads import Head, choose_layers, choose_splits
from avr.store import FeatureStore

from .reading import Recipe, StoreSpec
from .stages import StoreStage

# Compared with the paper's: always, and where the recipe names them.
ALWAYS_COMPARED = ("backbone", "weights", "plan", "segments")
WHERE_NAMED = ("per_segment", "views", "clip_stride", "stack", "flow", "resize", "crop")
Given = Mapping[tuple[str, str], Path]  # section and split, "" for all that the store holds -> store


@dataclass(frozen=True)
class Source:
    """What serves a section in a split: a store at hand, or one that the run makes."""

    path: Path
    made: StoreStage | None = None

    def settle(
        self, made: type[Head], streams: tuple[str, ...], asked: Mapping[str, str]
    ) -> tuple[dict[str, str], str]:
        """The layers that a head reads, and what the features are known by.

        Raises:
            UsageError: the store lacks one.
        """
        if self.made:
            return self.made.choose_layers(made, streams, asked), self.made.key
        with FeatureStore(self.path, streams=streams) as opened:
            return choose_layers(opened, made, streams=streams, layers=asked), opened.digest

    def settings(self, streams: Iterable[str]) -> list[dict[str, Any]]:
        """What the streams were made with, as far as is known; weights are those that a fine-tuning started from."""
        if self.made:
            made = (self.made.settings[stream].to_dict() for stream in streams)
            return [own | {"weights": Path(own["weights"]).name} for own in made]
        with FeatureStore(self.path) as store:
            return [store.settings(stream) for stream in streams if stream in store.streams]

    @property
    def finetuned(self) -> bool:
        """Whether its networks were trained on a split."""
        if self.made:
            return bool(self.made.backbones)
        with FeatureStore(self.path) as store:
            return bool(_trained_splits(store))

    @property
    def num_videos(self) -> int:
        """How many videos the data set has, as far as the store tells."""
        if self.made:
            return len(self.made.making.dataset.videos)
        with quiet(), FeatureStore(self.path) as store:
            return len(store.ids)

    def shared_groups(self, split: str) -> tuple[int, int]:
        """How many groups have videos in both parts of a split, and how many there are in it."""
        if self.made:
            dataset = self.made.making.dataset
            group = {video.id: video.group for video in dataset.videos}
            parts = dataset.splits[split]
            train, test = ({group[name] for name in names} for names in (parts.train, parts.test))
        else:
            with quiet(), FeatureStore(self.path) as store:
                train, test = (set(store.groups[mask].tolist()) for mask in store.split(split))
        return len(train & test), len(train | test)

    @property
    def lacking(self) -> str:
        """What a store at hand lacked when it was read."""
        if self.made:
            return ""
        with quiet(), FeatureStore(self.path) as store:
            return store.lacking


def assign_stores(recipe: Recipe, stores: Sequence[tuple[str, Path]]) -> dict[tuple[str, str], Path]:
    """Store section and split -> store, for the sections that have one; split "" stands for all that the store holds.

    Args:
        recipe: from load_recipe.
        stores: (place, store); a place is a section, or "section@split"; a store whose section is "" serves every one
            that it fits and that no other serves yet.

    Raises:
        UsageError: an unknown section, one named twice for a split, a store that serves none, or that lacks the split.
    """
    served: dict[tuple[str, str], Path] = {}
    for place, path in stores:
        name, _, split = place.partition("@")
        if not name:
            continue
        check_known("store section", name, recipe.stores, where=f"{recipe.name}: ")
        if (name, split) in served:
            raise UsageError(f"two stores for section {place}, {served[name, split]} and {path}: give one")
        if split:
            with FeatureStore(path) as store:
                choose_splits(store, split)
                if split not in _splits_of(store):
                    raise UsageError(
                        f"{path}: its networks were trained on split {', '.join(_trained_splits(store))}, and have "
                        f"seen test videos of split {split}: give a store of that split's networks"
                    )
        served[name, split] = path
    for place, path in stores:
        if place.partition("@")[0]:
            continue
        split = place.partition("@")[2]
        with FeatureStore(path) as store:
            fitting = [name for name, spec in recipe.stores.items() if _fits(store, spec, recipe.varies)]
        if not fitting:
            raise UsageError(
                f"{path} fits no row: the rows of {recipe.name} differ in {recipe.varies}; name its section with "
                f"--store {next(iter(recipe.stores))}={path} (avr recipe plan {recipe.name} lists them)"
            )
        free = [name for name in fitting if (name, split) not in served]
        if not free:
            others = ", ".join(dict.fromkeys(str(served[name, split]) for name in fitting))
            raise UsageError(f"{path} serves no row: {others} serves all that it fits; leave one of them out")
        served |= dict.fromkeys(((name, split) for name in free), path)
    return served


def _fits(store: FeatureStore, spec: StoreSpec, varies: str) -> bool:
    if varies == "segments":
        return all(array.shape[0] == spec.steps for array in store.arrays.values() if array.stream in spec.streams)
    made = (store.settings(stream) for stream in spec.streams if stream in store.streams)
    return not varies or all(settings.get("backbone") == spec["backbone"] for settings in made)


def look_at(served: Given, splits: str) -> tuple[str, tuple[str, ...]]:
    """The stores' data set, and the names of the splits asked for, which every section has in one of its stores.

    Raises:
        UsageError: stores of different data sets, no store, an unknown split, or no split that all sections have.
    """
    if not served:
        raise UsageError("no store: give one with --store PATH, or --store SECTION=PATH")
    asked = "all" if splits in ("all", "first") else tuple(splits.split(","))
    datasets: dict[str, None] = {}
    held: dict[str, dict[str, None]] = {}  # section -> splits of its stores
    for (section, split), path in served.items():
        with FeatureStore(path) as store:
            datasets[store.dataset] = None
            found = (split,) if split else _splits_of(store)
            held.setdefault(section, {}).update(dict.fromkeys(found))
    if len(datasets) > 1:
        raise UsageError(f"stores of different data sets, {' and '.join(datasets)}: run one at a time")
    first, *others = held.values()
    common = tuple(name for name in first if all(name in other for other in others))
    for name in () if asked == "all" else asked:
        if name not in common:
            there = ", ".join(dict.fromkeys(name for own in held.values() for name in own))
            raise UsageError(f"the stores have no split '{name}'; they hold {there}, or say all")
    if not common:
        raise UsageError("the stores have no split in common: extract them with the same split lists")
    wanted = common if asked == "all" else tuple(asked)
    return next(iter(datasets)), wanted[:1] if splits == "first" else wanted


def _splits_of(store: FeatureStore) -> tuple[str, ...]:
    """The splits that a store is good for: of networks that were fine-tuned on one, that one alone."""
    trained = _trained_splits(store)
    return tuple(name for name in choose_splits(store, "all") if not trained or trained == {name})


def _trained_splits(store: FeatureStore) -> set[str]:
    """Splits that a store's networks were trained on, as far as their weights files are there to say so."""
    told = (trained_on(Path(file)) for file in weights_files(store).values())
    return {split for dataset, split in told if split and dataset in ("", store.dataset)}


def sources_at(served: Given, made: Mapping[str, StoreStage], split: str) -> dict[str, Source]:
    """What serves each section in one split: a store given for it, or for all that it is good for, before one that is
    made."""
    found = {section: Source(stage.folder, stage) for section, stage in made.items()}
    found |= {name: Source(path) for (name, own), path in served.items() if not own and _serves(path, split)}
    return found | {name: Source(path) for (name, own), path in served.items() if own == split}


def _serves(path: Path, split: str) -> bool:
    with quiet(), FeatureStore(path) as store:
        return split in _splits_of(store)


def lacking_stores(sources: Iterable[Source]) -> tuple[str, ...]:
    """One line for each store that was not whole when it was read."""
    whole = {source.path: source.lacking for source in sources}
    return tuple(
        f"{path} is not whole ({lacking}): the figures are of what is there"
        for path, lacking in whole.items()
        if lacking
    )


def shared_groups(used: Iterable[tuple[str, Source]]) -> tuple[str, ...]:
    """One line for the splits whose parts share groups; a store, or what is made, comes with each split's name."""
    found: dict[tuple[int, int], list[str]] = {}
    for split, source in dict(used).items():
        found.setdefault(source.shared_groups(split), []).append(split)
    return tuple(
        f"split {', '.join(names)}{', drawn by video' * all(name.startswith('video-') for name in names)}: {both} of "
        f"{groups} groups have videos in both parts, so that figures are higher than on videos of new groups"
        for (both, groups), names in found.items()
        if both
    )


def store_differences(recipe: Recipe, used: Iterable[tuple[str, Source]]) -> tuple[str, ...]:
    """One line for each setting in which the store of a section is not what the recipe, and so the paper, has.

    A setting that a store does not tell, such as an imported one, is not compared.
    """
    lines: list[str] = []
    for section, source in used:
        spec = recipe.stores[section]
        names = [*ALWAYS_COMPARED, *(name for name in WHERE_NAMED if name in spec.settings)]
        for settings in source.settings(spec.streams):
            # What a kind of stream does not read is empty there.
            found = {name: settings[name] for name in names if settings.get(name)}
            lines += [
                f"store {section}: {name.replace('_', ' ')} {as_text(value)}, the paper's {as_text(spec[name])}"
                for name, value in found.items()
                if as_text(value) != as_text(spec[name]) and (name != "weights" or "weights" in spec.settings)
            ]
    return tuple(dict.fromkeys(lines))
