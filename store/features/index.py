"""The index of a finished store, and a store's plan and place found again."""

from pathlib import Path

import h5py
from numpy.typing import NDArray

from avr.core import AvrError, UsageError, note
from avr.store.sealing import write_sealed, write_tables

from .catalog import INDEX_NAME, Catalog, catalog_tables, read_catalog
from .plan import PLAN_NAME, Plan, load_plan, with_seal


def write_index(folder: Path, catalog: Catalog) -> None:
    """Write a store's index: the tables, and every array as a virtual data set over the shards."""

    def fill(file: h5py.File) -> dict[str, NDArray]:
        for name in catalog.plan.arrays:
            _write_virtual(file, name, catalog)
        return write_tables(file, catalog_tables(catalog))

    write_sealed(folder / INDEX_NAME, "index", fill)


def _write_virtual(file: h5py.File, name: str, catalog: Catalog) -> None:
    """One array as a virtual data set over the shards; by hand, as h5py's own call puts the time into the file."""
    total, shape = int(catalog.file_first_row[-1]), catalog.plan.arrays[name]
    if not total:
        file.create_dataset(name, shape=(0, *shape), dtype="<f2", track_times=False)
        return
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_obj_track_times(False)
    space = h5py.h5s.create_simple((total, *shape))
    for number, (source, _, _) in enumerate(catalog.files):
        start, stop = catalog.file_first_row[number : number + 2].tolist()
        if stop > start:
            count = (stop - start, *shape)
            space.select_hyperslab((start,) + (0,) * len(shape), count)
            layout.set_virtual(space, source.encode(), f"/{name}".encode(), h5py.h5s.create_simple(count))
    space.select_all()
    stream, layer = name.split("/")
    h5py.h5d.create(file.require_group(stream).id, layer.encode(), h5py.h5t.IEEE_F16LE, space, dcpl=layout)


def describes(folder: Path, catalog: Catalog) -> bool:
    """Whether a store has a sound index, of just these shards."""
    try:
        there = read_catalog(folder / INDEX_NAME)
    except AvrError:
        return False
    return (there.files, there.digest) == (catalog.files, catalog.digest)


def find_plan(folder: Path) -> tuple[Plan | None, AvrError | None]:
    """A store's plan and what is wrong with its file: where that is damaged or gone, the index still tells the plan.

    Raises:
        UsageError: the plan is of another format version, and no index of this one lies beside it.
    """
    try:
        return load_plan(folder), None
    except AvrError as error:
        problem = error
    try:
        plan = read_catalog(folder / INDEX_NAME).whole
    except AvrError:
        plan = None
    if plan is None:
        if isinstance(problem, UsageError) and (folder / PLAN_NAME).exists():
            raise problem
        return None, problem
    return with_seal(plan), problem


def default_store(folder: Path | str = "features") -> Path:
    """The newest store under `features/`, by its index (an unfinished one by its plan); says what it took.

    Raises:
        UsageError: there is none.
    """
    dated = []
    for path in Path(folder).glob("*"):
        marks = [path / INDEX_NAME, path / PLAN_NAME] if path.is_dir() else [path] if path.suffix == ".h5" else []
        dates = [mark.stat().st_mtime_ns for mark in marks if mark.exists()]
        if dates:
            dated.append((dates[0], path))
    if not dated:
        raise UsageError(f"no store under {folder}/: run `avr extract --dataset NAME` first, or name one with --store")
    newest = max(dated)[1]
    note(f"store: {newest}" + (f" (the newest of {len(dated)} under {folder}/)" if len(dated) > 1 else ""))
    return newest
