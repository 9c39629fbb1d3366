"""Sealed HDF5 files: every file avr writes says what it is, how long it is, and what its bytes must hash to.

A sealed file is an ordinary HDF5 file with a user block (bytes before the HDF5 signature, which HDF5 skips):

    avr-store 1\\n                     magic and format version
    {"kind": …, "size": …, …}\\n      the seal, one line of JSON
    crc32 of the two lines, 8 hexadecimal digits, \\n, then zeros up to the end of the block

The seal holds SHA-256 of everything behind the block, and SHA-256 of everything behind the block but feature rows
("structure"). So a reader checks a file's structure whatever the size of the rows, and rows are checked one by one with
the CRC-32 that the (checked) structure holds for each. Here is how such a file is read; `sealing.py` writes it.

Note [why past the library]: a forged file whose hashes fit can make the HDF5 library loop or crash; bytes at a place
with a dtype and a shape cannot. So tables are read from the places that the seal names. They are ordinary contiguous
data sets all the same, so h5py reads them too.
"""

import hashlib
import json
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from avr.core import AvrError, UsageError, WorkError

MAGIC = b"avr-store "
FORMAT_VERSION = 1
LARGEST_BLOCK = 1 << 26  # bytes; no seal avr writes comes near it
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
RESERVED = "index"  # the group that holds all tables but scores; no stream may be called so

# Where a row lies in its file, and the CRC-32 of its bytes; `filter_mask` is HDF5's and always 0.
PLACE = np.dtype([("offset", "<u8"), ("stored", "<u4"), ("crc32", "<u4"), ("filter_mask", "<u4")])
DTYPE = re.compile(r"<i8|<i4|\|i1|<f4|\|S[1-9]\d{0,8}")

Read = Callable[[int, int], bytes]  # offset and count to that many bytes


@dataclass(frozen=True)
class Seal:
    """What a sealed file says of itself: README.md tells each field. `block`: bytes of the user block."""

    kind: str
    block: int
    size: int
    sha256: str
    structure_sha256: str
    rows: tuple[tuple[int, int], ...]
    tables: dict[str, list[Any]]


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


@contextmanager
def open_sealed(path: Path, *kinds: str, whole: bool = False) -> Iterator[tuple[Seal, Tables]]:
    """The seal and tables of a file whose structure has been checked; inside, whatever is wrong becomes avr's error.

    Args:
        path: the file.
        kinds: what it may be, such as "index"; anything by default.
        whole: check feature rows, too.

    Raises:
        UsageError: no such file, not avr's, another kind or format version.
        WorkError: damaged.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 (what goes wrong below is another error)
    except OSError as error:
        raise UsageError(f"{path}: cannot be opened ({error.strerror})") from error
    with file:
        try:
            seal, read = _read_seal(file, path), read_from(file)
            if kinds and seal.kind not in kinds:
                raise UsageError(f"{path}: holds {seal.kind!r}, not {' or '.join(kinds)}")
            expected = seal.sha256 if whole else "", seal.structure_sha256
            if hash_parts(read, seal.block, seal.size, seal.rows, whole=whole) != expected:
                what = "bytes do" if whole else "structure does"
                raise WorkError(f"{path}: damaged (its {what} not hash to what its seal says)")
            content = {}
            for name, entry in seal.tables.items():
                offset, count, dtype, shape = table_of(name, entry, seal.size)
                content[name] = np.frombuffer(read(offset, count), dtype=dtype).reshape(shape)
            yield seal, Tables(content)
        except AvrError:
            raise
        except MemoryError as error:
            raise WorkError(f"{path}: not enough memory to read it ({error})") from error
        except Exception as error:  # a damaged table can make any code raise nearly any built-in error
            place = f" at key {error.args[0]!r}" if isinstance(error, KeyError) and error.args else ""
            line = " ".join(str(error).split())[:200]
            raise WorkError(f"{path}: damaged{place} ({type(error).__name__}: {line})") from error


def check_whole(path: Path, *kinds: str) -> Seal:
    """The seal of a file whose every byte has been hashed against it. Raises as `open_sealed`."""
    with open_sealed(path, *kinds, whole=True) as (seal, _):
        return seal


def read_from(file: BinaryIO) -> Read:
    """Read from an open file by offset and count. Raises ValueError where it is cut short."""

    def read(offset: int, count: int) -> bytes:
        file.seek(offset)
        found = file.read(count)
        if len(found) < count:
            raise ValueError(f"cut short at byte {offset + len(found)}")
        return found

    return read


def hash_parts(
    read: Read, block: int, size: int, rows: Sequence[tuple[int, int]], *, whole: bool = True
) -> tuple[str, str]:
    """SHA-256 of all bytes behind the block ("" where not `whole`), and of those that are no feature rows."""
    all_bytes, structure = hashlib.sha256(), hashlib.sha256()
    for number, (start, stop) in enumerate(pairwise(_edges(block, size, rows))):
        hashes = [*([all_bytes] if whole else []), *([] if number % 2 else [structure])]
        for offset in range(start, stop if hashes else start, 1 << 24):
            part = read(offset, min(stop - offset, 1 << 24))
            for one in hashes:
                one.update(part)
    return all_bytes.hexdigest() if whole else "", structure.hexdigest()


def _edges(block: int, size: int, rows: Sequence[tuple[int, int]]) -> list[int]:
    """Where structure and rows begin and end, by turns, the structure first."""
    return [block, *(edge for pair in rows for edge in pair), size]


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


def _read_seal(file: BinaryIO, path: Path) -> Seal:
    """Read and check the user block of an open file."""
    read, size = read_from(file), file.seek(0, os.SEEK_END)
    start = read(0, min(size, 1024))
    if not start.startswith(MAGIC):
        if start.strip(b"\0") == b"" or start.startswith(b"avr"):
            raise WorkError(f"{path}: damaged (its first bytes are gone)")
        raise UsageError(f"{path}: no file of avr's (it should start with 'avr-store {FORMAT_VERSION}')")
    version = start[len(MAGIC) :].split(b"\n", 1)[0][:20].decode("ascii", "replace")
    if version != str(FORMAT_VERSION):
        raise UsageError(
            f"{path}: format version {version!r}, but this avr reads version {FORMAT_VERSION}: "
            "update avr (pip install --upgrade avr), or extract again"
        )
    block = 1024
    while block + 8 > size or read(block, 8) != HDF5_SIGNATURE:
        block *= 2
        if block > min(size, LARGEST_BLOCK):
            raise ValueError("no HDF5 signature behind its seal")
    magic, line, checksum, padding = read(0, block).split(b"\n", 3)
    if checksum != b"%08x" % zlib.crc32(magic + b"\n" + line + b"\n"):
        raise ValueError("the seal's checksum is wrong")
    fields = json.loads(line)
    rows = tuple((int(start), int(stop)) for start, stop in fields.pop("rows"))
    seal = Seal(block=block, rows=rows, **fields)
    if seal.size != size:
        raise ValueError(f"the file has {size} bytes, its seal says {seal.size}")
    if padding.strip(b"\0"):
        raise ValueError("bytes behind the seal")
    if any(first > second for first, second in pairwise(_edges(block, size, rows))):
        raise ValueError("row ranges out of order")
    texts = (seal.kind, seal.sha256, seal.structure_sha256)
    if not all(isinstance(text, str) for text in texts) or not isinstance(seal.tables, dict):
        raise ValueError("the seal's fields are of other types")
    return seal
