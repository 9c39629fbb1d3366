"""npy and npz files of others: a size that one claims is held against its bytes before memory is spent on it."""

import io
import math
import mmap
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from avr.core import AvrError, UsageError, WorkError, message_of

from .pickles import LARGEST_FILE, load_pickle

LONGEST_HEADER = 1 << 16  # bytes of an npy file in which its header ends; NumPy's own limit is lower
LARGEST_SCALE = 1032  # a byte of a file that is packed by DEFLATE holds no more than so many


def most_of(path: Path) -> int:
    """Bytes that a file of scores may unfold to: 4 times its own and 16 MB; reading takes up to four times as many."""
    return min(4 * path.stat().st_size + (16 << 20), LARGEST_FILE)


def npy_header(stream: IO[bytes], path: Path) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, and dtype of the npy file that a stream begins with.

    Raises:
        UsageError: none, or numbers that are no numbers.
    """
    try:
        version = np.lib.format.read_magic(stream)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = readers[version](stream)
    except Exception as error:  # the header is text of a stranger: NumPy raises what its parser raises
        raise UsageError(f"{path}: no npy array ({message_of(error)})") from error
    if dtype.kind not in "biufSUO":
        raise UsageError(f"{path}: an array of {dtype}, which are no numbers")
    if any(side < 0 for side in shape):
        raise UsageError(f"{path}: no npy array (shape {shape})")
    if not dtype.itemsize:
        raise UsageError(f"{path}: no npy array (items of no bytes)")
    return tuple(shape), fortran, dtype


def load_npy(content: bytes | mmap.mmap, path: Path) -> NDArray:
    """An array from the bytes of an npy file; one of objects goes through the restricted unpickler."""
    stream = io.BytesIO(content[:LONGEST_HEADER])
    shape, fortran, dtype = npy_header(stream, path)
    if dtype.kind == "O":
        objects = load_pickle(content[stream.tell() :], path, what="array of pickled objects")
        if not isinstance(objects, np.ndarray) or objects.shape != shape:
            raise UsageError(f"{path}: its objects have another shape than its header says")
        return objects
    there, wanted = len(content) - stream.tell(), math.prod(shape) * dtype.itemsize
    if there > wanted:
        raise UsageError(f"{path}: no npy array (shape {shape}, but {there} bytes behind its header)")
    try:
        flat = np.frombuffer(content, dtype, math.prod(shape), stream.tell())
        return flat.reshape(shape, order="F" if fortran else "C")
    except (ValueError, OverflowError) as error:
        raise WorkError(f"{path}: cut short ({error})") from error


def open_npz(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype, Callable[[], NDArray]]]:
    """Of each array of an npz file by its name: shape, dtype, and what reads it.

    Raises:
        UsageError: an array that is none of numbers, or is said to be larger than the file can hold.
        WorkError: damaged.
    """
    with _zip_of(path) as archive:
        found: dict[str, tuple[tuple[int, ...], np.dtype, Callable[[], NDArray]]] = {}
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                if member.file_size > min(LARGEST_SCALE * member.compress_size, LARGEST_FILE):
                    raise UsageError(f"{path}: {member.filename} has more than {LARGEST_FILE >> 30} GB, or says so")
                with archive.open(member) as stream:
                    shape, _, dtype = npy_header(io.BytesIO(stream.read(LONGEST_HEADER)), path)
                found[member.filename.removesuffix(".npy")] = shape, dtype, partial(_read_npz, path, member.filename)
        return found


def _read_npz(path: Path, name: str) -> NDArray:
    with _zip_of(path) as archive:
        return load_npy(archive.read(name), path)


@contextmanager
def _zip_of(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (AvrError, OSError):
        raise
    except Exception as error:  # zipfile raises its own, zlib's, struct's and more
        raise WorkError(f"{path}: a damaged zip archive ({message_of(error)})") from error


def load_npz(path: Path) -> dict[str, NDArray]:
    """All arrays of an npz file of scores, by name; refused where they would be more than `most_of` it."""
    arrays = open_npz(path)
    with _zip_of(path) as archive:
        total = sum(member.file_size for member in archive.infolist())
    if total > most_of(path):
        raise UsageError(f"{path}: unfolds to {total} bytes, or says so: save its arrays uncompressed (np.savez)")
    return {name: read() for name, (_, _, read) in arrays.items()}
