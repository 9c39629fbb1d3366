"""Weighted product of the streams' probabilities, the weights by likelihood."""

import numpy as np
from numpy.typing import NDArray

from ._base import Fuser
from .programs import shared_exponents


class LogLinearPool(Fuser):
    """Log-linear opinion pool: `p(k) ∝ Π_s p_s(k)^a_s`, a ≥ 0, fitted by likelihood (Heskes 1998).

    Calibration and weights at once: an exponent is a stream's weight over its temperature. The log-loss is convex in a.

    Attributes:
        exponents_: (S,) float64, between 0 and 100.
    """

    def _learn(self, X: NDArray, y: NDArray, groups: NDArray) -> None:
        self.exponents_ = shared_exponents(self._log_probabilities(X), y)

    def class_weights(self) -> NDArray | None:
        """The exponents over their sum, the same for each class `(K, S)`; None if all are zero."""
        total = self.exponents_.sum()
        return np.tile(self.exponents_ / total, (len(self.classes_), 1)) if total > 0 else None

    def _combine(self, X: NDArray) -> NDArray:
        return np.einsum("msk,s->mk", self._log_probabilities(X), self.exponents_)


RULE = LogLinearPool
