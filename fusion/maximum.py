"""The largest of the streams' probabilities, a class."""

from numpy.typing import NDArray

from ._base import Fuser


def maximum(probabilities: NDArray) -> NDArray:
    """Maximum over streams: `(M, S, K)` probabilities to `(M, K)`."""
    return probabilities.max(axis=1)


class Maximum(Fuser):
    """The largest of the streams' probabilities for each class, normalised a video."""

    trained = False
    combines = "probabilities"

    def _combine(self, X: NDArray) -> NDArray:
        return maximum(self._probabilities(X))


RULE = Maximum
