"""Reading other tools' score files, each kind by its suffix."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from avr.core import UsageError, load_extra, read_text
from avr.store.imports.arrays import Array
from avr.store.imports.foreign import guarded, load_torch
from avr.store.imports.matlab import open_mat
from avr.store.npy import load_npy, load_npz, most_of
from avr.store.pickles import LARGEST_FILE, load_pickle

from .bracketed import read_cells, read_views
from .columns import column_of, found_in_columns
from .found import Found, Known, Reading, pick, text_of
from .objects import found_in
from .text import read_columns
from .values import column_in


def read_foreign(path: Path, known: Known, reading: Reading) -> Found:
    """Read a score file by its suffix.

    Raises:
        UsageError: no such file, a format not known, no scores in it, or several readings of them.
        WorkError: damaged.
    """
    suffix = path.suffix.lower()
    if suffix not in SCORE_SUFFIXES:
        raise UsageError(f"{path}: scores of this kind are not known; known: {', '.join(SCORE_SUFFIXES)}")

    def found() -> Found:
        if suffix in TEXTS:
            return _found_in_text(path, known, reading)
        form = FORMS.get(suffix, suffix[1:])
        reading.check(path, form, ("id_column", "label_column", "array"))
        if suffix in PARQUET:
            return found_in_frame(_read_parquet(path), str(path), form, known, reading)
        return found_in(READERS[suffix](path), path, form, known, reading)

    return guarded(path, "scores", found, most=LARGEST_FILE)


def _found_in_text(path: Path, known: Known, reading: Reading) -> Found:
    form = path.suffix[1:].lower()
    text = read_text(path)
    viewed = read_views(path, text)
    if viewed is not None:
        reading.check(path, viewed.form, ())
        return viewed
    cells = read_cells(path, text)
    if cells is not None:
        reading.check(path, f"{form} with lists", ("id_column", "label_column", "array"))
        return found_in_frame(cells, str(path), f"{form} with lists", known, reading)
    columns, lines, cut = read_columns(path, text, reading.delimiter, known.names)
    return found_in_columns(columns, str(path), f"{form}, {cut}", known, reading, lines)


def read_labels(path: Path) -> dict[str, Any]:
    """Labels by name, of a pickle or JSON of {name: label}, (names, labels) or dicts of both (`LABEL_SUFFIXES`).

    Raises:
        UsageError: no such file, none of these, or two labels of one name.
        WorkError: damaged.
    """
    reader = READERS[path.suffix.lower()]
    names, labels = guarded(path, "labels", lambda: _labels_in(reader(path), path), most=LARGEST_FILE)
    found: dict[str, Any] = {}
    for name, label in zip(names, labels, strict=True):
        if found.setdefault(name, label) != label:
            raise UsageError(f"{path}: {name} has label {found[name]} and label {label}")
    return found


def _labels_in(value: Any, path: Path) -> tuple[list[str], list[Any]]:
    """Names and labels of videos in a pickle or JSON: {name: label}, (names, labels), or dicts of both.

    Raises:
        UsageError: neither.
    """
    if isinstance(value, dict) and isinstance(value.get("annotations"), list):  # pyskl's
        value = value["annotations"]
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        value = {key: [item.get(key) for item in value] for key in value[0]}
    pair = value if isinstance(value, list | tuple) and len(value) == 2 else ()
    if isinstance(value, dict):
        chosen = [pick([str(key) for key in value], role) for role in ("ids", "labels")]
        pair = [value.get(key) for key in chosen]
        if None in chosen:
            pair = list(value), list(value.values())
    columns = [column_in(part) for part in pair if part is not None]
    if len(columns) == 2 and columns[0] and columns[1] and len(columns[0]) == len(columns[1]):
        return [text_of(name, path, "names") for name in columns[0]], columns[1]
    raise UsageError(f"{path}: no labels: expected {{name: label}}, (names, labels), or dicts of a name and a label")


def found_in_frame(columns: dict[str, Any], where: str, form: str, known: Known, reading: Reading) -> Found:
    """The scores in columns by name; a column of arrays holds all scores of a video."""
    tall = {name for name, cells in columns.items() if len(cells) and isinstance(cells[0], list | tuple | np.ndarray)}
    if tall:
        found = found_in({name: list(cells) for name, cells in columns.items()}, Path(where), form, known, reading)
        found.values = list(found.values)  # one a video
        return found
    table = [column_of(name, cells) for name, cells in columns.items()]
    return found_in_columns(table, where, form, known, reading)


def columns_of_frame(frame: Any) -> dict[str, Any]:
    """Columns of a pandas DataFrame, its index first where that says something."""
    pd = load_extra("pandas", "a DataFrame")
    if frame.columns.nlevels > 1 or frame.index.nlevels > 1:
        raise UsageError("a DataFrame with several levels of columns or rows: make it one level")
    names = [str(name) for name in frame.columns]
    columns: dict[str, Any] = {}
    if not isinstance(frame.index, pd.RangeIndex) and "" not in names:
        columns[str(frame.index.name or "")] = frame.index.tolist()
    for place, name in enumerate(names):
        if name in columns:
            raise UsageError(f"a DataFrame with two columns {name!r}")
        cells = frame.iloc[:, place]
        columns[name] = cells.to_numpy() if cells.dtype.kind in "fiu" else cells.astype(object).tolist()
    return columns


def _read_parquet(path: Path) -> dict[str, Any]:
    file = load_extra("pyarrow.parquet", f"{path}: parquet", extra="pandas").ParquetFile(path)
    about = file.metadata
    claimed = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
    if max(claimed, about.num_rows * about.num_columns) > most_of(path):
        raise UsageError(f"{path}: unfolds to {claimed} bytes, or says so: write it uncompressed, or as csv")
    found: dict[str, Any] = {}
    for name, column in zip(file.schema_arrow.names, file.read().columns, strict=True):
        numeric = column.type.num_fields == 0 and str(column.type).startswith(("float", "double", "int", "uint"))
        found[name] = column.to_numpy() if numeric and not column.null_count else column.to_pylist()
    return found


def _read_npy(path: Path) -> Any:
    return load_npy(path.read_bytes(), path)


def _read_json(path: Path) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise UsageError(f"{path}: {key[:80]!r} stands there twice")
            found[key] = value
        return found

    text = read_text(path)
    try:
        if path.suffix.lower() == ".jsonl":
            return [json.loads(line, object_pairs_hook=once) for line in text.splitlines() if line.strip()]
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: cannot be read as JSON ({error.msg})") from error


def _read_mat(path: Path) -> Any:
    """A MATLAB file's arrays; texts and cells of texts as lists."""
    content = open_mat(path)
    assert isinstance(content, dict)

    def plain(value: Any) -> Any:
        if isinstance(value, Array):
            array = value.read()
            return array.tolist() if array.dtype.kind in "US" and array.ndim == 1 else array
        items = [plain(item) for item in value]
        return [item[0] if isinstance(item, list) and len(item) == 1 else item for item in items]

    return {name: plain(value) for name, value in content.items() if not name.startswith("__")}


READERS: dict[str, Callable[[Path], Any]] = {
    ".npz": load_npz,
    ".npy": _read_npy,
    ".pkl": lambda path: load_pickle(path.read_bytes(), path),
    ".pickle": lambda path: load_pickle(path.read_bytes(), path),
    ".json": _read_json,
    ".jsonl": _read_json,
    ".pt": load_torch,
    ".pth": load_torch,
    ".mat": _read_mat,
}
TEXTS = (".csv", ".tsv", ".txt")
PARQUET = (".parquet", ".pq")
FORMS = {".pkl": "pickle", ".pt": "PyTorch", ".pth": "PyTorch", ".mat": "MATLAB"}
LABEL_SUFFIXES = (".pkl", ".pickle", ".json", ".jsonl")
SCORE_SUFFIXES = (*READERS, *TEXTS, *PARQUET)
