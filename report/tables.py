"""Figures taken from confusion matrices, as pure functions on arrays."""

import numpy as np
from numpy.typing import NDArray


def per_class_accuracy(confusion: NDArray) -> NDArray[np.float64]:
    """Accuracy `(K,)` of each class, from counts `(K, K)` with true classes as rows; NaN where a class has no video."""
    counts = confusion.sum(axis=1)
    right: NDArray[np.float64] = np.full(len(counts), np.nan)
    np.divide(np.diag(confusion), counts, out=right, where=counts > 0)
    return right


def most_confused(confusion: NDArray, count: int = 10) -> list[tuple[int, int, int, float]]:
    """The pairs of classes most often taken for one another's.

    Args:
        confusion: counts `(K, K)`, row the true class, column the predicted one.
        count: how many pairs at most.

    Returns:
        (true class, predicted class, videos, share of the true class's videos), most videos first; ties by larger
        share, then by smaller class numbers. Pairs that never occur are left out.
    """
    sizes = confusion.sum(axis=1)
    pairs = [
        (int(true), int(predicted), int(confusion[true, predicted]), float(confusion[true, predicted] / sizes[true]))
        for true, predicted in np.argwhere(confusion > 0)
        if true != predicted
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], -pair[3], pair[0], pair[1]))[:count]
