"""What a rule is given, as arrays: scores as one array or an array or frame a stream; labels as numbers or names.

pandas is not imported: a frame is what has columns, an index and `to_numpy`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError


def is_frame(value: object) -> bool:
    """Whether a value is a table with named columns, such as pandas'."""
    return all(hasattr(value, name) for name in ("columns", "index", "to_numpy"))


def stacked(X: object) -> object:
    """Scores `(M, S, K)` of a list with an array or a frame `(M, K)` a stream; anything else as it is.

    Raises:
        UsageError: streams of several shapes; frames that differ in their columns or their index.
    """
    if not isinstance(X, (list, tuple)) or not X or not all(getattr(stream, "ndim", 0) == 2 for stream in X):
        return X
    frames = [stream for stream in X if is_frame(stream)]
    if frames and len(frames) < len(X):
        raise UsageError("X holds frames and arrays: give a frame for each stream, or an array for each")
    for part in ("columns", "index") if frames else ():
        first, *others = (list(getattr(frame, part)) for frame in frames)
        place = next((number for number, other in enumerate(others, 1) if other != first), None)
        if place is not None:
            raise UsageError(
                f"stream {place} has another {part} than stream 0: give frames of the same classes and videos in one "
                "order (frame.reindex_like)"
            )
    arrays = [stream.to_numpy() if is_frame(stream) else np.asarray(stream) for stream in X]
    shapes = list(dict.fromkeys(array.shape for array in arrays))
    if len(shapes) > 1:
        raise UsageError(f"X holds streams of shapes {' and '.join(map(str, shapes))}: each is (videos, classes)")
    return np.stack(arrays, axis=1)


def columns_of(X: object) -> NDArray[Any] | None:
    """The classes `(K,)` that a list of frames names, whole numbers or texts; None where X holds no frames.

    Raises:
        UsageError: names of several types, or one twice.
    """
    if not isinstance(X, (list, tuple)) or not X or not is_frame(X[0]):
        return None
    names = list(X[0].columns)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two columns are called {twice}: each class has one")
    for kinds, dtype in (((str,), np.str_), ((int, np.integer), np.int64)):
        if all(isinstance(name, kinds) for name in names):
            return np.array(names, dtype=dtype)
    raise UsageError("columns that are neither all texts nor all whole numbers: each is called as its class")


def numbered(
    y: object, num_videos: int, num_classes: int, columns: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The K classes, and the label of each of M videos as a place among them, `(M,)`.

    Args:
        y: class numbers 0 … K-1; or names, of which there are K, the columns of the scores in their sorted order (as
            scikit-learn has them).
        num_videos: M.
        num_classes: K.
        columns: names of the classes `(K,)`, which labels then are.

    Raises:
        UsageError: labels of another length, neither whole numbers nor names, or out of range.
    """
    labels = _of_videos(y, num_videos)
    if columns is None and not are_names(labels):
        return np.arange(num_classes), _as_numbers(labels, num_classes)
    if columns is None:
        columns = np.unique(labels.astype(str))
        if len(columns) != num_classes:
            raise UsageError(
                f"labels name {len(columns)} classes for scores of {num_classes}: which columns they are cannot be "
                "told; give class numbers, or frames whose columns are called as the classes"
            )
    places = {name: place for place, name in enumerate(columns.tolist())}
    unknown = next((label for label in labels.tolist() if label not in places), None)
    if unknown is not None:
        raise UsageError(f"label {unknown!r} is none of the columns: {', '.join(map(str, list(places)[:10]))}")
    return columns, np.array([places[label] for label in labels.tolist()], dtype=np.int64)


def _of_videos(y: object, num_videos: int) -> NDArray[Any]:
    labels = np.asarray(y)
    if labels.shape != (num_videos,):
        raise UsageError(
            f"labels of shape {labels.shape} for {num_videos} videos: X is an array (videos, streams, classes), or a "
            "list of (videos, classes), one a stream"
        )
    return labels


def are_names(labels: NDArray) -> bool:
    """Whether labels `(M,)` are texts."""
    return labels.dtype.kind == "U" or (
        labels.dtype.kind == "O" and len(labels) > 0 and all(isinstance(label, str) for label in labels)
    )


def _as_numbers(labels: NDArray[Any], num_classes: int) -> NDArray[np.int64]:
    """Labels as int64 `(M,)`; refused: not whole numbers, or out of range."""
    if labels.dtype.kind not in "iub" and not (labels.dtype.kind == "f" and (labels == np.floor(labels)).all()):
        raise UsageError(f"labels of type {labels.dtype}: they are class numbers 0 … {num_classes - 1}, or names")
    labels = labels.astype(np.int64)
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise UsageError(
            f"labels {labels.min()} … {labels.max()} for scores of {num_classes} classes: they count from 0 to "
            f"{num_classes - 1}"
        )
    return labels


def check_learnable(labels: NDArray[np.int64], classes: NDArray[Any] | Sequence[Any]) -> None:
    """Refuse what no rule can learn from: one video, or videos of one class."""
    if len(labels) < 2:
        raise UsageError("one video to learn from: give more, or use a rule that does not learn (average, multiply)")
    if (labels == labels[0]).all():
        raise UsageError(
            f"all {len(labels)} videos to learn from are of class {classes[labels[0]]}: give videos of at least two "
            "classes, or use a rule that does not learn (average, multiply)"
        )
