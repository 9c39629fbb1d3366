"""Mean of the streams' log-probabilities: the product of their probabilities, normalised."""

from numpy.typing import NDArray

from ._base import Fuser


def multiply(log_probabilities: NDArray) -> NDArray:
    """Mean over streams: `(M, S, K)` log-probabilities to `(M, K)`."""
    return log_probabilities.mean(axis=1)


class Multiply(Fuser):
    """Geometric mean of the streams' probabilities, normalised a video."""

    trained = False

    def _combine(self, X: NDArray) -> NDArray:
        return multiply(self._log_probabilities(X))


RULE = Multiply
