"""Tables in an HDF5 file, as every sealed file has them: written, listed, and what was read of one."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

try:  # the checksum of rows and tables: zlib's CRC-32, by the processor's own instructions where `isal` is installed
    from isal.isal_zlib import crc32 as crc32_of
except ImportError:
    from zlib import crc32 as crc32_of

# Where a row lies in its file, and the CRC-32 of its bytes; `filter_mask` is HDF5's and always 0.
PLACE = np.dtype([("offset", "<u8"), ("stored", "<u4"), ("crc32", "<u4"), ("filter_mask", "<u4")])


class Tables(NamedTuple):
    """The tables of one file, by name; a method raises whatever it meets in a table that is not what it should be."""

    content: Mapping[str, NDArray]

    def json(self, name: str) -> Any:
        """A value that was written as JSON."""
        return json.loads(self.content[name].item().decode())

    def text(self, name: str) -> tuple[str, ...]:
        """A column of text."""
        values = self.content[name]
        if values.dtype.kind != "S" or values.ndim != 1:
            raise ValueError(f"{name} holds {values.dtype} {values.shape}, not a column of text")
        return tuple(value.decode("utf-8", "surrogateescape") for value in values.tolist())

    def numbers(self, name: str, shape: tuple[int, ...], dtype: str | np.dtype) -> NDArray:
        """Numbers of exactly this dtype and shape."""
        values = self.content[name]
        if values.dtype != np.dtype(dtype).newbyteorder("<") or values.shape != shape:
            raise ValueError(f"{name} holds {values.dtype} {values.shape}, not {dtype} {shape}")
        return values


def write_tables(file: h5py.File, tables: Mapping[str, Any]) -> dict[str, Any]:
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


def list_tables(file: h5py.File) -> tuple[dict[str, list[Any]], list[tuple[str, int, int, int]]]:
    """Where an open file's tables lie, name to [offset, dtype, shape]; and name, offset, bytes and CRC-32 of each."""
    found: dict[str, list[Any]] = {}
    written: list[tuple[str, int, int, int]] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.chunks is None and not item.is_virtual and item.dtype != np.float16:
            kind, offset = "place" if item.dtype == PLACE else item.dtype.str, item.id.get_offset() if item.size else 0
            content = np.asarray(item[()]).tobytes()
            found[name] = [offset, kind, list(item.shape)]
            written.append((name, offset, len(content), crc32_of(content)))

    file.flush()
    file.visititems(visit)
    return found, written
