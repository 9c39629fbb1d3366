"""Sealed HDF5 files: every file avr writes says what it is, how long it is, and what its bytes must hash to.

A sealed file is an ordinary HDF5 file with a user block (bytes before the HDF5 signature, which HDF5 skips):

    avr-store 1\\n                     magic and format version
    {"kind": …, "size": …, …}\\n      the seal, one line of JSON
    crc32 of the two lines, 8 hexadecimal digits, \\n, then zeros up to the end of the block

The seal holds SHA-256 of everything behind the block, and SHA-256 of everything behind the block but feature rows
("structure"). So a reader checks a file's structure whatever the size of the rows, and rows are checked one by one with
the CRC-32 that the (checked) structure holds for each.

"""

import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from avr.core import AvrError, UsageError, WorkError, write_whole

from .tables import Tables, list_tables, table_of

MAGIC = b"avr-store "
FORMAT_VERSION = 1
SMALLEST_BLOCK, LARGEST_BLOCK = 1 << 12, 1 << 26  # bytes; no seal avr writes comes near the latter
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

Read = Callable[[int, int], Any]  # offset and count to that many bytes
Fill = Callable[[h5py.File], Mapping[str, NDArray]]


@dataclass(frozen=True)
class Seal:
    """What a sealed file says of itself.

    Attributes:
        kind: "plan", "shard", "index", "packed" or "scores".
        block: bytes of the user block.
        size: bytes of the whole file.
        sha256: of the bytes behind the block, hexadecimal.
        structure_sha256: of the bytes behind the block that are no feature rows.
        rows: byte ranges (start, stop) of the file that hold feature rows, ascending, one an array.
        tables: where each table lies: name to [offset, dtype, shape].
    """

    kind: str
    block: int
    size: int
    sha256: str
    structure_sha256: str
    rows: tuple[tuple[int, int], ...]
    tables: dict[str, list[Any]]


def write_sealed(path: Path, kind: str, fill: Fill) -> Path:
    """Write a sealed file, whole or not at all; in memory first, so that a full disk meets one plain write.

    Args:
        path: where it shall be; its folder is made.
        kind: what it is, for the seal.
        fill: writes the data sets; returns, for each array of feature rows in this file, where they lie: (R,) PLACE.

    Raises:
        WorkError: disk full, read-only, or not allowed; nothing is left behind.
    """
    image = build(kind, fill)
    with written_whole(path, len(image)) as temporary, open(temporary, "wb", buffering=0) as file:
        while image:
            image = image[file.write(image) :]
    return path


def build(kind: str, fill: Fill) -> memoryview:
    """The bytes of a sealed file; see `write_sealed`. Equal content gives equal bytes."""
    block = SMALLEST_BLOCK
    while not seal_file(buffer := io.BytesIO(), kind, fill, block=block):
        block *= 2
    return buffer.getbuffer()


def seal_file(target: io.BytesIO | Path, kind: str, fill: Fill, *, block: int) -> bool:
    """Fill an HDF5 file in memory or on disk and write its seal. False: the seal needs a larger block."""
    # The bounds of versions are fixed so that equal content gives equal bytes.
    with h5py.File(target, "w", libver=("v110", "v110"), userblock_size=block, locking=False) as file:
        places = dict(fill(file))
        tables, crc32 = list_tables(file)
    with nullcontext(target) if isinstance(target, io.BytesIO) else open(target, "rb+") as raw:
        size = raw.seek(0, os.SEEK_END)

        def read(offset: int, count: int) -> bytes | memoryview:
            if isinstance(raw, io.BytesIO):
                return raw.getbuffer()[offset : offset + count]
            raw.seek(offset)
            return raw.read(count)

        for name, entry in tables.items():
            offset, count, _, _ = table_of(name, entry, size)
            if count and zlib.crc32(read(offset, count)) != crc32[name]:
                raise WorkError(f"this HDF5 library counts offsets in a way avr does not know ({name})")
        rows = tuple(sorted(_stretch(name, place, read) for name, place in places.items() if len(place)))
        whole, structure = _hash(read, block, size, rows)
        seal = Seal(kind, block, size, whole, structure, rows, tables)
        fields = {name: value for name, value in vars(seal).items() if name != "block"}
        head = MAGIC + b"%d\n" % FORMAT_VERSION + json.dumps(fields, sort_keys=True).encode() + b"\n"
        head += b"%08x\n" % zlib.crc32(head)
        raw.seek(0)
        raw.write(head.ljust(block, b"\0")[:block])
    return len(head) <= block


def _stretch(name: str, place: NDArray, read: Read) -> tuple[int, int]:
    """The byte range of an array's rows; first and last are read back to see that the library counts as avr does."""
    for offset, stored, crc32, _ in place[[0, -1]].tolist():
        if zlib.crc32(read(offset, stored)) != crc32:
            raise WorkError(f"{name}: this HDF5 library counts chunk offsets in a way avr does not know")
    if (np.diff(place["offset"]) != place["stored"][:-1]).any():
        raise WorkError(f"{name}: this HDF5 library scatters rows, which avr does not know")
    return int(place["offset"][0]), int(place["offset"][-1]) + int(place["stored"][-1])


@contextmanager
def written_whole(path: Path, num_bytes: int) -> Iterator[Path]:
    """`write_whole` of so many bytes, with what fails as one line that says how to go on. Raises WorkError."""
    try:
        with write_whole(path) as temporary:
            yield temporary
    except OSError as error:
        raise WorkError(
            f"{path}: cannot be written, {num_bytes} bytes needed ({error.strerror or error}); nothing written before "
            "is lost: make room or choose another --out, then run the same command again to continue"
        ) from error


