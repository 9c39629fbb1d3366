"""Mean of the streams' log-probabilities: the product of their probabilities, normalised."""

from numpy.typing import NDArray

from ._base import Fuser


class Multiply(Fuser):
    """Geometric mean of the streams' probabilities, normalised a video."""

    trained = False

    def _combine(self, X: NDArray) -> NDArray:
        return self._log_probabilities(X).mean(axis=1)


RULE = Multiply
