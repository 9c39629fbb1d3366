"""What lies at a path, a store or a file of scores: described in plain values, checked to the last byte, and written
as plain files for tools that know neither avr nor HDF5.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, WorkError, note, safe_cell, write_whole

from .features.catalog import INDEX_NAME
from .features.check import verify_folder, verify_packed
from .features.opening import Opened
from .features.plan import PLAN_NAME
from .features.reader import FeatureStore
from .scores.file import TRAINED_ON, Scores, is_test, read_scores
from .sealed import open_sealed

SIZE = ("width", "height")


def _scores_at(path: Path) -> Scores | None:
    """The scores at a path; None where a store lies there. Raises as `describe`."""
    if path.is_dir():
        return None
    with open_sealed(path) as (seal, _):
        return read_scores(path) if seal.kind == "scores" else None


def describe(path: Path | str) -> dict[str, Any]:
    """Describe a store's folder, a packed file or a score file, with plain values only.

    Raises:
        UsageError: nothing of avr's there, or of another format version.
        WorkError: damaged.
    """
    path = Path(path)
    scores = _scores_at(path)
    return _describe_store(path) if scores is None else _describe_scores(path, scores)


def _describe_scores(path: Path, scores: Scores) -> dict[str, Any]:
    return {
        "kind": "scores",
        "path": str(path),
        "dataset": scores.dataset,
        "head": scores.head,
        "split": scores.split,
        "videos": len(scores.ids),
        "test_videos": int(is_test(scores.fold).sum()),
        "out_of_fold_videos": int((scores.fold >= 0).sum()),
        "trained_on_videos": int((scores.fold == TRAINED_ON).sum()),
        "classes": len(scores.class_names),
        "class_names": list(scores.class_names),
        "groups": len(np.unique(scores.groups)),
        "numbers": scores.kind,
        "streams": list(scores.streams),
        "fused": scores.fused,
        "provenance": scores.provenance,
    }


def _describe_store(path: Path) -> dict[str, Any]:
    with FeatureStore(path) as store:
        splits = {name: store.split(name) for name in store.split_names}
        streams = {name: _describe_stream(store, name) for name in store.streams}
        missing = sum(len(part.catalog.missing_shards) for part in store.parts)
        files = [file for part in store.parts for file in _files_of(part)] if path.is_dir() else [path]
        return {
            "kind": "store",
            "path": str(path),
            "packed": not path.is_dir(),
            "dataset": store.dataset,
            "videos": len(store),
            "classes": len(store.class_names),
            "class_names": list(store.class_names),
            "groups": len(np.unique(store.groups)),
            "rows": int(store.views.sum()),
            "frames_decoded": int(store.frames.sum()),
            "seconds": float(store.facts["seconds"].sum()),
            "rates": _counted(rate or "" for rate in np.round(store.facts["rate"], 2)),
            "varying_rates": int(store.facts["varies"].sum()),
            "sizes": _counted(
                f"{w}x{h}" if w else "" for w, h in zip(*(store.facts[name] for name in SIZE), strict=True)
            ),
            "codecs": _counted(store.facts["codec"]),
            "warnings": list(dict.fromkeys(line for part in store.parts for line in _misread(part.provenance))),
            "streams": streams,
            "arrays": {name: array for stream in streams.values() for name, array in stream["arrays"].items()},
            "splits": {
                name: {"train": int(train.sum()), "test": int(test.sum())} for name, (train, test) in splits.items()
            },
            "failures": store.failures,
            "notes": store.notes,
            "complete": store.complete,
            "missing_shards": missing,
            "shards": sum(len(part.catalog.files) for part in store.parts),
            "bytes_on_disk": sum(file.stat().st_size for file in files),
            "provenance": store.provenance,
            "digest": store.digest,
        }


def _describe_stream(store: FeatureStore, stream: str) -> dict[str, Any]:
    """What one stream holds, the videos of its own part counted."""
    part = next(part for part in store.parts if stream in part.streams)
    catalog = part.catalog
    arrays = [array for array in store.arrays.values() if array.stream == stream]
    return {
        "kind": store.kind(stream),
        "steps": arrays[0].shape[0],
        "arrays": {
            array.name: {
                "shape": list(array.shape),
                "dtype": str(array.dtype),
                "bytes": int(catalog.places[array.name]["stored"].sum(dtype=np.int64)),
            }
            for array in arrays
        },
        "videos": len(catalog.rows),
        "failures": len(catalog.failures),
        "missing_shards": len(catalog.missing_shards),
        "shard_videos": catalog.plan.shard_videos,
        "settings": store.settings(stream),
        "digest": part.digest,
    }


def _files_of(part: Opened) -> list[Path]:
    """The files of a part's folder that are there."""
    names = (PLAN_NAME, INDEX_NAME, *(name for name, _, _ in part.catalog.files))
    return [file for file in (part.path / name for name in names) if file.exists()]


