"""A linear SVM on the streams' concatenated scores."""

import warnings
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from avr.core import About, PositiveFloat, WorkError

from ._base import Fuser, Kind

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

    Raises:
        WorkError: no solution in 5000 steps.
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
    return of_all_classes(machine, num_classes, first=np.negative)


def of_all_classes(machine: Any, num_classes: int, *, first: Callable[[NDArray], NDArray]) -> tuple[NDArray, NDArray]:
    """What a linear machine has learnt, laid out for all K classes: weights `(K, D)` and bias `(K,)`.

    Of two classes scikit-learn gives one row, positive for the second; `first` makes the first one's of it.
    """
    weights, bias = np.zeros((num_classes, machine.coef_.shape[1])), np.full(num_classes, ABSENT)
    for every, learnt in ((weights, machine.coef_), (bias, machine.intercept_)):
        every[machine.classes_] = np.concatenate([first(learnt), learnt]) if len(machine.classes_) == 2 else learnt
    return weights, bias


def unit_rows(features: NDArray) -> NDArray:
    """Rows `(…, D)` scaled to length one; a row of zeros stays."""
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.where(length > 0, length, 1)


class Svm(Fuser):
    """Multi-class linear SVM on the L2-normalised softmax scores of all streams (Simonyan & Zisserman 2014, section 6).

    Departure from the paper: one against rest, as liblinear does; the paper does not say which multi-class form it
    used. Probabilities are a softmax of the margins and are not calibrated.

    Args:
        C: inverse strength of the penalty.

    Attributes:
        coefficients_: (K, S·K) float64. intercept_: (K,) float64.
    """

    def __init__(
        self, *, C: Annotated[PositiveFloat, About("Inverse strength of the penalty.")] = 1.0, kind: Kind = "auto"
    ) -> None:
        super().__init__(kind=kind)
        self.C = C

    def _learn(self, X: NDArray, y: NDArray, groups: NDArray) -> None:
        self.coefficients_, self.intercept_ = fit_linear_svm(self._features(X), y, X.shape[2], C=self.C)

    def _combine(self, X: NDArray) -> NDArray:
        return np.asarray(self._features(X) @ self.coefficients_.T + self.intercept_)

    def _features(self, X: NDArray) -> NDArray:
        return unit_rows(self._probabilities(X)).reshape(len(X), -1)


RULE = Svm
