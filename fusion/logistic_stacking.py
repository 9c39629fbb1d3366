"""A logistic regression on all streams' log-probabilities: flattered by random folds, seldom better."""

import warnings
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from avr.core import About, PositiveFloat

from ._base import Fuser, Kind
from .svm import of_all_classes


class LogisticStacking(Fuser):
    """Stacked generalisation (Wolpert 1992): multinomial logistic regression on the concatenated log-probabilities.

    It has (S·K + 1)·K weights where `awf` has K·S: with a few dozen videos a class it learns which source films there
    are. Under folds that split films it looks wonderful, under grouped ones it mostly loses to averaging.

    Args:
        C: inverse strength of the penalty on the standardised log-probabilities.

    Attributes:
        coefficients_: (K, S·K) float64. intercept_: (K,) float64. mean_, scale_: (S·K,) float64.
    """

    warning = (
        "logistic-stacking has a weight for every pair of classes and stream: results under random folds are not to be "
        "believed, and under grouped ones it seldom beats averaging"
    )

    def __init__(
        self, *, C: Annotated[PositiveFloat, About("Inverse strength of the penalty.")] = 0.01, kind: Kind = "auto"
    ) -> None:
        super().__init__(kind=kind)
        self.C = C

    def _learn(self, X: NDArray, y: NDArray, groups: NDArray) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        rows = self._log_probabilities(X).reshape(len(X), -1)
        self.mean_, scale = rows.mean(axis=0), rows.std(axis=0)
        self.scale_ = np.where(scale > 0, scale, 1)
        machine = LogisticRegression(C=self.C, max_iter=300)
        with warnings.catch_warnings():
            # Stopped a little early it is as good: what matters here is the penalty.
            warnings.simplefilter("ignore", ConvergenceWarning)
            machine.fit((rows - self.mean_) / self.scale_, y)
        self.coefficients_, self.intercept_ = of_all_classes(machine, X.shape[2], first=np.zeros_like)

    def _combine(self, X: NDArray) -> NDArray:
        rows = (self._log_probabilities(X).reshape(len(X), -1) - self.mean_) / self.scale_
        return np.asarray(rows @ self.coefficients_.T + self.intercept_)


RULE = LogisticStacking
