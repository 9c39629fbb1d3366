"""Mean of the streams' probabilities."""

from numpy.typing import NDArray

from ._base import Fuser


class Average(Fuser):
    """Mean of the streams' probabilities: the late average fusion of STILT table 5 and the two-stream baseline."""

    trained = False
    combines = "probabilities"

    def _combine(self, X: NDArray) -> NDArray:
        return self._probabilities(X).mean(axis=1)


RULE = Average