@contextmanager
def open_sealed(path: Path, *kinds: str) -> Iterator[tuple[Seal, Tables]]:
    """The seal and tables of a file whose structure has been checked; inside, whatever is wrong becomes avr's error.

    Args:
        path: the file.
        kinds: what it may be, such as "index".

    Raises:
        UsageError: no such file, not avr's, another kind or format version.
        WorkError: damaged.
    """
    with _opened(path, kinds) as (seal, read), file_errors(path):
        _, structure = _hash(read, seal.block, seal.size, seal.rows, whole=False)
        if structure != seal.structure_sha256:
            raise WorkError(f"{path}: damaged (its structure does not hash to what its seal says)")
        content = {}
        for name, entry in seal.tables.items():
            offset, count, dtype, shape = table_of(name, entry, seal.size)
            content[name] = np.frombuffer(read(offset, count), dtype=dtype).reshape(shape)
        yield seal, Tables(content)


def check_whole(path: Path, *kinds: str) -> Seal:
    """Hash a whole file against its seal.

    Raises:
        UsageError: no such file, not avr's, of another kind or format version.
        WorkError: damaged.
    """
    with _opened(path, kinds) as (seal, read):
        if _hash(read, seal.block, seal.size, seal.rows) != (seal.sha256, seal.structure_sha256):
            raise WorkError(f"{path}: damaged (its bytes do not hash to what its seal says)")
        return seal


def kind_of(path: Path) -> str:
    """What a sealed file is, by its seal alone. Raises as `check_whole` does."""
    with _opened(path, ()) as (seal, _):
        return seal.kind


@contextmanager
def _opened(path: Path, kinds: Sequence[str]) -> Iterator[tuple[Seal, Read]]:
    """A file's seal, checked, and a way to read its bytes. No kinds: any."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"{path}: cannot be opened ({error.strerror})") from error
    try:

        def read(offset: int, count: int) -> bytes:
            return read_exactly(handle, offset, count, path)

        seal = _read_seal(read, os.fstat(handle).st_size, path)
        if kinds and seal.kind not in kinds:
            raise UsageError(f"{path}: holds {seal.kind!r}, not {' or '.join(kinds)}")
        yield seal, read
    finally:
        os.close(handle)


def read_exactly(handle: int, offset: int, count: int, path: Path) -> bytes:
    """`count` bytes of an open file from `offset` on.

    Raises:
        WorkError: the file is shorter, or the disk fails.
    """
    parts = []
    try:
        while count:
            part = os.pread(handle, min(count, 1 << 30), offset)
            if not part:
                raise WorkError(f"{path}: cut short at byte {offset}; `avr store repair` drops damaged shards")
            parts.append(part)
            offset, count = offset + len(part), count - len(part)
    except OSError as error:
        raise WorkError(f"{path}: cannot be read ({error.strerror})") from error
    return b"".join(parts)


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Inside the block, whatever is wrong with the file at `path` is a WorkError naming it."""
    try:
        yield
    except AvrError:
        raise
    except MemoryError as error:
        raise WorkError(f"{path}: not enough memory to read it ({error})") from error
    except Exception as error:  # a damaged table can make any code raise nearly any built-in error
        place = f" at key {error.args[0]!r}" if isinstance(error, KeyError) and error.args else ""
        line = " ".join(str(error).split())[:200]
        raise WorkError(f"{path}: damaged{place} ({type(error).__name__}: {line})") from error


def _hash(read: Read, block: int, size: int, rows: Sequence[tuple[int, int]], *, whole: bool = True) -> tuple[str, str]:
    """SHA-256 of all bytes behind the block ("" where not `whole`), and of those that are no feature rows."""
    all_bytes, structure = hashlib.sha256(), hashlib.sha256()
    edges = [block, *(edge for pair in rows for edge in pair), size]
    for number, (start, stop) in enumerate(pairwise(edges)):
        if number % 2 and not whole:
            continue
        for offset in range(start, stop, 1 << 24):
            part = read(offset, min(stop - offset, 1 << 24))
            if whole:
                all_bytes.update(part)
            if not number % 2:
                structure.update(part)
    return all_bytes.hexdigest() if whole else "", structure.hexdigest()


def _read_seal(read: Read, size: int, path: Path) -> Seal:
    """Read and check the user block of an open file; see `check_whole` for what it raises."""
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
    try:
        block = 1024
        while block + 8 > size or read(block, 8) != HDF5_SIGNATURE:
            block *= 2
            if block > min(size, LARGEST_BLOCK):
                raise ValueError("no HDF5 signature")
        magic, line, checksum, padding = read(0, block).split(b"\n", 3)
        if checksum != b"%08x" % zlib.crc32(magic + b"\n" + line + b"\n"):
            raise ValueError("its checksum is wrong")
        fields = json.loads(line)
        rows = tuple((int(start), int(stop)) for start, stop in fields.pop("rows"))
        seal = Seal(block=block, rows=rows, **fields)
        _check_seal(seal, size, padding)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise WorkError(f"{path}: its seal is damaged ({error})") from error
    return seal


def _check_seal(seal: Seal, size: int, padding: bytes) -> None:
    """Raise ValueError where a seal contradicts itself or the file."""
    if seal.size != size:
        raise ValueError(f"the file has {size} bytes, the seal says {seal.size}")
    if padding.strip(b"\0"):
        raise ValueError("bytes behind it")
    edges = [seal.block, *(edge for pair in seal.rows for edge in pair), size]
    if any(first > second for first, second in pairwise(edges)):
        raise ValueError("row ranges out of order")
    texts = (seal.kind, seal.sha256, seal.structure_sha256)
    if not all(isinstance(text, str) for text in texts) or not isinstance(seal.tables, dict):
        raise ValueError("fields of other types")
