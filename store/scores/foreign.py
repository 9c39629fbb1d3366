"""Reading other tools' score files to one `(M, K)` array, with whatever ids, labels and class names they hold."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError
from avr.store.pickles import LARGEST_FILE, load_npy, load_npz, load_pickle

SCORE_KEYS = ("pred_scores", "pred_score", "scores", "score", "cls_score")
LABEL_KEYS = ("gt_label", "gt_labels", "label")
NAME_KEYS = ("filename", "frame_dir", "video_id", "name")


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
        ".npz": lambda path: _from_arrays(load_npz(path), path, "npz"),
        ".npy": lambda path: _from_items(load_npy(path.read_bytes(), path), path, "npy"),
        ".pkl": _read_pickle,
        ".pickle": _read_pickle,
        ".csv": _read_csv,
        ".txt": _read_csv,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path}: scores of this kind are not known; known: {', '.join(readers)}")
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UsageError(f"{path}: more than {LARGEST_FILE >> 30} GB of scores")
        foreign = reader(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
    if foreign.values.ndim != 2 or not foreign.values.size:
        raise UsageError(f"{path}: scores of shape {foreign.values.shape}, expected (videos, classes)")
    for name in ("ids", "labels"):
        column = getattr(foreign, name)
        if column is not None and len(column) != len(foreign.values):
            raise UsageError(f"{path}: {len(column)} {name} for {len(foreign.values)} videos")
    return foreign


def _read_pickle(path: Path) -> Foreign:
    """{video: vector}, mmaction2's list of vectors or of dicts, or a dict of arrays such as an npz holds."""
    value = load_pickle(path.read_bytes(), path)
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

    values, labels = first_of(*SCORE_KEYS, "arr_0"), first_of("labels", "label")
    names, classes = first_of("names", "ids", "videos", "video_names"), first_of("class_names", "classes")
    if values is None:
        raise UsageError(f"{path}: no array 'scores' in it, only {', '.join(map(str, arrays)) or 'nothing'}")
    foreign = _from_items(values, path, form)
    if labels is not None:
        own = _whole_numbers(labels, path)
        if foreign.labels is not None and not np.array_equal(foreign.labels, own):
            raise UsageError(f"{path}: the labels beside the scores and the array of labels disagree")
        foreign.labels = own
    if names is not None:
        foreign.ids = _texts(names, path)
    if classes is not None:
        foreign.class_names = _texts(classes, path)
    return foreign


def _from_items(items: Any, path: Path, form: str) -> Foreign:
    """Scores of a list of videos, whatever a video is: an array, a pair of array and label, or mmaction2's dict."""
    if isinstance(items, np.ndarray) and items.dtype.kind in "fiu":
        if items.ndim < 2 or not items.size:
            raise UsageError(f"{path}: scores of shape {items.shape}, expected (videos, classes)")
        return Foreign(_mean_over_crops(items, 1), form)
    videos = [_one_video(item, path, index) for index, item in enumerate(items)]
    widths = {len(vector) for vector, _, _ in videos}
    if len(widths) != 1:
        raise UsageError(f"{path}: videos with {' and '.join(map(str, sorted(widths)[:4])) or 'no'} scores each")
    vectors, labels, ids = zip(*videos, strict=True)
    foreign = Foreign(np.stack(vectors), form)
    if None not in labels:
        foreign.labels = _whole_numbers(labels, path)
    if None not in ids:
        foreign.ids = list(ids)
    return foreign


def _one_video(item: Any, path: Path, index: int) -> tuple[NDArray[np.float64], Any, str | None]:
    """Scores (K,), label or None, name or None."""
    label, video = None, None
    if isinstance(item, dict):
        video, label, item = (
            next((item[key] for key in keys if key in item), None) for keys in (NAME_KEYS, LABEL_KEYS, SCORE_KEYS)
        )
        label, item = (part.get("item") if isinstance(part, dict) else part for part in (label, item))
    elif isinstance(item, list | np.ndarray) and len(item) == 2:
        first = _numbers(item[0])
        if first is not None and first.ndim:  # TSN's (scores, label)
            item, label = item
    values = _numbers(item)
    if values is None or values.ndim < 1 or not values.size:
        raise UsageError(f"{path}: video {index} holds no scores ({type(item).__name__})")
    if label is not None:
        flat = np.asarray(label).reshape(-1)
        label = flat[0] if flat.size == 1 else None
    return _mean_over_crops(values, 0), label, None if video is None else str(video)


def _numbers(values: Any) -> NDArray[np.float64] | None:
    """Values as an array; None where they are no numbers, nor texts of numbers."""
    try:
        with np.errstate(all="ignore"):
            return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None


def _mean_over_crops(values: NDArray, axes: int) -> NDArray[np.float64]:
    """The first axes and the last one stay: (M, …, K) → (M, K)."""
    with np.errstate(all="ignore"):  # NaN and overflow are looked for later, and named
        flat = values.astype(np.float64).reshape(*values.shape[:axes], -1, values.shape[-1])
        return flat.mean(axis=axes)


def _column(values: Any) -> list[Any]:
    """The items of an array or list; anything else is an item itself."""
    items: list[Any] = np.asarray(values, dtype=object).reshape(-1).tolist()
    return items


def _whole_numbers(values: Any, path: Path) -> NDArray[np.int64]:
    numbers = _numbers(_column(values))
    if numbers is None or numbers.ndim != 1 or (numbers != np.round(numbers)).any() or (abs(numbers) > 1 << 40).any():
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
        text = path.read_text(encoding="utf-8-sig")
        rows = [row for row in csv.reader(text.splitlines(), delimiter="," if "," in text else " ") if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as csv ({error})") from error
    if not rows:
        raise UsageError(f"{path}: empty")
    header, rows = (rows[0], rows[1:]) if _numbers(rows[0][-1]) is None else ([], rows)
    if not rows or len({len(row) for row in [header or rows[0], *rows]}) != 1:
        raise UsageError(f"{path}: lines of unequal length, or none")
    label_column = next((index for index, name in enumerate(header) if name.strip().lower() == "label"), None)
    has_ids = _numbers(rows[0][0]) is None
    columns = [index for index in range(len(rows[0])) if index != label_column and not (has_ids and index == 0)]
    try:
        values = np.array([[float(row[index]) for index in columns] for row in rows])
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    return Foreign(
        values,
        "csv",
        ids=[row[0] for row in rows] if has_ids else None,
        labels=None if label_column is None else _whole_numbers([row[label_column] for row in rows], path),
        class_names=[header[index].strip() for index in columns] if header else None,
    )
