"""Building a sealed file in memory, so that a full disk meets one plain write and not the HDF5 library."""

import io
import zlib
from collections.abc import Callable, Sequence

import h5py
import numpy as np

from avr.core import WorkError

from .directory import list_tables, table_of
from .sealed import SealTooLarge, block_size, seal_image

Ranges = Sequence[tuple[int, int]]


def build(kind: str, fill: Callable[[h5py.File], Ranges], *, num_ranges: int = 0) -> memoryview:
    """The bytes of a sealed file.

    Args:
        kind: what it is, for the seal.
        fill: writes the data sets, and returns the byte ranges of feature rows.
        num_ranges: about how many ranges that will be, so that the block before the data is made large enough.
    """
    block = block_size(num_ranges)
    while True:
        buffer = io.BytesIO()
        with new_file(buffer, block) as file:
            rows = fill(file)
            tables = list_tables(file)
            expected = {name: table_crc32(file, name) for name in tables}
        image = buffer.getbuffer()
        for name, entry in tables.items():
            offset, count, _, _ = table_of(name, entry, len(image))
            if count and zlib.crc32(image[offset : offset + count]) != expected[name]:
                raise WorkError(f"this HDF5 library counts offsets in a way avr does not know ({name})")
        try:
            seal_image(image, kind, block=block, rows=rows, tables=tables)
            return image
        except SealTooLarge:
            block *= 2


def new_file(buffer: io.BytesIO, block: int) -> h5py.File:
    """A new HDF5 file in memory; the version bounds are fixed so that equal content gives equal bytes."""
    return h5py.File(buffer, "w", libver=("v110", "v110"), userblock_size=block)


def table_crc32(file: h5py.File, name: str) -> int:
    """CRC-32 of a table's values."""
    return zlib.crc32(np.asarray(file[name][()]).tobytes())
