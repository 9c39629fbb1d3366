"""A store as plain arrays and a csv, for tools that know neither avr nor HDF5."""

from pathlib import Path
from typing import Any

import numpy as np

from avr.store.plain import new_file, write_lines, write_table

from .reader import FeatureStore


def export_features(path: Path, out: Path) -> list[Path]:
    """Write `<stream>_<layer>.npy` float16 (R, N, …), `videos.csv`, which says whose rows are which, `classes.txt`."""
    with FeatureStore(path) as store:
        columns: dict[str, Any] = {
            name: getattr(store, name) for name in ("ids", "paths", "labels", "groups", "frames", "first_row", "views")
        }
        for name in store.split_names:
            train, test = store.split(name)
            columns[f"split {name}"] = np.where(train, "train", np.where(test, "test", ""))
        written = [write_table(out / "videos.csv", columns), write_lines(out / "classes.txt", store.class_names)]
        for array in store.arrays.values():
            target = out / f"{array.stream}_{array.layer}.npy"
            with new_file(target) as file:
                shape = (int(store.views.sum()), *array.shape)
                np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
                for _, rows in store.iterate([array.name], np.arange(len(store))):
                    file.write(rows[array.name].data.cast("B"))
            written.append(target)
        return written
