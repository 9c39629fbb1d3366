"""One self-contained file of a store, for moving and publishing it."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from avr.core import Progress, UsageError, WorkError
from avr.store.sealed import SMALLEST_BLOCK, seal_file, written_whole
from avr.store.tables import write_tables

from .index import Catalog, catalog_tables, open_catalog
from .reader import FeatureStore
from .rows import RowReader
from .shard import write_rows

ROWS_AT_ONCE = 64


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
    needed = sum(size for _, size, _ in catalog.files) + (1 << 20)
    with written_whole(target, needed) as temporary:
        free = shutil.disk_usage(target.parent).free
        if free < needed:
            raise WorkError(f"{target}: {needed} bytes needed, {free} are free")
        _write(catalog, store, temporary)
        with FeatureStore(temporary) as packed:
            if packed.digest != catalog.digest:
                raise WorkError(f"{target}: came out with another content than {store}; report this to avr")
    return target


def _write(catalog: Catalog, store: Path, temporary: Path) -> None:
    """Rows and tables by the library, straight to the disk; then the seal, once all other bytes are known."""
    total = int(catalog.file_first_row[-1])
    reader = RowReader(catalog, store, cache_bytes=0)

    def rows_of(name: str) -> Iterator[NDArray[np.float16]]:
        for start in range(0, total, ROWS_AT_ONCE):
            numbers = np.arange(start, min(start + ROWS_AT_ONCE, total))
            yield from reader.read(name, numbers, keep=False)
            progress.advance(len(numbers))

    def fill(file: h5py.File) -> dict[str, NDArray]:
        places = {
            name: write_rows(file, name, total, shape, rows_of(name)) for name, shape in catalog.plan.arrays.items()
        }
        first = np.array([0, total], dtype="<i8")
        one = replace(catalog, places=places, files=(("packed", 0, ""),), file_first_row=first)
        write_tables(file, catalog_tables(one))
        return places

    block = SMALLEST_BLOCK * (1 + len(catalog.plan.arrays) // 8)
    try:
        with Progress("pack", total=total * len(catalog.plan.arrays), unit="rows") as progress:
            while not seal_file(temporary, "packed", fill, block=block):
                block *= 2
    finally:
        reader.close()
