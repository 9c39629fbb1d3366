"""A linear SVM on the streams' concatenated scores."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avr.core import PositiveFloat

from ._base import Fuser
from ._linear_svm import fit_linear_svm, unit_rows


class Svm(Fuser):
    """Multi-class linear SVM on the L2-normalised softmax scores of all streams (Simonyan & Zisserman 2014, section 6).

    Departure from the paper: one against rest, as liblinear does; the paper does not say which multi-class form it
    used. Probabilities are a softmax of the margins and are not calibrated.

    Args:
        C: inverse strength of the penalty.
        kind: what the scores are, "auto", "logits" or "probabilities".

    Attributes:
        coefficients_: (K, S·K) float64. intercept_: (K,) float64.
    """

    def __init__(self, *, C: PositiveFloat = 1.0, kind: str | Sequence[str] = "auto") -> None:
        super().__init__(kind=kind)
        self.C = C

    def _learn(self, X: NDArray, y: NDArray, groups: NDArray) -> None:
        self.coefficients_, self.intercept_ = fit_linear_svm(self._features(X), y, X.shape[2], C=self.C)

    def _combine(self, X: NDArray) -> NDArray:
        return np.asarray(self._features(X) @ self.coefficients_.T + self.intercept_)

    def _features(self, X: NDArray) -> NDArray:
        return unit_rows(self._probabilities(X)).reshape(len(X), -1)


RULE = Svm
