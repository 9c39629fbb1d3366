"""What a finished store gets beside its shards: its index, and one self-contained file for moving and publishing it.

And how a store's plan and place are found again.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from avr.core import AvrError, Progress, UsageError, WorkError, note
from avr.store.sealed import write_sealed, write_tables

from .catalog import INDEX_NAME, Catalog, catalog_tables, open_catalog, read_catalog
from .plan import PLAN_NAME, Plan, load_plan, with_seal
from .rows import RowReader
from .shard import write_rows


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


def pack(store: Path | str, out: Path | str | None = None, *, overwrite: bool = False) -> Path:
    """Copy a store's folder into one file that every reader takes, checking each row on the way.

    Args:
        store: a finished store's folder.
        out: the file to write; by default the folder's name with `.h5`, beside it.
        overwrite: replace a file that is there.

    Raises:
        UsageError: no folder of a finished store, or `out` is there already.
        WorkError: a shard is damaged, or the disk is full.
    """
    store = Path(store)
    if not store.is_dir():
        raise UsageError(f"{store}: not a store's folder; only those are packed")
    target = Path(out) if out is not None else store.absolute().with_name(store.absolute().name + ".h5")
    if target.exists() and not overwrite:
        raise UsageError(f"{target}: is there already; --overwrite replaces it")
    catalog = open_catalog(store)
    if catalog.missing_shards:
        raise UsageError(f"{store}: unfinished; finish it with `avr extract`, then pack it")
    total = int(catalog.file_first_row[-1])

    def fill(file: h5py.File) -> dict[str, NDArray]:
        places = {}
        for name, shape in catalog.plan.arrays.items():
            places[name] = write_rows(file, name, total, shape, rows(name))
        first = np.array([0, total], dtype="<i8")
        one = replace(catalog, places=places, files=(("packed", 0, ""),), file_first_row=first)
        if one.digest != catalog.digest:
            raise WorkError(f"{target}: came out with another content than {store}; report this to avr")
        write_tables(file, catalog_tables(one))
        return places

    def rows(name: str) -> Iterator[NDArray[np.float16]]:
        for part in reader.parts(name):
            progress.advance(len(part))
            yield from part

    reader = RowReader(catalog, store)
    needed = sum(size for _, size, _ in catalog.files) + (1 << 20)
    with Progress("pack", total=total * len(catalog.plan.arrays), unit="rows") as progress:
        return write_sealed(target, "packed", fill, large=needed)


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
