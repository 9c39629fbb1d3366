"""What finished shards get: their part's index, and a store one self-contained file for moving and publishing it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from avr.core import Progress, UsageError, claim_files
from avr.store.sealed import RESERVED, Rows, write_sealed
from avr.store.tables import write_tables

from .catalog import INDEX_NAME, Catalog, catalog_tables, part_group
from .opening import open_parts
from .rows import RowReader
from .shard import place_rows


def write_index(folder: Path, catalog: Catalog) -> None:
    """Write a part's index: the tables, and every array as a virtual data set over the shards."""

    def fill(file: h5py.File) -> dict[str, Rows]:
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
        UsageError: no folder of a store whose parts are finished, or `out` is there already.
        WorkError: a shard is damaged, or the disk is full.
    """
    store = Path(store)
    if not store.is_dir():
        raise UsageError(f"{store}: not a store's folder; only those are packed")
    target = Path(out) if out is not None else store.absolute().with_name(store.absolute().name + ".h5")
    claim_files([("", target)], inputs=store.rglob("*.h5"), overwrite=overwrite)
    parts = open_parts([store])
    for part in parts:
        if part.catalog.missing_shards:
            raise UsageError(f"{part.label}: unfinished; finish it with `avr extract`, then pack the store")

    def fill(file: h5py.File) -> dict[str, Rows]:
        arrays: dict[str, Rows] = {}
        for part in parts:
            catalog = part.catalog
            first = np.array([0, catalog.file_first_row[-1]], dtype="<i8")
            own = {
                name: place_rows(file, name, catalog.plan.arrays[name], crc32=place["crc32"])
                for name, place in catalog.places.items()
            }
            one = replace(catalog, places=own, files=(("packed", 0, ""),), file_first_row=first)
            group = part_group(part.name)
            write_tables(file, {name.replace(RESERVED, group, 1): t for name, t in catalog_tables(one).items()})
            arrays |= {name: Rows(place, rows(name)) for name, place in own.items()}
        return arrays

    def rows(name: str) -> Iterator[NDArray[np.float16]]:
        for batch in reader.batches(name):
            progress.advance(len(batch))
            yield from batch

    reader = RowReader(*((part.catalog, part.path) for part in parts))
    needed = sum(size for part in parts for _, size, _ in part.catalog.files) + (1 << 20)
    total = sum(len(place) for part in parts for place in part.catalog.places.values())
    with Progress("pack", total=total, unit="rows") as progress:
        return write_sealed(target, "packed", fill, large=needed)
