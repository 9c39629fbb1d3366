"""A store or score file as plain arrays and a csv, for tools that know neither avr nor HDF5."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from avr.core import UsageError, WorkError, write_whole
from avr.store.disk import open_handle
from avr.store.features.reader import FeatureStore
from avr.store.sealed import read_seal

from .file import Scores, read_scores


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
    kind = "store"
    if not path.is_dir():
        with open_handle(path) as handle:
            kind = read_seal(handle, path).kind
    try:
        out.mkdir(parents=True, exist_ok=True)
        return _export_scores(read_scores(path), out) if kind == "scores" else _export_store(path, out)
    except OSError as error:
        raise WorkError(f"{out}: cannot be written ({error.strerror})") from error


def _export_store(path: Path, out: Path) -> list[Path]:
    with FeatureStore(path) as store:
        columns: dict[str, Any] = {
            name: getattr(store, name) for name in ("ids", "paths", "labels", "groups", "frames", "first_row", "views")
        }
        for name in store.split_names:
            train, test = store.split(name)
            columns[f"split {name}"] = np.where(train, "train", np.where(test, "test", ""))
        written = [_csv(out / "videos.csv", columns), _classes(out, store.class_names)]
        for array in store.arrays.values():
            target = _new(out / f"{array.stream}_{array.layer}.npy")
            with write_whole(target) as temporary, open(temporary, "wb") as file:
                shape = (int(store.views.sum()), *array.shape)
                header = {"descr": "<f2", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for _, rows in store.iterate([array.name], np.arange(len(store))):
                    file.write(rows[array.name].data.cast("B"))
            written.append(target)
        return written


def _export_scores(scores: Scores, out: Path) -> list[Path]:
    columns = {name: getattr(scores, name) for name in ("ids", "labels", "groups", "fold")}
    written = [_csv(out / "videos.csv", columns), _classes(out, scores.class_names)]
    for name, values in scores.streams.items():
        target = _new(out / f"{name}.npy")
        with write_whole(target) as temporary, open(temporary, "wb") as file:
            np.lib.format.write_array(file, np.ascontiguousarray(values), allow_pickle=False)
        written.append(target)
    return written


def _new(path: Path) -> Path:
    if path.exists():
        raise UsageError(f"{path}: is there already; choose another folder")
    return path


def _csv(path: Path, columns: dict[str, Any]) -> Path:
    with write_whole(_new(path)) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True))
    return path


def _classes(out: Path, class_names: tuple[str, ...]) -> Path:
    path = _new(out / "classes.txt")
    with write_whole(path) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
    return path
