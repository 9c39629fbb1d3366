"""Mean of the streams' probabilities."""

from numpy.typing import NDArray

from ._base import Fuser


def average(probabilities: NDArray) -> NDArray:
    """Mean over streams: `(M, S, K)` probabilities to `(M, K)`."""
    return probabilities.mean(axis=1)


class Average(Fuser):
    """Mean of the streams' probabilities: the late average fusion of STILT table 5 and the two-stream baseline."""

    trained = False
    combines = "probabilities"

    def _combine(self, X: NDArray) -> NDArray:
        return average(self._probabilities(X))


RULE = Average
