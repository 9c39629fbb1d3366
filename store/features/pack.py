"""One self-contained file of a store, for moving and publishing it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from avr.core import Progress, UsageError, WorkError
from avr.store.sealing import write_sealed, write_tables

from .catalog import catalog_tables, open_catalog
from .rows import RowReader
from .shard import write_rows


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
            parts = reader.parts(name)
            places[name] = write_rows(file, name, total, shape, (row for part in parts for row in counted(part)))
        first = np.array([0, total], dtype="<i8")
        one = replace(catalog, places=places, files=(("packed", 0, ""),), file_first_row=first)
        if one.digest != catalog.digest:
            raise WorkError(f"{target}: came out with another content than {store}; report this to avr")
        write_tables(file, catalog_tables(one))
        return places

    def counted(part: NDArray[np.float16]) -> Iterator[NDArray[np.float16]]:
        progress.advance(len(part))
        return iter(part)

    reader = RowReader(catalog, store)
    needed = sum(size for _, size, _ in catalog.files) + (1 << 20)
    with Progress("pack", total=total * len(catalog.plan.arrays), unit="rows") as progress:
        return write_sealed(target, "packed", fill, large=needed)
