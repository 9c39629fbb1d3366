"""A score file as plain arrays and a csv, for tools that know neither avr nor HDF5."""

from pathlib import Path

import numpy as np

from avr.store.plain import new_file, write_lines, write_table

from .file import read_scores


def export_scores(path: Path, out: Path) -> list[Path]:
    """Write `<stream>.npy` float32 (M, K), `videos.csv` with ids, labels, groups, folds, and `classes.txt`."""
    scores = read_scores(path)
    columns = {name: getattr(scores, name) for name in ("ids", "labels", "groups", "fold")}
    written = [write_table(out / "videos.csv", columns), write_lines(out / "classes.txt", scores.class_names)]
    for name, values in scores.streams.items():
        with new_file(out / f"{name}.npy") as file:
            np.lib.format.write_array(file, np.ascontiguousarray(values), allow_pickle=False)
        written.append(out / f"{name}.npy")
    return written
