"""A linear SVM over videos, kept as plain arrays so that it can be saved without pickle."""

import warnings

import numpy as np
from numpy.typing import NDArray

from avr.core import WorkError

# What a class without a training video scores: below every margin an SVM gives, and finite.
ABSENT = -30.0


def fit_linear_svm(features: NDArray, labels: NDArray, num_classes: int, *, C: float) -> tuple[NDArray, NDArray]:
    """One-against-rest linear SVM (liblinear, squared hinge, primal, deterministic).

    Args:
        features: (M, D).
        labels: (M,) class numbers.
        num_classes: K; a class without a video gets weight 0 and bias -30.
        C: inverse strength of the penalty.

    Returns:
        weights (K, D) and bias (K,), float64.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    # The primal has one unknown a feature, the dual one a video: take the smaller.
    machine = LinearSVC(C=C, dual=features.shape[1] > len(features), random_state=0, max_iter=5000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            machine.fit(features, labels)
        except ConvergenceWarning:
            raise WorkError(f"svm: no solution within 5000 steps at C={C:g}; try a smaller C") from None
    weights = np.zeros((num_classes, features.shape[1]))
    bias = np.full(num_classes, ABSENT)
    present = machine.classes_
    if len(present) == 2:  # liblinear gives one row, positive for the second class
        weights[present], bias[present] = (
            [-machine.coef_[0], machine.coef_[0]],
            [-machine.intercept_[0], machine.intercept_[0]],
        )
    else:
        weights[present], bias[present] = machine.coef_, machine.intercept_
    return weights, bias


def unit_rows(features: NDArray) -> NDArray:
    """Rows `(…, D)` scaled to length one; a row of zeros stays."""
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.where(length > 0, length, 1)
