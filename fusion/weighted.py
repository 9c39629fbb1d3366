"""Mean of the streams with fixed weights: TSN's 1 : 1.5, or those given."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError

from ._base import Fuser, Kind


class Weighted(Fuser):
    """Mean of the streams' probabilities (or log-probabilities) with given weights.

    Args:
        weights: one a stream, in the streams' order, not negative; None: 1 for rgb and 1.5 for flow (TSN, Wang et
            al. 2016, section 5.2), which needs two streams in that order (`avr fuse` goes by the streams' names).
        space: what is averaged, "probabilities" or "log-probabilities".
    """

    trained = False

    def __init__(
        self,
        *,
        weights: Sequence[float] | None = None,
        space: Literal["probabilities", "log-probabilities"] = "probabilities",
        kind: Kind = "auto",
    ) -> None:
        super().__init__(kind=kind)
        self.weights = weights
        self.space = space

    @property
    def combines(self) -> str:  # type: ignore[override]
        """As `space` says."""
        return self.space

    def _learn(self, X: NDArray, y: NDArray, groups: NDArray) -> None:
        S = X.shape[1]
        if self.weights is None and S != 2:
            raise UsageError(f"weighted: {S} streams need {S} weights (1 : 1.5 is for rgb and flow)")
        given = np.array([1.0, 1.5] if self.weights is None else self.weights, dtype=np.float64)
        if given.shape != (S,):
            raise UsageError(f"weighted: {given.size} weights for {S} streams")
        if not np.isfinite(given).all() or given.min() < 0 or given.sum() <= 0:
            raise UsageError(f"weighted: weights {given.tolist()} must be finite, not negative and not all zero")
        self.weights_ = given / given.sum()

    @classmethod
    def options_for(cls, streams: Sequence[str]) -> dict[str, Any]:
        """1.5 for each stream called flow, 1 for the others."""
        return {"weights": [1.5 if name.rpartition("/")[2] == "flow" else 1.0 for name in streams]}

    def notes(self) -> list[str]:
        """That it is averaging, where no stream is called flow and no weights were given."""
        alike = np.allclose(self.weights_, self.weights_[0])
        return ["weighted: all streams weigh the same, as none is called flow: say --weights"] if alike else []

    def class_weights(self) -> NDArray:
        """The weights, the same for each class: `(K, S)`."""
        return np.tile(self.weights_, (len(self.classes_), 1))

    def _combine(self, X: NDArray) -> NDArray:
        given = self._log_probabilities(X) if self.space == "log-probabilities" else self._probabilities(X)
        return np.einsum("msk,s->mk", given, self.weights_)


RULE = Weighted