def _counted(values: Iterable[Any]) -> dict[str, int]:
    """How often each value occurs, most often first."""
    return {str(value): count for value, count in Counter(values).most_common()}


def _misread(provenance: dict[str, Any]) -> list[str]:
    """What is known to be wrong with features that were made so."""
    version = str(provenance.get("versions", {}).get("opencv", ""))
    numbers = [int(part) for part in version.split(".")[:2] if part.isdigit()]
    if provenance.get("decoder") != "opencv" or numbers < [4, 13]:
        return []
    return [
        f"these features were decoded by OpenCV {version}, which misreads interlaced video; `avr datasets check` lists "
        "such videos, extract those again"
    ]


def verify(path: Path | str) -> dict[str, Any]:
    """Read every byte of a store's folder, a packed file or a score file, and check it.

    Returns:
        "ok" (bool), "damaged" ([{"file", "problem"}]), "missing_shards" (count), "files" and "bytes" read.

    Raises:
        UsageError: nothing of avr's there, or of another format version.
    """
    path = Path(path)
    if path.is_dir():
        return verify_folder(path)
    damaged = []
    try:
        with open_sealed(path, whole=True) as (seal, _):
            if seal.kind == "packed":
                verify_packed(path)
            elif seal.kind == "scores":
                read_scores(path)
    except WorkError as error:
        damaged.append({"file": str(path), "problem": str(error)})
    size = path.stat().st_size
    return {"ok": not damaged, "damaged": damaged, "missing_shards": 0, "files": 1, "bytes": size}


def export(path: Path | str, out: Path | str) -> list[Path]:
    """Write every array as `.npy`, `videos.csv` (a line a video) and `classes.txt` (a line a class).

    Of a store: `<stream>_<layer>.npy` float16 (R, N, …); `<stream>_row_frames.npy` and `<stream>_row_seconds.npy`
    (R, N), which frame and second each step shows; in the csv which rows are whose and what is known of each video. Of
    a score file: `<stream>.npy` float32 (M, K), and labels, groups, folds.

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
    scores = _scores_at(path)
    try:
        out.mkdir(parents=True, exist_ok=True)
        return _export_store(path, out) if scores is None else _export_scores(scores, out)
    except OSError as error:
        raise WorkError(f"{out}: cannot be written ({error.strerror})") from error


def _export_store(path: Path, out: Path) -> list[Path]:
    with FeatureStore(path) as store:
        names = ("ids", "paths", "labels", "groups", "frames", "first_row", "views")
        columns = {name: getattr(store, name) for name in names} | store.facts
        for name in store.split_names:
            train, test = store.split(name)
            columns[f"split {name}"] = np.where(train, "train", np.where(test, "test", ""))
        written = _write_lists(out, columns, store.class_names)
        for stream in store.streams:
            frames, seconds = store.shown(stream)
            written.append(_write_array(out / f"{stream}_row_frames.npy", "<i4", frames.shape, [frames]))
            written.append(_write_array(out / f"{stream}_row_seconds.npy", "<f8", seconds.shape, [seconds]))
        for array in store.arrays.values():
            rows = np.arange(int(store.views.sum()))
            parts = (found[array.name] for found in store.iterate_rows([array.name], rows))
            shape = (len(rows), *array.shape)
            written.append(_write_array(out / f"{array.stream}_{array.layer}.npy", "<f2", shape, parts))
        return written


def _export_scores(scores: Scores, out: Path) -> list[Path]:
    columns = {name: getattr(scores, name) for name in ("ids", "labels", "groups", "fold")}
    for name in ("ids", "groups"):  # names of anybody, which a spreadsheet must not run
        columns[name] = np.array([safe_cell(text) for text in columns[name].tolist()], dtype=str)
    changed = int((columns["ids"] != scores.ids).sum())
    if changed:
        note(f"{out / 'videos.csv'}: {changed} ids that a spreadsheet would run begin with an apostrophe")
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
            file.write(part.tobytes())
    return path


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, whole or not at all."""
    if path.exists():
        raise UsageError(f"{path}: is there already; choose another folder")
    with write_whole(path) as temporary, open(temporary, "wb") as file:
        yield file
