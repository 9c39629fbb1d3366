"""Sealed HDF5 files: every file avr writes says what it is, how long it is, and what its bytes must hash to.

A sealed file is an ordinary HDF5 file with a user block (bytes before the HDF5 signature, which HDF5 skips):

    avr-store 1\\n                     magic and format version
    {"kind": …, "size": …, …}\\n      the seal, one line of JSON
    crc32 of the two lines, 8 hexadecimal digits, \\n, then zeros up to the end of the block

The seal holds SHA-256 of everything behind the block, and SHA-256 of everything behind the block but feature rows
("structure"). So a reader checks a file's structure whatever the size of the rows, and rows are checked one by one with
the CRC-32 that the (checked) structure holds for each.

Note [why past the library]: a forged file whose hashes fit can make the HDF5 library loop or crash; bytes at a place
with a dtype and a shape cannot. So tables are read from the places that the seal names. They are ordinary contiguous
data sets all the same, so h5py reads them too.
"""

import hashlib
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from avr.core import AvrError, UsageError, WorkError, check_name, one_line, open_file, write_whole

from .tables import PLACE, Tables, crc32_of, list_tables

MAGIC = b"avr-store "
FORMAT_VERSION = 1
SMALLEST_BLOCK, LARGEST_BLOCK = 1 << 12, 1 << 26  # bytes; no seal avr writes comes near the second
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
RESERVED = "index"  # the group that holds all tables but scores; no stream may be called so

DTYPE = re.compile(r"<i8|<i4|\|i1|<f[48]|\|S[1-9]\d{0,8}")


class Rows(NamedTuple):
    """Feature rows of one array: where each is to lie, (R,) PLACE, in one stretch; and the rows."""

    place: NDArray
    content: Iterable[NDArray]


Fill = Callable[[h5py.File], Mapping[str, Rows]]


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
    with open_file(path) as file:
        try:
            seal = _read_seal(file, path)
            if kinds and seal.kind not in kinds:
                raise UsageError(f"{path}: holds {seal.kind!r}, not {' or '.join(kinds)}")
            expected = seal.sha256 if whole else "", seal.structure_sha256
            if _hash(file, seal.block, seal.size, seal.rows, whole=whole) != expected:
                what = "bytes do" if whole else "structure does"
                raise WorkError(f"{path}: damaged (its {what} not hash to what its seal says)")
            for name in seal.tables:
                if not name.startswith(f"{RESERVED}/"):
                    check_stream(name, where=f"{path}: ")
            places = {name: _place_of(name, entry, seal.size) for name, entry in seal.tables.items()}
            # Each byte is in one table at most: else small files could ask for any amount of memory.
            ranges = sorted((place.offset, place.offset + place.size) for place in places.values() if place.size)
            if any(stop > start for (_, stop), (start, _) in pairwise(ranges)):
                raise WorkError(f"{path}: damaged (its tables overlap)")
            tables = {name: _read_table(file, place) for name, place in places.items()}
            yield seal, Tables(tables)
        except AvrError:
            raise
        except MemoryError as error:
            raise WorkError(f"{path}: not enough memory to read it ({error})") from error
        except Exception as error:  # a damaged table can make any code raise nearly any built-in error
            place = f" at key {error.args[0]!r}" if isinstance(error, KeyError) and error.args else ""
            raise WorkError(f"{path}: damaged{place} ({one_line(error)})") from error


def check_stream(name: str, *, where: str = "") -> None:
    """Refuse a stream's name that is none: it becomes a part of paths (UsageError)."""
    try:
        if check_name("stream", name) == RESERVED:
            raise UsageError(f"a stream is called {RESERVED!r}, as the tables are")
    except UsageError as error:
        raise UsageError(f"{where}{error}") from error


