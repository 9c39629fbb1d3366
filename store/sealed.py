"""Sealed HDF5 files: every file avr writes says what it is, how long it is, and what its bytes must hash to.

A sealed file is an ordinary HDF5 file with a user block (bytes before the HDF5 signature, which HDF5 skips):

    avr-store 1\\n                     magic and format version
    {"kind": …, "size": …, …}\\n      the seal, one line of JSON
    crc32 of the two lines, 8 hexadecimal digits, \\n, then zeros up to the end of the block

The seal holds SHA-256 of everything behind the block, and SHA-256 of everything behind the block but feature rows
("structure"). So a reader checks a file's structure before the HDF5 library sees it, whatever the size of the rows,
and rows are checked one by one with the CRC-32 that the (checked) structure holds for each.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from avr.core import UsageError, WorkError

from .directory import Tables, table_of
from .disk import file_errors, open_handle, read_exactly

MAGIC = b"avr-store "
FORMAT_VERSION = 1
LARGEST_BLOCK = 1 << 26  # bytes; no seal avr writes comes near it
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Seal:
    """What a sealed file says of itself.

    Attributes:
        kind: "plan", "shard", "index", "packed" or "scores".
        block: bytes of the user block.
        size: bytes of the whole file.
        sha256: of the bytes behind the block, hexadecimal.
        structure_sha256: of the bytes behind the block that are no feature rows.
        rows: byte ranges (start, stop) of the file that hold feature rows, ascending.
        tables: where each table lies: name to (offset, dtype, shape); see `directory`.
    """

    kind: str
    block: int
    size: int
    sha256: str
    structure_sha256: str
    rows: tuple[tuple[int, int], ...]
    tables: dict[str, list[Any]]


class SealTooLarge(Exception):
    """The seal does not fit its block: build the file again with a larger one."""


def block_size(num_ranges: int) -> int:
    """Bytes of a user block that holds a seal with so many row ranges: a power of two, as HDF5 asks."""
    size = 4096
    while size < 4000 + 48 * num_ranges:
        size *= 2
    return size


def merge_ranges(ranges: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Ascending ranges with neighbours that touch made one."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], stop)
        elif stop > start:
            merged.append((start, stop))
    return tuple(merged)


def structure_ranges(seal_block: int, size: int, rows: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The ranges behind the block that are no feature rows."""
    edges = [seal_block, *(edge for pair in rows for edge in pair), size]
    return [(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if stop > start]


def seal_head(seal: Seal) -> bytes:
    """The user block of a sealed file."""
    fields = {name: value for name, value in vars(seal).items() if name != "block"}
    text = MAGIC + b"%d\n" % FORMAT_VERSION + json.dumps(fields, sort_keys=True).encode() + b"\n"
    text += b"%08x\n" % zlib.crc32(text)
    if len(text) > seal.block:
        raise SealTooLarge
    return text.ljust(seal.block, b"\0")


def seal_image(
    image: memoryview, kind: str, *, block: int, rows: Sequence[tuple[int, int]], tables: dict[str, list[Any]]
) -> Seal:
    """Write the seal into the user block of a file's image, in place."""
    view = image
    merged = merge_ranges(rows)
    structure = hashlib.sha256()
    for start, stop in structure_ranges(block, len(image), merged):
        structure.update(view[start:stop])
    whole = hashlib.sha256(view[block:]).hexdigest() if merged else structure.hexdigest()
    seal = Seal(kind, block, len(image), whole, structure.hexdigest(), merged, tables)
    view[:block] = seal_head(seal)
    return seal


def read_seal(handle: int, path: Path) -> Seal:
    """Read and check the user block of an open file.

    Raises:
        UsageError: no file of avr's, or one of another format version (the message says what to do).
        WorkError: damaged.
    """
    size = os.fstat(handle).st_size
    start = read_exactly(handle, 0, min(size, 1024), path)
    if not start.startswith(MAGIC):
        if start[:1024].strip(b"\0") == b"" or start.startswith(b"avr"):
            raise WorkError(f"{path}: damaged (its first bytes are gone)")
        raise UsageError(f"{path}: no file of avr's (it should start with 'avr-store {FORMAT_VERSION}')")
    version = start[len(MAGIC) :].split(b"\n", 1)[0][:20].decode("ascii", "replace")
    if version != str(FORMAT_VERSION):
        raise UsageError(
            f"{path}: format version {version!r}, but this avr reads version {FORMAT_VERSION}: "
            "update avr (pip install --upgrade avr), or extract again"
        )
    try:
        lines = start.split(b"\n", 3)
        while len(lines) < 4 and len(start) < min(size, LARGEST_BLOCK):
            start = read_exactly(handle, 0, min(size, 2 * len(start)), path)
            lines = start.split(b"\n", 3)
        text = lines[0] + b"\n" + lines[1] + b"\n"
        if lines[2] != b"%08x" % zlib.crc32(text):
            raise ValueError("its checksum is wrong")
        fields = json.loads(lines[1])
        rows = tuple((int(start), int(stop)) for start, stop in fields.pop("rows"))
        block = 1024
        while read_exactly(handle, block, len(HDF5_SIGNATURE), path) != HDF5_SIGNATURE:
            block *= 2
            if block > min(size, LARGEST_BLOCK):
                raise ValueError("no HDF5 signature")
        padding = read_exactly(handle, 0, block, path)[len(text) + 9 :]
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
    if not all(isinstance(text, str) for text in (seal.kind, seal.sha256, seal.structure_sha256)):
        raise ValueError("not text")
    if not isinstance(seal.tables, dict):
        raise ValueError("no tables")


def check_structure(handle: int, seal: Seal, path: Path) -> None:
    """Raise WorkError unless the bytes that are no rows hash to what the seal says."""
    digest = hashlib.sha256()
    for start, stop in structure_ranges(seal.block, seal.size, seal.rows):
        _hash_range(handle, path, start, stop, digest)
    if digest.hexdigest() != seal.structure_sha256:
        raise WorkError(f"{path}: damaged (its structure does not hash to what its seal says)")


def check_whole(path: Path, *kinds: str) -> Seal:
    """Hash a whole file against its seal.

    Raises:
        UsageError: no such file, not avr's, of another kind or format version.
        WorkError: damaged.
    """
    with open_handle(path) as handle:
        seal = read_seal(handle, path)
        if seal.kind not in kinds:
            raise UsageError(f"{path}: holds {seal.kind!r}, not {' or '.join(kinds)}")
        check_structure(handle, seal, path)
        digest = hashlib.sha256()
        _hash_range(handle, path, seal.block, seal.size, digest)
    if digest.hexdigest() != seal.sha256:
        raise WorkError(f"{path}: damaged (its bytes do not hash to what its seal says)")
    return seal


def hash_file(handle: int, path: Path, unsealed: Seal) -> Seal:
    """The seal of a file that lies on disk, all but its seal, from one whose sizes and hashes are not known yet."""
    size = os.fstat(handle).st_size
    whole, structure = hashlib.sha256(), hashlib.sha256()
    _hash_range(handle, path, unsealed.block, size, whole)
    for start, stop in structure_ranges(unsealed.block, size, unsealed.rows):
        _hash_range(handle, path, start, stop, structure)
    return replace(unsealed, size=size, sha256=whole.hexdigest(), structure_sha256=structure.hexdigest())


def _hash_range(handle: int, path: Path, start: int, stop: int, digest: Any) -> None:
    while start < stop:
        part = read_exactly(handle, start, min(stop - start, 1 << 24), path)
        digest.update(part)
        start += len(part)


@contextmanager
def open_sealed(path: Path, *kinds: str) -> Iterator[tuple[Seal, Tables]]:
    """The seal and tables of a file whose structure has been checked; what is wrong with them becomes avr's error.

    Args:
        path: the file.
        kinds: what it may be, such as "index".

    Raises:
        UsageError: no such file, not avr's, another kind or format version.
        WorkError: damaged.
    """
    with open_handle(path) as handle, file_errors(path):
        seal = read_seal(handle, path)
        if seal.kind not in kinds:
            raise UsageError(f"{path}: holds {seal.kind!r}, not {' or '.join(kinds)}")
        check_structure(handle, seal, path)
        content = {}
        for name, entry in seal.tables.items():
            offset, count, dtype, shape = table_of(name, entry, seal.size)
            raw = read_exactly(handle, offset, count, path) if count else b""
            content[name] = np.frombuffer(raw, dtype=dtype).reshape(shape)
        yield seal, Tables(content)
