"""Reading other tools' score files to one `(M, K)` array, with whatever ids, labels and class names they hold."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError

from .pickles import LARGEST_FILE, load_npy, load_npz, load_pickle

SCORE_KEYS = ("pred_scores", "pred_score", "scores", "score", "cls_score")


@dataclass
class Foreign:
    """What a foreign file holds: `values` (M, K) float64; ids, labels (M,) and class names where it has them."""

    values: NDArray[np.float64]
    format: str
    ids: list[str] | None = None
    labels: NDArray[np.int64] | None = None
    class_names: list[str] | None = None


def read_foreign(path: Path) -> Foreign:
    """Read a score file by its suffix: npz, npy, pkl/pickle, csv/txt.

    Raises:
        UsageError: no such file, a format not known, or no scores in it.
        WorkError: damaged.
    """
    readers: dict[str, Callable[[Path], Foreign]] = {
        ".npz": _read_npz,
        ".npy": _read_npy,
        ".pkl": _read_pickle,
        ".pickle": _read_pickle,
        ".csv": _read_csv,
        ".txt": _read_csv,
    }
    if path.suffix.lower() not in readers:
        raise UsageError(f"{path}: scores of this kind are not known; known: {', '.join(readers)}")
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    foreign = readers[path.suffix.lower()](path)
    if foreign.values.ndim != 2 or not foreign.values.size:
        raise UsageError(f"{path}: scores of shape {foreign.values.shape}, expected (videos, classes)")
    for name in ("ids", "labels"):
        column = getattr(foreign, name)
        if column is not None and len(column) != len(foreign.values):
            raise UsageError(f"{path}: {len(column)} {name} for {len(foreign.values)} videos")
    return foreign


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UsageError(f"{path}: more than {LARGEST_FILE >> 30} GB of scores")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error


def _read_npz(path: Path) -> Foreign:
    """TSN's tools and their heirs: object rows of (crops × K, label), or plain arrays."""
    return _from_arrays(load_npz(path), path, "npz")


def _read_npy(path: Path) -> Foreign:
    return _from_items(load_npy(_content(path), path), path, "npy")


def _read_pickle(path: Path) -> Foreign:
    """{video: vector}, mmaction2's list of vectors or of dicts, or a dict of arrays such as an npz holds."""
    value = load_pickle(_content(path), path)
    if isinstance(value, dict) and "scores" in value and "names" in value:
        return _from_arrays(value, path, "pickled dict of arrays")
    if isinstance(value, dict):
        if not value or not all(isinstance(key, str | bytes) for key in value):
            raise UsageError(f"{path}: a pickled dict, but not of video names")
        foreign = _from_items(list(value.values()), path, "pickled {video: vector}")
        foreign.ids = _texts(list(value), path)
        return foreign
    if isinstance(value, list | np.ndarray):
        return _from_items(value, path, "mmaction2's list of results" if isinstance(value, list) else "pickled array")
    raise UsageError(f"{path}: a pickled {type(value).__name__}, which are no scores")


def _from_arrays(arrays: Mapping[str, Any], path: Path, form: str) -> Foreign:
    """Scores and what else of a video stands beside them under a usual name."""

    def first_of(*names: str) -> Any:
        return next((arrays[name] for name in names if name in arrays), None)

    values = first_of(*SCORE_KEYS, "arr_0")
    if values is None:
        raise UsageError(f"{path}: no array 'scores' in it, only {', '.join(map(str, arrays)) or 'nothing'}")
    foreign = _from_items(values, path, form)
    labels = first_of("labels", "label")
    if labels is not None:
        own = _whole_numbers(labels, path)
        if foreign.labels is not None and not np.array_equal(foreign.labels, own):
            raise UsageError(f"{path}: the labels beside the scores and the array of labels disagree")
        foreign.labels = own
    names = first_of("names", "ids", "videos", "video_names")
    if names is not None:
        foreign.ids = _texts(names, path)
    classes = first_of("class_names", "classes")
    if classes is not None:
        foreign.class_names = _texts(classes, path)
    return foreign


def _from_items(items: Any, path: Path, form: str) -> Foreign:
    """Scores of a list of videos, whatever a video is: an array, a pair of array and label, or mmaction2's dict."""
    if isinstance(items, np.ndarray) and items.dtype.kind in "fiu":
        if items.ndim < 2:
            raise UsageError(f"{path}: scores of shape {items.shape}, expected (videos, classes)")
        return Foreign(_mean_over_crops(items, path), form)
    vectors, labels, ids = [], [], []
    for index, item in enumerate(items):
        vector, label, video = _one_video(item, path, index)
        vectors.append(vector)
        labels.append(label)
        ids.append(video)
    widths = {len(vector) for vector in vectors}
    if len(widths) != 1:
        raise UsageError(f"{path}: videos with {' and '.join(map(str, sorted(widths)[:4])) or 'no'} scores each")
    foreign = Foreign(np.stack(vectors), form)
    if all(label is not None for label in labels):
        foreign.labels = _whole_numbers(labels, path)
    if all(video is not None for video in ids):
        foreign.ids = [str(video) for video in ids]
    return foreign


