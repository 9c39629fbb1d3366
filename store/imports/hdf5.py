"""HDF5 files of others, opened: plain arrays alone, and nothing that leads out of the file."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from avr.core import UsageError
from avr.store.npy import LARGEST_SCALE

from .arrays import DEEPEST, Array, Content, Several

FILTERS = {1, 2, 3, 4, 5, 6, 32000}  # those that come with h5py: DEFLATE, shuffle, checksum, szip, nbit, scale, LZF


def open_hdf5(path: Path) -> Content:
    import h5py

    with h5py.File(path, "r") as file:
        found: dict[str, Several] = dict(_hdf5_arrays(path, file, "", set()))
    if not found:
        raise UsageError(f"{path}: holds no array of numbers")
    return found


def _hdf5_arrays(path: Path, group: Any, above: str, seen: set[int], depth: int = 0) -> Iterator[tuple[str, Array]]:
    """Arrays in a group and below, by name. Links that are no hard ones, and what lies in other files, are refused."""
    import h5py

    for key in group:
        name, where = f"{above}{key}", f"{path}: {above}{key}"
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise UsageError(f"{where} is a link, which is not followed; copy what it leads to")
        item = group[key]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen or depth > DEEPEST:
            raise UsageError(f"{where} is there twice, or lies too deep")
        seen.add(address)
        if isinstance(item, h5py.Group):
            yield from _hdf5_arrays(path, item, f"{name}/", seen, depth + 1)
        elif isinstance(item, h5py.Dataset):
            text = h5py.check_string_dtype(item.dtype) is not None
            if text or item.dtype.kind in "fiub":
                _check_hdf5(item, where, path.stat().st_size)
                kind = "U" if text else item.dtype.kind
                yield name, Array(where, tuple(item.shape or ()), kind, partial(_hdf5_array, path, name, text=text))


def _check_hdf5(dataset: Any, where: str, size: int) -> None:
    """Refuse a data set that lies elsewhere, needs foreign code to be read, or claims more than it has."""
    if dataset.is_virtual or dataset.external:
        raise UsageError(f"{where} lies in other files, which are not opened; copy the features into one file")
    settings = dataset.id.get_create_plist()
    filters = {settings.get_filter(number)[0] for number in range(settings.get_nfilters())}
    if filters - FILTERS:
        raise UsageError(f"{where} is packed by filter {min(filters - FILTERS)}, which is not known; use gzip")
    scale = LARGEST_SCALE if filters else 1
    stored = min(dataset.id.get_storage_size(), size)
    if dataset.shape is None or dataset.size * dataset.dtype.itemsize > stored * scale:
        raise UsageError(f"{where} has shape {dataset.shape}, more than its {stored} bytes can hold")


def _hdf5_array(path: Path, name: str, *, text: bool) -> Any:
    """A data set, which keeps its file open as long as it is there."""
    import h5py

    dataset = h5py.File(path, "r")[name]
    return np.asarray(dataset.asstr()[()], dtype=str) if text else dataset
