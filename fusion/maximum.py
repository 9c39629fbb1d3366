"""The largest of the streams' probabilities, a class."""

from numpy.typing import NDArray

from ._base import Fuser


class Maximum(Fuser):
    """The largest of the streams' probabilities for each class, normalised a video."""

    trained = False
    combines = "probabilities"

    def _combine(self, X: NDArray) -> NDArray:
        return self._probabilities(X).max(axis=1)


RULE = Maximum
