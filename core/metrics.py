"""Accuracy and its relatives, as pure functions on arrays. Scores `(M, K)`, larger is better; labels `(M,)` int.

Ties go to the class with the smaller number, as in `numpy.argmax`; a top-k that cuts through a tie keeps the smaller
numbers, so that constant scores are not counted as right k times over.
"""

import numpy as np
from numpy.typing import NDArray


def measure(scores: NDArray, labels: NDArray) -> dict[str, float]:
    """What every table of results shows, as shares: `top1`, `top5` and `mean_class` accuracy."""
    return {
        "top1": top_k_accuracy(scores, labels),
        "top5": top_k_accuracy(scores, labels, 5),
        "mean_class": mean_class_accuracy(scores, labels),
    }


def top_k_accuracy(scores: NDArray, labels: NDArray, k: int = 1) -> float:
    """Share of videos whose label is among the k best classes; with fewer than k classes, k is the class count.

    A label that is no class's number is never right.
    """
    if not len(labels):
        return float("nan")
    known = (labels >= 0) & (labels < scores.shape[1])
    true = np.take_along_axis(scores, np.where(known, labels, 0)[:, None], axis=1)  # (M, 1)
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    ahead = (scores > true) | ((scores == true) & earlier)  # counted, not sorted: a tenth of the time
    return float(np.mean((ahead.sum(axis=1) < k) & known & ~np.isnan(true[:, 0])))


def mean_class_accuracy(scores: NDArray, labels: NDArray) -> float:
    """Mean over the classes that occur in `labels` of the accuracy on that class's videos."""
    right = np.argmax(scores, axis=1) == labels
    return (
        float(np.mean([right[labels == label].mean() for label in np.unique(labels)])) if len(labels) else float("nan")
    )


def confusion_matrix(scores: NDArray, labels: NDArray, num_classes: int) -> NDArray[np.int64]:
    """Counts `(K, K)`: row the true class, column the predicted one."""
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(counts, (labels, np.argmax(scores, axis=1)), 1)
    return counts


def log_softmax(logits: NDArray, *, out: NDArray | None = None) -> NDArray:
    """Log-probabilities `(…, K)` of logits `(…, K)`, without overflow.

    Args:
        logits: logits, or log-probabilities that are to be normalised again.
        out: where they go, which may be `logits` itself; the arithmetic is then in its type. None: a new float64 array.
    """
    out = np.empty(logits.shape) if out is None else out
    np.subtract(logits, logits.max(axis=-1, keepdims=True), out=out, dtype=out.dtype)
    out -= np.log(np.exp(out).sum(axis=-1, keepdims=True))
    return out


def softmax(logits: NDArray, *, out: NDArray | None = None) -> NDArray:
    """Probabilities `(…, K)` of logits `(…, K)`; `out` as in `log_softmax`."""
    logarithms = log_softmax(logits, out=out)
    return np.exp(logarithms, out=logarithms)
