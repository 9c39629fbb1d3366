"""One self-contained file of a store, for moving and publishing it."""

import math
import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from avr.core import Progress, UsageError, WorkError, sync_folder
from avr.store.directory import PLACE, list_tables
from avr.store.disk import file_errors
from avr.store.sealed import Seal, block_size, hash_file, merge_ranges, seal_head

from .index import Catalog, write_tables
from .reader import FeatureStore, open_catalog
from .rows import RowReader
from .shard import create_array, row_ranges

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
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < needed:
            raise WorkError(f"{target}: {needed} bytes needed, {free} are free")
        _write(catalog, store, temporary)
        os.replace(temporary, target)
        sync_folder(target.parent)
    except OSError as error:
        raise WorkError(f"{target}: cannot be written, {needed} bytes needed ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    with FeatureStore(target) as packed:
        if packed.digest != catalog.digest:
            raise WorkError(f"{target}: came out with another content than {store}; report this to avr")
    return target


def _write(catalog: Catalog, store: Path, temporary: Path) -> None:
    """Rows and tables first, by the library; then the seal, once all other bytes are known."""
    total = int(catalog.file_first_row[-1])
    compression = catalog.plan.compression
    block = block_size(len(catalog.plan.arrays) * (total if compression else 4))
    reader = RowReader(catalog, store, cache_bytes=0)
    places: dict[str, NDArray] = {}
    try:
        with (
            file_errors(temporary),
            h5py.File(temporary, "w", libver=("v110", "v110"), userblock_size=block, locking=False) as file,
            Progress("pack", total=total * len(catalog.plan.arrays), unit="rows") as progress,
        ):
            for name in catalog.plan.arrays:
                places[name] = _copy_array(file, reader, catalog, name, progress)
            one = replace(
                catalog, places=places, files=(("packed", 0, ""),), file_first_row=np.array([0, total], "<i8")
            )
            write_tables(file, one)
            tables = list_tables(file)
    finally:
        reader.close()
    ranges = merge_ranges([pair for place in places.values() for pair in row_ranges(place)])
    with open(temporary, "rb+") as raw:
        seal = hash_file(raw.fileno(), temporary, Seal("packed", block, 0, "", "", ranges, tables))
        raw.write(seal_head(seal))
        raw.flush()
        os.fsync(raw.fileno())


def _copy_array(file: h5py.File, reader: RowReader, catalog: Catalog, name: str, progress: Progress) -> NDArray:
    """Copy an array's rows as they are stored; return where they lie now."""
    shape = catalog.plan.arrays[name]
    place = catalog.places[name].astype(PLACE)
    if not len(place):
        file.create_dataset(name, shape=(0, *shape), dtype="<f2", track_times=False)
        return place
    dataset = create_array(file, name, (len(place), *shape), catalog.plan.compression)
    origin = (0,) * len(shape)
    for start in range(0, len(place), ROWS_AT_ONCE):
        numbers = np.arange(start, min(start + ROWS_AT_ONCE, len(place)))
        for row, content in zip(numbers.tolist(), reader.read_stored(name, numbers), strict=True):
            dataset.id.write_direct_chunk((row, *origin), content, int(place["filter_mask"][row]))
        progress.advance(len(numbers))
    file.flush()
    infos = [dataset.id.get_chunk_info_by_coord((row, *origin)) for row in range(len(place))]
    place["offset"] = [info.byte_offset for info in infos]
    if [info.size for info in infos] != place["stored"].tolist():
        raise WorkError(f"{name}: rows came out with other sizes; report this to avr")
    if not catalog.plan.compression and any(place["stored"] != 2 * math.prod(shape)):
        raise WorkError(f"{name}: rows of another size")
    return place
