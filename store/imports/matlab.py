"""MATLAB files of others, opened: numeric arrays, texts and cells of them. Versions 5 to 7 are read here, byte by byte.

(SciPy's reader dies of a bus error at a damaged file.) Such a file is 128 bytes and then elements, each of a tag, its
type and size, and its content. A matrix is an element that holds others: flags, dimensions, name, values. From 7.3 on,
a file is HDF5.
"""

import math
import mmap
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from avr.core import UsageError, WorkError

from .arrays import DEEPEST, Array, Content, content_of
from .hdf5 import open_hdf5

NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
TEXTS = {4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}  # types of characters; UINT16 is one of them
MATRIX, COMPRESSED = 14, 15
CELL, CHAR, FIRST_NUMBER, LAST_NUMBER = 1, 4, 6, 15  # classes of matrices
COMPLEX = 1 << 11
HEAD = 1 << 16  # unpacked bytes that hold flags, dimensions and name
Buffer = bytes | mmap.mmap


def open_mat(path: Path) -> Content:
    """A MATLAB file's arrays by name."""
    import h5py

    if h5py.is_hdf5(path):  # its arrays lie with their axes the other way round
        found = open_hdf5(path)
        assert isinstance(found, dict)
        return {
            name: Array(array.where, array.shape[::-1], array.kind, partial(_turned, array))
            for name, array in found.items()
            if isinstance(array, Array) and not name.startswith("#")
        }
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise UsageError(f"{path}: no MATLAB file of version 5 or later (save it with -v7)")
    return content_of({name: value for name, value in _variables(content, order, path) if name}, path)


def _turned(array: Array) -> Any:
    return array.read().T


def _variables(content: Buffer, order: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Name of each variable, and its value: an array that is read on demand, or cells that are."""
    at = 128
    while at < len(content):
        kind, start, size, _ = _element(content, at, order, path)
        if kind == COMPRESSED:
            packed = content[start : start + size]
            head = zlib.decompressobj().decompress(packed, HEAD)
            _, inner, _, _ = _element(head, 0, order, path, cut=True)
            name, shape, of_class, flags, _ = _matrix(head, inner, order, path)
        elif kind == MATRIX:
            name, shape, of_class, flags, _ = _matrix(content, start, order, path)
        else:
            raise WorkError(f"{path}: damaged (an element of type {kind} at byte {at})")
        where, value = f"{path}: {name}", partial(_value, content, at, order, path)
        if FIRST_NUMBER <= of_class <= LAST_NUMBER and not flags & COMPLEX:
            yield name, Array(where, shape, "f" if of_class < 8 else "i", value)
        elif of_class in (CELL, CHAR):
            yield name, value()
        else:
            yield name, Array(where, shape, "O", value)
        at = start + size


def _value(content: Buffer, at: int, order: str, path: Path) -> Any:
    """A variable's value: an array, texts, or a list."""
    kind, start, size, _ = _element(content, at, order, path)
    if kind != COMPRESSED:
        return _values(content, start, order, path, 0)
    packed = content[start : start + size]
    _, inner, claimed, _ = _element(zlib.decompressobj().decompress(packed, HEAD), 0, order, path, cut=True)
    return _values(zlib.decompressobj().decompress(packed, inner + claimed), inner, order, path, 0)


def _values(content: Buffer, at: int, order: str, path: Path, depth: int) -> Any:
    """The value of the matrix whose parts begin at a byte."""
    _, shape, of_class, _, at = _matrix(content, at, order, path)
    count = math.prod(shape)
    if of_class == CELL:
        if depth > DEEPEST or count > len(content):
            raise WorkError(f"{path}: damaged ({count} cells)")
        cells = []
        for _ in range(count):
            _, start, size, behind = _element(content, at, order, path)
            cells.append(_values(content, start, order, path, depth + 1) if size else np.empty(0))
            at = behind
        return cells
    kind, start, size, _ = _element(content, at, order, path)
    if of_class == CHAR and kind in TEXTS:
        coding = TEXTS[kind] + ("" if kind == 16 else "-le" if order == "<" else "-be")
        signs = np.array(list(bytes(content[start : start + size]).decode(coding, "replace")), dtype="U1")
        rows = signs.reshape(shape, order="F") if signs.size == count else signs[None]
        return np.array(["".join(row).rstrip() for row in rows.reshape(len(rows), -1)])
    if kind not in NUMBERS:
        raise WorkError(f"{path}: damaged (values of type {kind})")
    dtype = np.dtype(order + NUMBERS[kind])
    if count * dtype.itemsize != size:
        raise WorkError(f"{path}: damaged ({size} bytes for an array of shape {shape})")
    return np.frombuffer(content, dtype, count, start).reshape(shape, order="F")


def _matrix(content: Buffer, at: int, order: str, path: Path) -> tuple[str, tuple[int, ...], int, int, int]:
    """Name, shape, class, flags of the matrix whose parts begin at a byte, and where its values do."""
    _, start, size, at = _element(content, at, order, path)
    flags = int(np.frombuffer(content, order + "u4", 1, start)[0]) if size >= 4 else 0
    kind, start, size, at = _element(content, at, order, path)
    shape = tuple(np.frombuffer(content, order + "i4", size // 4, start).tolist())
    if kind != 5 or not shape or min(shape) < 0:
        raise WorkError(f"{path}: damaged (an array of shape {shape})")
    _, start, size, at = _element(content, at, order, path)
    return bytes(content[start : start + size]).decode("utf-8", "replace"), shape, flags & 0xFF, flags, at


def _element(content: Buffer, at: int, order: str, path: Path, *, cut: bool = False) -> tuple[int, int, int, int]:
    """Type, first byte and size of the element at a byte, and where the next begins; with `cut`, its end may lack."""
    if at + 8 > len(content):
        raise WorkError(f"{path}: damaged (cut short)")
    kind, size = np.frombuffer(content, order + "u4", 2, at).tolist()
    start = at + 8
    if kind >> 16:  # at most four bytes, which lie in the tag
        kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
    if start + size > len(content) and not cut:
        raise WorkError(f"{path}: damaged (an element of {size} bytes, which are not there)")
    return kind, start, size, start + size + (-(start + size) % 8)
