"""Accuracy and its relatives, as pure functions on arrays. Scores `(M, K)`, larger is better; labels `(M,)` int.

Ties go to the class with the smaller number, as in `numpy.argmax`; a top-k that cuts through a tie keeps the smaller
numbers, so that constant scores are not counted as right k times over.
"""

import numpy as np
from numpy.typing import NDArray


def top_k_accuracy(scores: NDArray, labels: NDArray, k: int = 1) -> float:
    """Share of videos whose label is among the k best classes; with fewer than k classes, k is the class count."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]  # (M, k)
    return float(np.mean((best == labels[:, None]).any(axis=1))) if len(labels) else float("nan")


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


def log_softmax(logits: NDArray) -> NDArray:
    """Log-probabilities `(…, K)` of logits `(…, K)`, in float64 and without overflow."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