def _read(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    found = file.read(count)
    if len(found) < count:
        raise ValueError(f"cut short at byte {offset + len(found)}")
    return found


def _hash(
    file: BinaryIO, block: int, size: int, rows: Sequence[tuple[int, int]], *, whole: bool = True
) -> tuple[str, str]:
    """SHA-256 of all bytes behind the block ("" where not `whole`), and of those that are no feature rows."""
    all_bytes, structure = hashlib.sha256(), hashlib.sha256()
    for number, (start, stop) in enumerate(pairwise(_edges(block, size, rows))):
        hashes = [*([all_bytes] if whole else []), *([] if number % 2 else [structure])]
        for offset in range(start, stop if hashes else start, 1 << 24):
            part = _read(file, offset, min(stop - offset, 1 << 24))
            for one in hashes:
                one.update(part)
    return all_bytes.hexdigest() if whole else "", structure.hexdigest()


def _edges(block: int, size: int, rows: Sequence[tuple[int, int]]) -> list[int]:
    """Where structure and rows begin and end, by turns, the structure first."""
    return [block, *(edge for pair in rows for edge in pair), size]


class Place(NamedTuple):
    """Where a table's bytes lie, how many they are, and what they mean."""

    offset: int
    size: int
    dtype: np.dtype
    shape: tuple[int, ...]


def _place_of(name: str, entry: Any, size: int) -> Place:
    """The place of a table of a file of `size` bytes, as its seal lists it."""
    offset, kind, shape = entry
    dtype = PLACE if kind == "place" else np.dtype(kind) if DTYPE.fullmatch(kind) else None
    if dtype is None or not all(type(number) is int and 0 <= number <= size for number in (offset, *shape)):
        raise ValueError(f"table {name} is listed as {str(entry)[:60]}")
    count = math.prod(shape) * dtype.itemsize
    if offset + count > size:
        raise ValueError(f"table {name} lies outside the file")
    return Place(offset, count, dtype, tuple(shape))


def _read_table(file: BinaryIO, place: Place) -> NDArray:
    return np.frombuffer(_read(file, place.offset, place.size), dtype=place.dtype).reshape(place.shape)


def _read_seal(file: BinaryIO, path: Path) -> Seal:
    """Read and check the user block of an open file."""
    size = file.seek(0, os.SEEK_END)
    start = _read(file, 0, min(size, 1024))
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
    while block + 8 > size or _read(file, block, 8) != HDF5_SIGNATURE:
        block *= 2
        if block > min(size, LARGEST_BLOCK):
            raise ValueError("no HDF5 signature behind its seal")
    magic, line, checksum, padding = _read(file, 0, block).split(b"\n", 3)
    if checksum != b"%08x" % crc32_of(magic + b"\n" + line + b"\n"):
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


def write_sealed(path: Path, kind: str, fill: Fill, *, large: int = 0) -> Path:
    """Write a sealed file, whole or not at all.

    Args:
        path: where it shall be; its folder is made.
        kind: what it is, for the seal.
        fill: writes the data sets; returns the rows of each array of features, whose bytes are written when the HDF5
            library is done.
        large: about how many bytes, of a file that does not fit the memory: the library then writes to the disk. Any
            other is made in memory first, so that a full disk meets one plain write, or a WorkError.
    """
    image = None if large else seal_of(kind, fill)[1]
    with write_whole(path, needed=len(image) if image else large) as temporary:
        if image:
            temporary.write_bytes(image)
            return path
        with open(temporary, "w+b", buffering=0) as file:
            if hasattr(os, "posix_fallocate"):  # the HDF5 library crashes where a quota or a limit stops it half-way
                os.posix_fallocate(file.fileno(), 0, large)
            _seal(file, kind, fill)
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
        arrays = fill(file)
        tables, written = list_tables(file)
    for name, offset, count, crc32 in written:
        if crc32_of(_read(raw, offset, count)) != crc32:
            raise WorkError(f"this HDF5 library counts offsets in a way avr does not know ({name})")
    stretches = [_write_rows(raw, rows) for rows in arrays.values() if len(rows.place)]
    size = raw.seek(0, os.SEEK_END)
    rows = tuple(sorted(stretches))
    seal = Seal(kind, block, size, *_hash(raw, block, size, rows), rows, tables)
    fields = {name: value for name, value in vars(seal).items() if name != "block"}
    head = MAGIC + b"%d\n" % FORMAT_VERSION + json.dumps(fields, sort_keys=True).encode() + b"\n"
    head += b"%08x\n" % crc32_of(head)
    if len(head) > block:
        return _seal(raw, kind, fill, block=2 * block)
    raw.seek(0)
    raw.write(head.ljust(block, b"\0"))
    return seal


def _write_rows(raw: io.BytesIO | io.FileIO, rows: Rows) -> tuple[int, int]:
    """Write an array's rows past the HDF5 library; where they begin and end."""
    start = raw.seek(int(rows.place["offset"][0]))
    for row in rows.content:
        content = row.data.cast("B")
        while content:
            content = content[raw.write(content) :]
    return start, raw.tell()
