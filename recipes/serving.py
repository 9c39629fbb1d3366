"""Which store serves which section of a recipe, what it holds, and how it differs from what the paper has."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from avr.core import UsageError, as_text, check_known, quiet
from avr.heads import choose_splits
from avr.store import FeatureStore

from .reading import Recipe, StoreSpec

# Compared with the paper's: always, and where the recipe names them.
ALWAYS_COMPARED = ("backbone", "plan", "segments")
WHERE_NAMED = ("per_segment", "views", "clip_stride", "stack", "flow", "resize", "crop")


def assign_stores(recipe: Recipe, stores: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    """Store section -> store, for the sections that have one.

    Args:
        recipe: from load_recipe.
        stores: (section, store); a store with section "" serves every section it fits that no other serves yet.

    Raises:
        UsageError: an unknown section, a section named twice, or a store that serves none.
    """
    served: dict[str, Path] = {}
    for name, path in stores:
        if not name:
            continue
        check_known("store section", name, recipe.stores, where=f"{recipe.name}: ")
        if name in served:
            raise UsageError(f"two stores for section {name}, {served[name]} and {path}: give one")
        served[name] = path
    for path in (path for name, path in stores if not name):
        with FeatureStore(path) as store:
            fitting = [name for name, spec in recipe.stores.items() if _fits(store, spec, recipe.varies)]
        if not fitting:
            raise UsageError(
                f"{path} fits no row: the rows of {recipe.name} differ in {recipe.varies}; name its section with "
                f"--store {next(iter(recipe.stores))}={path} (avr recipe plan {recipe.name} lists them)"
            )
        free = [name for name in fitting if name not in served]
        if not free:
            others = ", ".join(dict.fromkeys(str(served[name]) for name in fitting))
            raise UsageError(f"{path} serves no row: {others} serves all that it fits; leave one of them out")
        served |= dict.fromkeys(free, path)
    return served


def _fits(store: FeatureStore, spec: StoreSpec, varies: str) -> bool:
    if varies == "segments":
        return all(array.shape[0] == spec.steps for array in store.arrays.values() if array.stream in spec.streams)
    made = (store.settings(stream) for stream in spec.streams if stream in store.streams)
    return not varies or all(settings.get("backbone") == spec["backbone"] for settings in made)


def look_at(served: Mapping[str, Path], splits: str) -> tuple[str, tuple[str, ...]]:
    """The stores' data set, and the names of the splits asked for, which all stores have.

    Raises:
        UsageError: stores of different data sets, no store, an unknown split, or no split that all stores have.
    """
    if not served:
        raise UsageError("no store: give one with --store PATH, or --store SECTION=PATH")
    asked = "all" if splits in ("all", "first") else tuple(splits.split(","))
    names: dict[str, list[tuple[str, ...]]] = {}  # data set -> splits, a store
    for path in dict.fromkeys(served.values()):
        with FeatureStore(path) as store:
            names.setdefault(store.dataset, []).append(choose_splits(store, asked))
    if len(names) > 1:
        raise UsageError(f"stores of different data sets, {' and '.join(names)}: run one at a time")
    ((dataset, (first, *others)),) = names.items()
    common = tuple(name for name in first if all(name in other for other in others))
    if not common:
        raise UsageError("the stores have no split in common: extract them with the same split lists")
    return dataset, common[:1] if splits == "first" else common


def lacking_stores(served: Mapping[str, Path], sections: Iterable[str]) -> tuple[str, ...]:
    """One line for each store that was not whole when it was read."""
    lines = []
    for path in dict.fromkeys(served[section] for section in sections):
        with quiet(), FeatureStore(path) as store:
            lines += (
                [f"{path} is not whole ({store.lacking}): the figures are of what is there"] if store.lacking else []
            )
    return tuple(lines)


def store_differences(recipe: Recipe, served: Mapping[str, Path], sections: Iterable[str]) -> tuple[str, ...]:
    """One line for each setting in which the store of a section is not what the recipe, and so the paper, has.

    A setting that a store does not tell, such as an imported one, is not compared.
    """
    lines: list[str] = []
    for section in sections:
        spec = recipe.stores[section]
        names = [*ALWAYS_COMPARED, *(name for name in WHERE_NAMED if name in spec.settings)]
        with FeatureStore(served[section]) as store:
            made = [store.settings(stream) for stream in spec.streams if stream in store.streams]
        for settings in made:
            # What a kind of stream does not read is empty there.
            found = {name: settings[name] for name in names if settings.get(name)}
            lines += [
                f"store {section}: {name.replace('_', ' ')} {as_text(value)}, the paper's {as_text(spec[name])}"
                for name, value in found.items()
                if as_text(value) != as_text(spec[name])
            ]
    return tuple(dict.fromkeys(lines))
