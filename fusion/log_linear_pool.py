"""Weighted product of the streams' probabilities, the weights by likelihood."""

import numpy as np
from numpy.typing import NDArray

from avr.core import log_softmax

from ._base import Fuser
from ._probabilities import log_loss

# Videos that are all told apart would take endless weights.
LARGEST_EXPONENT = 100.0


class LogLinearPool(Fuser):
    """Log-linear opinion pool: `p(k) ∝ Π_s p_s(k)^a_s`, a ≥ 0, fitted by likelihood (Heskes 1998).

    Calibration and weights at once: an exponent is a stream's weight over its temperature. The log-loss is convex in a.

    Attributes:
        exponents_: (S,) float64, between 0 and 100.
    """

    def _learn(self, X: NDArray, y: NDArray, groups: NDArray) -> None:
        from scipy.optimize import minimize

        scores = self._log_probabilities(X)
        S = X.shape[1]
        found = minimize(
            pool_loss,
            np.full(S, 1 / S),
            args=(scores, y),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, LARGEST_EXPONENT)] * S,
            options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-8},
        )
        self.exponents_ = np.asarray(found.x, dtype=np.float64)

    def class_weights(self) -> NDArray | None:
        """The exponents over their sum, the same for each class `(K, S)`; None if all are zero."""
        total = self.exponents_.sum()
        return np.tile(self.exponents_ / total, (len(self.classes_), 1)) if total > 0 else None

    def _combine(self, X: NDArray) -> NDArray:
        return np.einsum("msk,s->mk", self._log_probabilities(X), self.exponents_)


def pool_loss(exponents: NDArray, log_probabilities: NDArray, labels: NDArray) -> tuple[float, NDArray]:
    """Mean log-loss of the pool with exponents `(S,)` on `(M, S, K)` log-probabilities, and its gradient `(S,)`."""
    pooled = np.einsum("msk,s->mk", log_probabilities, exponents)
    fused = log_softmax(pooled, out=pooled)
    expected = np.einsum("msk,mk->s", log_probabilities, np.exp(fused)) / len(labels)
    observed = np.take_along_axis(log_probabilities, labels[:, None, None], axis=2)[:, :, 0].mean(axis=0)
    return log_loss(fused, labels), expected - observed


RULE = LogLinearPool
