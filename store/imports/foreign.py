"""Files of features that other tools wrote, opened: which arrays they hold under which names, each read on demand.

Known are npy, npz, pkl, pt, safetensors, mat, h5 and csv. A size that a file claims is held against its bytes before
memory is spent on it, and nothing in a file is called or followed out of it.
"""

import csv
import math
import mmap
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from avr.core import AvrError, UsageError, message_of, open_file
from avr.store.npy import load_npy, npy_header, open_npz
from avr.store.pickles import LARGEST_FILE, Plain, load_pickle

from .arrays import OTHER, Array, Content, content_of
from .hdf5 import open_hdf5
from .matlab import open_mat

T = TypeVar("T")


def open_features(path: Path) -> Content:
    """What a file holds: one array without a name, several in order, or some by name ("a/b" where dicts are nested).

    Raises:
        UsageError: no such file, of no known kind, or nothing that can be read as features.
        WorkError: damaged.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path}: features of this kind are not known; known: {', '.join(READERS)}")
    return guarded(path, "features", lambda: reader(path))


def guarded(path: Path, what: str, read: Callable[[], T], *, most: float = math.inf) -> T:
    """What is read of a file of others', which may be none, of more than so many bytes, or forged (UsageError)."""
    try:
        with open_file(path) as file:
            if file.seek(0, 2) > most:
                raise UsageError(f"{path}: more than {most / 2**30:.0f} GB of {what}")
        return read()
    except AvrError:
        raise
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or message_of(error, OTHER)})") from error
    except Exception as error:  # what libraries, and dicts in dicts, make of a forged file has no end
        raise UsageError(f"{path}: cannot be read as {what}: {message_of(error, OTHER)}") from error


def _open_npy(path: Path) -> Content:
    with path.open("rb") as file:
        shape, _, dtype = npy_header(file, path)
        if dtype.kind == "O":
            file.seek(0)
            return content_of(load_npy(_whole(path), path), path)
    return Array(str(path), shape, dtype.kind, partial(mapped_npy, path))


def mapped_npy(path: Path) -> NDArray:
    """The array of an npy file, on disk."""
    if not path.stat().st_size:
        raise UsageError(f"{path}: is empty")
    with path.open("rb") as file:
        return load_npy(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), path)


def _open_npz(path: Path) -> Content:
    return content_of(
        {
            name: read() if dtype.kind == "O" else Array(f"{path}: {name}", shape, dtype.kind, read)
            for name, (shape, dtype, read) in open_npz(path).items()
        },
        path,
    )


def _open_pickle(path: Path) -> Content:
    return content_of(load_pickle(_whole(path), path), path)


def _whole(path: Path) -> bytes:
    if path.stat().st_size > LARGEST_FILE:
        raise UsageError(f"{path}: more than {LARGEST_FILE >> 30} GB, which no pickle is read of; save it as npy or h5")
    return path.read_bytes()


def load_torch(path: Path) -> Any:
    """The value of a PyTorch file, tensors as NumPy arrays, tuples as lists. PyTorch is loaded here."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a damaged file there is an error, too
            try:
                value = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # the format of before PyTorch 1.6 cannot be mapped
                value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its text advises to trust the file
        raise UsageError(f"{path}: holds more than tensors in lists and dicts; save those alone") from error

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            value = value.detach()
            if value.layout != torch.strided or value.numel() * value.element_size() > path.stat().st_size:
                raise UsageError(f"{path}: a tensor of shape {tuple(value.shape)}, more than the file holds")
            return (value.float() if value.dtype in (torch.bfloat16, torch.half) else value).numpy()
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    return plain(Plain(most=1000 + 4 * path.stat().st_size)(value))


def _open_torch(path: Path) -> Content:
    return content_of(load_torch(path), path)


def _open_safetensors(path: Path) -> Content:
    from safetensors import safe_open

    def read(name: str) -> NDArray:
        with safe_open(path, framework="pt") as file:
            tensor = file.get_tensor(name)
        return np.asarray(tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor)

    with safe_open(path, framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        return {
            name: Array(
                f"{path}: {name}",
                tuple(part.get_shape()),
                {"F": "f", "B": "b" if part.get_dtype() == "BOOL" else "f"}.get(part.get_dtype()[0], "i"),
                partial(read, name),
            )
            for name, part in slices.items()
        }


def _open_csv(path: Path) -> Content:
    """A line a step, with or without a header, as mmaction2 writes features of videos for localisation."""
    try:
        rows = [row for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as csv ({error})") from error
    steps = []
    for number, row in enumerate(rows):
        try:
            steps.append([float(cell) for cell in row])
        except ValueError as error:
            if number:
                raise UsageError(f"{path}: row {number + 1}: {error}") from error
    if not steps or len({len(step) for step in steps}) > 1:
        raise UsageError(f"{path}: rows of unequal length, or none of numbers")
    return Array.of(steps, str(path))


READERS: dict[str, Callable[[Path], Content]] = {
    ".npy": _open_npy,
    ".npz": _open_npz,
    ".pkl": _open_pickle,
    ".pickle": _open_pickle,
    ".pt": _open_torch,
    ".pth": _open_torch,
    ".safetensors": _open_safetensors,
    ".mat": open_mat,
    ".h5": open_hdf5,
    ".hdf5": open_hdf5,
    ".csv": _open_csv,
}
