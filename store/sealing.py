"""Writing sealed HDF5 files; `sealed.py` says what they are."""

import io
import json
import os
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from avr.core import WorkError, write_whole

from .sealed import FORMAT_VERSION, MAGIC, PLACE, Seal, hash_parts, read_from, table_of

SMALLEST_BLOCK = 1 << 12

Fill = Callable[[h5py.File], Mapping[str, NDArray]]


def write_sealed(path: Path, kind: str, fill: Fill, *, large: int = 0) -> Path:
    """Write a sealed file, whole or not at all.

    Args:
        path: where it shall be; its folder is made.
        kind: what it is, for the seal.
        fill: writes the data sets; returns, for each array of feature rows in this file, where they lie: (R,) PLACE.
        large: about how many bytes, of a file that does not fit the memory: the library then writes to the disk. Any
            other is made in memory first, so that a full disk meets one plain write.

    Raises:
        WorkError: disk full, read-only, or not allowed; nothing is left behind.
    """
    image = None if large else seal_of(kind, fill)[1]
    needed = len(image) if image else large
    try:
        with write_whole(path) as temporary:
            if image:
                temporary.write_bytes(image)
                return path
            free = shutil.disk_usage(path.parent).free
            if free < needed:
                raise WorkError(f"{path}: {needed} bytes needed, {free} are free")
            with open(temporary, "w+b", buffering=0) as file:
                _seal(file, kind, fill)
    except OSError as error:
        raise WorkError(
            f"{path}: cannot be written, {needed} bytes needed ({error.strerror or error}); nothing written before "
            "is lost: make room or choose another --out, then run the same command again to continue"
        ) from error
    return path


def seal_of(kind: str, fill: Fill) -> tuple[Seal, memoryview]:
    """The seal and the bytes of a sealed file; see `write_sealed`. Equal content gives equal bytes."""
    buffer = io.BytesIO()
    return _seal(buffer, kind, fill), buffer.getbuffer()


def _seal(raw: io.BytesIO | io.FileIO, kind: str, fill: Fill, *, block: int = SMALLEST_BLOCK) -> Seal:
    """Fill an HDF5 file and write its seal; anew where the seal needs a larger block."""
    raw.truncate(0)
    target = raw if isinstance(raw, io.BytesIO) else raw.name
    # The bounds of versions are fixed so that equal content gives equal bytes.
    with h5py.File(target, "w", libver=("v110", "v110"), userblock_size=block, locking=False) as file:
        places = dict(fill(file))
        tables, crc32 = _list_tables(file)
    size, read = raw.seek(0, os.SEEK_END), read_from(raw)

    def check(name: str, offset: int, count: int, crc32: int) -> None:
        if count and zlib.crc32(read(offset, count)) != crc32:
            raise WorkError(f"this HDF5 library counts offsets in a way avr does not know ({name})")

    for name, entry in tables.items():
        check(name, *table_of(name, entry, size)[:2], crc32[name])
    stretches = []
    for name, place in places.items():
        if not len(place):
            continue
        for offset, stored, checksum, _ in place[[0, -1]].tolist():
            check(name, offset, stored, checksum)
        if (np.diff(place["offset"]) != place["stored"][:-1]).any():
            raise WorkError(f"{name}: this HDF5 library scatters rows, which avr does not know")
        stretches.append((int(place["offset"][0]), int(place["offset"][-1]) + int(place["stored"][-1])))
    rows = tuple(sorted(stretches))
    seal = Seal(kind, block, size, *hash_parts(read, block, size, rows), rows, tables)
    fields = {name: value for name, value in vars(seal).items() if name != "block"}
    head = MAGIC + b"%d\n" % FORMAT_VERSION + json.dumps(fields, sort_keys=True).encode() + b"\n"
    head += b"%08x\n" % zlib.crc32(head)
    if len(head) > block:
        return _seal(raw, kind, fill, block=2 * block)
    raw.seek(0)
    raw.write(head.ljust(block, b"\0"))
    return seal


def write_tables(file: h5py.File, tables: Mapping[str, Any]) -> dict[str, NDArray]:
    """Write tables: arrays as they are, a dict as JSON, other sequences as text columns; no rows, as a `Fill` tells."""
    for name, values in tables.items():
        if isinstance(values, dict):
            text = json.dumps(values, sort_keys=True, ensure_ascii=False).encode()
            values = np.array(text, dtype=h5py.string_dtype("utf-8", max(1, len(text))))
        elif not isinstance(values, np.ndarray):
            encoded = [value.encode("utf-8", "surrogateescape") for value in values]
            width = max([1, *(len(value) for value in encoded)])
            values = np.array(encoded, dtype=h5py.string_dtype("utf-8", width))
        file.create_dataset(name, data=values, track_times=False)
    return {}


def _list_tables(file: h5py.File) -> tuple[dict[str, list[Any]], dict[str, int]]:
    """Where the tables of an open file lie, name to [offset, dtype, shape], and the CRC-32 of what they hold."""
    found: dict[str, list[Any]] = {}
    crc32: dict[str, int] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.chunks is None and not item.is_virtual and item.dtype != np.float16:
            kind = "place" if item.dtype == PLACE else item.dtype.str
            found[name] = [item.id.get_offset() if item.size else 0, kind, list(item.shape)]
            crc32[name] = zlib.crc32(np.asarray(item[()]).tobytes())

    file.flush()
    file.visititems(visit)
    return found, crc32
