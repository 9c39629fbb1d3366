"""The tables of a sealed file: columns of text and numbers, JSON, and where feature rows lie.

Note [why past the library]: a forged file whose hashes fit can make the HDF5 library loop or crash; bytes at a place
with a dtype and a shape cannot. So tables are read from the places that the seal names. They are ordinary contiguous
data sets all the same, so h5py reads them too.
"""

import json
import math
import re
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

RESERVED = "index"  # the group that holds all tables but scores; no stream may be called so

# Where a row lies in its file, and the CRC-32 of its bytes; `filter_mask` is HDF5's and always 0.
PLACE = np.dtype([("offset", "<u8"), ("stored", "<u4"), ("crc32", "<u4"), ("filter_mask", "<u4")])
DTYPE = re.compile(r"<i8|<i4|\|i1|<f4|\|S[1-9]\d{0,8}")


def write_tables(file: h5py.File, tables: Mapping[str, Any]) -> None:
    """Write tables by their full names: arrays as they are, a dict as a JSON text, other sequences as text columns."""
    for name, values in tables.items():
        if isinstance(values, dict):
            text = json.dumps(values, sort_keys=True, ensure_ascii=False).encode()
            values = np.array(text, dtype=h5py.string_dtype("utf-8", max(1, len(text))))
        elif not isinstance(values, np.ndarray):
            encoded = [value.encode("utf-8", "surrogateescape") for value in values]
            width = max([1, *(len(value) for value in encoded)])
            values = np.array(encoded, dtype=h5py.string_dtype("utf-8", width))
        file.create_dataset(name, data=values, track_times=False)


def list_tables(file: h5py.File) -> tuple[dict[str, list[Any]], dict[str, int]]:
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


def table_of(name: str, entry: Any, size: int) -> tuple[int, int, np.dtype, tuple[int, ...]]:
    """Offset, bytes, dtype and shape of a table as a seal lists it. Raises ValueError when it cannot be."""
    offset, kind, shape = entry
    dtype = PLACE if kind == "place" else np.dtype(kind) if DTYPE.fullmatch(kind) else None
    if dtype is None or not all(type(number) is int and 0 <= number <= size for number in (offset, *shape)):
        raise ValueError(f"table {name} is listed as {str(entry)[:60]}")
    count = math.prod(shape) * dtype.itemsize
    if offset + count > size:
        raise ValueError(f"table {name} lies outside the file")
    return offset, count, dtype, tuple(shape)


class Tables(NamedTuple):
    """The tables of one file, by name; every method raises ValueError for a table that is not what it should be."""

    content: Mapping[str, NDArray]

    def json(self, name: str) -> Any:
        """A value that was written as JSON."""
        value = self._get(name)
        if value.shape != () or value.dtype.kind != "S":
            raise ValueError(f"{name} is no text")
        return json.loads(value.item().decode())

    def text(self, name: str) -> tuple[str, ...]:
        """A column of text."""
        values = self._get(name)
        if values.ndim != 1 or values.dtype.kind != "S":
            raise ValueError(f"{name} is no column of text")
        return tuple(value.decode("utf-8", "surrogateescape") for value in values.tolist())

    def numbers(self, name: str, shape: tuple[int, ...] | None, dtype: str | np.dtype) -> NDArray:
        """Numbers of exactly this dtype, and of this shape unless it is None."""
        values = self._get(name)
        if values.dtype != np.dtype(dtype).newbyteorder("<"):
            raise ValueError(f"{name} holds no {dtype}")
        if shape is not None and values.shape != shape:
            raise ValueError(f"{name} has shape {values.shape}, not {shape}")
        return values

    def _get(self, name: str) -> NDArray:
        if name not in self.content:
            raise ValueError(f"no table {name}")
        return self.content[name]
