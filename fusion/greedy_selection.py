"""Streams added to an average one at a time, with replacement, as long as it gains."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from avr.core import About, PositiveInt

from ._base import Fuser, Kind


class GreedySelection(Fuser):
    """Ensemble selection with replacement (Caruana et al. 2004): a stream chosen n times weighs n.

    Starting from nothing, the stream whose addition makes the mean of probabilities best is added, `steps` times; the
    best of all the means on the way is kept, the shortest where several tie.

    Args:
        steps: how many additions are tried.
        measure: what is made best, "accuracy" (ties go to the smaller log-loss) or "log-loss". Where streams still
            tie, the first is added.

    Attributes:
        counts_: (S,) int64, how often each stream was added.
    """

    combines = "probabilities"

    def __init__(
        self,
        *,
        steps: Annotated[PositiveInt, About("How many additions are tried.")] = 50,
        measure: Annotated[Literal["accuracy", "log-loss"], About("What is made best.")] = "accuracy",
        kind: Kind = "auto",
    ) -> None:
        super().__init__(kind=kind)
        self.steps = steps
        self.measure = measure

    def _learn(self, X: NDArray, y: NDArray, groups: NDArray) -> None:
        given = self._probabilities(X)
        M, S, K = given.shape
        total, counts = np.zeros((M, K)), np.zeros(S, dtype=np.int64)
        best, self.counts_ = (np.inf, np.inf), counts
        for step in range(1, self.steps + 1):
            costs = [self._cost((total + given[:, stream]) / step, y) for stream in range(S)]
            stream = min(range(S), key=costs.__getitem__)
            total += given[:, stream]
            counts[stream] += 1
            if costs[stream] < best:
                best, self.counts_ = costs[stream], counts.copy()

    def _cost(self, fused: NDArray, labels: NDArray) -> tuple[float, float]:
        """What is to be made small, and what decides a tie; rounded, so that equal streams tie on every machine."""
        true = fused[np.arange(len(labels)), labels]
        loss = round(float(-np.log(np.maximum(true, 1e-15)).mean()), 12)
        errors = float((fused.argmax(axis=1) != labels).mean())
        return (errors, loss) if self.measure == "accuracy" else (loss, errors)

    def class_weights(self) -> NDArray:
        """The shares of the additions, the same for each class: `(K, S)`."""
        return np.tile(self.counts_ / self.counts_.sum(), (len(self.classes_), 1))

    def _combine(self, X: NDArray) -> NDArray:
        return np.einsum("msk,s->mk", self._probabilities(X), self.counts_ / self.counts_.sum())


RULE = GreedySelection
