"""Which weights the margin program may take, as the programs over cuts see them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Box:
    """The feasible weights of all streams but the last, whose weight is one minus the others', by U unknowns.

    Attributes:
        form: what the unknowns are: the "shared" weights, those of "each" class, or "both": how far each class's
            weights are from the shared ones, in units of δ, and the shared ones.
        num_classes: K.
        delta: δ.
        low, high: (U,) what the unknowns lie between.
        rows: (R, U), limits: (R,); rows · unknowns ≤ limits.
        inner: (U,) a point strictly inside.
    """

    form: Literal["shared", "each", "both"]
    num_classes: int
    delta: float
    low: NDArray
    high: NDArray
    rows: NDArray
    limits: NDArray
    inner: NDArray

    def of_unknowns(self, cuts: NDArray) -> NDArray:
        """Coefficients of the unknowns `(C, U)`, of those of the classes' weights `(C, K(S-1))`."""
        if self.form == "each":
            return cuts
        together = cuts.reshape(len(cuts), self.num_classes, -1).sum(axis=1)
        return together if self.form == "shared" else np.concatenate([self.delta * cuts, together], axis=1)

    def weights(self, unknowns: NDArray) -> NDArray:
        """Weights `(K, S-1)` of the unknowns `(U,)`."""
        if self.form == "shared":
            return np.tile(unknowns, (self.num_classes, 1))
        if self.form == "each":
            return unknowns.reshape(self.num_classes, -1)
        away = unknowns.reshape(self.num_classes + 1, -1)
        weights: NDArray = away[-1] + self.delta * away[:-1]
        return weights


def box(num_classes: int, num_streams: int, delta: float) -> Box:
    """Weights of the simplex within δ of shared ones, which are unknowns, too.

    With δ = 0 or 1 there is one kind of unknowns, bounds and one row a class at most; between, both kinds, and rows
    that tie them.
    """
    K, free = num_classes, num_streams - 1
    equal = np.full(free, 1 / num_streams)
    total = np.ones((1, free))
    every = np.kron(np.eye(K), total)  # Σ over the free streams, a class
    if delta == 0:
        return Box("shared", K, delta, np.zeros(free), np.ones(free), total, np.ones(1), equal)
    if delta >= 1:
        taken = 0 if free == 1 else K  # of two streams, the bounds say it all
        sizes = K * free
        return Box("each", K, delta, np.zeros(sizes), np.ones(sizes), every[:taken], np.ones(taken), np.tile(equal, K))
    # Distances in units of δ are plain bounds: K rows that tie the weights to the shared ones would, where δ is small,
    # be so nearly parallel that float64 cannot tell them apart.
    weights = np.concatenate([delta * np.eye(K * free), np.tile(np.eye(free), (K, 1))], axis=1)
    sums = every @ weights
    last = np.pad(every, ((0, 0), (0, free)))
    rows = np.concatenate([-weights, sums, last, -last, np.pad(total, ((0, 0), (K * free, 0)))])
    limits = np.repeat([0.0, 1.0], [K * free, 3 * K + 1])
    taken = K * free + K if free == 1 else len(rows)  # of two streams, the last moves with the first
    low, high = np.repeat([-1.0, 0.0], [K * free, free]), np.ones(K * free + free)
    return Box("both", K, delta, low, high, rows[:taken], limits[:taken], np.append(np.zeros(K * free), equal))