def _one_video(item: Any, path: Path, index: int) -> tuple[NDArray[np.float64], Any, str | None]:
    """Scores (K,), label or None, name or None."""
    label, video = None, None
    if isinstance(item, dict):
        video = next((item[key] for key in ("filename", "frame_dir", "video_id", "name") if key in item), None)
        label = next((item[key] for key in ("gt_label", "gt_labels", "label") if key in item), None)
        label = label.get("item") if isinstance(label, dict) else label
        found = next((item[key] for key in SCORE_KEYS if key in item), None)
        item = found.get("item") if isinstance(found, dict) else found
    elif isinstance(item, list | np.ndarray) and len(item) == 2 and np.ndim(_first(item)) >= 1:
        item, label = item[0], item[1]  # TSN's (scores, label)
    try:
        with np.errstate(all="ignore"):
            values = np.asarray(item, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{path}: video {index} holds no numbers ({type(item).__name__})") from error
    if values.ndim < 1 or not values.size:
        raise UsageError(f"{path}: video {index} holds no scores (shape {values.shape})")
    if label is not None:
        flat = np.asarray(label).reshape(-1)
        label = flat[0] if flat.size == 1 else None
    with np.errstate(all="ignore"):
        mean = values.reshape(-1, values.shape[-1]).mean(axis=0)
    return mean, label, None if video is None else str(video)


def _first(item: Any) -> Any:
    try:
        with np.errstate(all="ignore"):
            return np.asarray(item[0], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _mean_over_crops(values: NDArray, path: Path) -> NDArray[np.float64]:
    """(M, …, K) → (M, K)."""
    if not values.size:
        raise UsageError(f"{path}: scores of shape {values.shape}, expected (videos, classes)")
    with np.errstate(all="ignore"):  # NaN and overflow are looked for later, and named
        return values.astype(np.float64).reshape(len(values), -1, values.shape[-1]).mean(axis=1)


def _column(values: Any) -> list[Any]:
    """The items of an array or list; anything else is an item itself."""
    if isinstance(values, np.ndarray):
        return list(values.reshape(-1).tolist())
    return list(values) if isinstance(values, list | tuple) else [values]


def _whole_numbers(values: Any, path: Path) -> NDArray[np.int64]:
    try:
        numbers = np.array([float(value) for value in _column(values)])
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{path}: labels that are no numbers") from error
    if not np.isfinite(numbers).all() or (numbers != np.round(numbers)).any() or (np.abs(numbers) > 1 << 40).any():
        raise UsageError(f"{path}: labels that are no whole numbers")
    return numbers.astype(np.int64)


def _texts(values: Any, path: Path) -> list[str]:
    found = [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in _column(values)]
    if not all(isinstance(value, str) for value in found):
        raise UsageError(f"{path}: names that are no text")
    return [str(value) for value in found]


def _read_csv(path: Path) -> Foreign:
    """A line a video: id and K scores, or K scores; a first line of words names the columns ("label" is the label)."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            text = file.read()
        rows = [row for row in csv.reader(text.splitlines(), delimiter="," if "," in text else " ") if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as csv ({error})") from error
    if not rows:
        raise UsageError(f"{path}: empty")
    named = not _is_number(rows[0][-1])
    header, rows = (rows[0], rows[1:]) if named else ([], rows)
    if not rows or len({len(row) for row in [header or rows[0], *rows]}) != 1:
        raise UsageError(f"{path}: lines of unequal length, or none")
    label_column = next((index for index, name in enumerate(header) if name.strip().lower() == "label"), None)
    has_ids = not _is_number(rows[0][0])
    columns = [index for index in range(len(rows[0])) if index != label_column and not (has_ids and index == 0)]
    try:
        values = np.array([[float(row[index]) for index in columns] for row in rows])
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    foreign = Foreign(values, "csv", ids=[row[0] for row in rows] if has_ids else None)
    if label_column is not None:
        foreign.labels = _whole_numbers([row[label_column] for row in rows], path)
    if header:
        foreign.class_names = [header[index].strip() for index in columns]
    return foreign


def _is_number(text: str) -> bool:
    try:
        float(text)
        return True
    except ValueError:
        return False
