"""Stores and scores as plain files for tools that know neither avr nor HDF5. None that is there is written over."""

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, WorkError, write_whole

from .describe import scores_at
from .features.reader import FeatureStore
from .scores.file import Scores


def export(path: Path | str, out: Path | str) -> list[Path]:
    """Write every array as `.npy`, `videos.csv` (a line a video) and `classes.txt` (a line a class).

    Of a store: `<stream>_<layer>.npy` float16 (R, N, …), and in the csv which rows are whose. Of a score file:
    `<stream>.npy` float32 (M, K), and labels, groups, folds.

    Args:
        path: a store's folder, a packed file, or a score file.
        out: a folder; made when missing.

    Returns:
        the files written.

    Raises:
        UsageError: nothing of avr's there, or a file to be written is there already.
        WorkError: damaged, or the disk is full.
    """
    path, out = Path(path), Path(out)
    scores = scores_at(path)
    try:
        out.mkdir(parents=True, exist_ok=True)
        return _of_store(path, out) if scores is None else _of_scores(scores, out)
    except OSError as error:
        raise WorkError(f"{out}: cannot be written ({error.strerror})") from error


def _of_store(path: Path, out: Path) -> list[Path]:
    with FeatureStore(path) as store:
        names = ("ids", "paths", "labels", "groups", "frames", "first_row", "views")
        columns = {name: getattr(store, name) for name in names}
        for name in store.split_names:
            train, test = store.split(name)
            columns[f"split {name}"] = np.where(train, "train", np.where(test, "test", ""))
        written = _write_lists(out, columns, store.class_names)
        for array in store.arrays.values():
            shape = (int(store.views.sum()), *array.shape)
            parts = (rows[array.name] for _, rows in store.iterate([array.name], np.arange(len(store))))
            written.append(_write_array(out / f"{array.stream}_{array.layer}.npy", "<f2", shape, parts))
        return written


def _of_scores(scores: Scores, out: Path) -> list[Path]:
    columns = {name: getattr(scores, name) for name in ("ids", "labels", "groups", "fold")}
    written = _write_lists(out, columns, scores.class_names)
    for name, values in scores.streams.items():
        written.append(_write_array(out / f"{name}.npy", "<f4", values.shape, [np.ascontiguousarray(values)]))
    return written


def _write_lists(out: Path, columns: dict[str, NDArray], class_names: Iterable[str]) -> list[Path]:
    """videos.csv, columns of equal length with their names first, and classes.txt."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    lines = "".join(f"{name}\n" for name in class_names)
    for path, content in ((out / "videos.csv", text.getvalue()), (out / "classes.txt", lines)):
        with _new_file(path) as file:
            file.write(content.encode())
    return [out / "videos.csv", out / "classes.txt"]


def _write_array(path: Path, dtype: str, shape: tuple[int, ...], parts: Iterable[NDArray]) -> Path:
    """An array from its parts, one after another in memory's order."""
    with _new_file(path) as file:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(part.data.cast("B"))
    return path


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, whole or not at all."""
    if path.exists():
        raise UsageError(f"{path}: is there already; choose another folder")
    with write_whole(path) as temporary, open(temporary, "wb") as file:
        yield file
