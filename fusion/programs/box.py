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


def box(num_classes: int, num_streams: int, delta: float, shared: NDArray | None) -> Box:
    """Weights of the simplex within δ of the shared ones, `shared (S,)` or, None, learnt.

    With given shared weights or δ = 1 the box is a matter of bounds; only learnt shared weights with a box about them
    need both kinds of unknowns, and rows.
    """
    K, free = num_classes, num_streams - 1
    equal = np.full(num_streams, 1 / num_streams)
    total = np.ones((1, free))
    if delta == 0 and shared is None:
        return Box("shared", K, delta, np.zeros(free), np.ones(free), total, np.ones(1), equal[:-1])
    every = np.kron(np.eye(K), total)  # Σ over the free streams, a class
    if shared is not None or delta >= 1:
        centre, reach = (equal, 1.0) if shared is None else (shared, delta)
        low, high = np.maximum(centre - reach, 0), np.minimum(centre + reach, 1)
        rows, limits = np.concatenate([every, -every]), np.repeat([1 - low[-1], high[-1] - 1], K)
        away = equal - centre
        inner = centre + away * min(1.0, reach / 2 / max(float(np.abs(away).max()), reach / 2))
        taken = 0 if free == 1 else len(rows)  # of two streams, the bounds say it all
        low, high, inner = (np.tile(of_streams[:-1], K) for of_streams in (low, high, inner))
        return Box("each", K, delta, low, high, rows[:taken], limits[:taken], inner)
    # Distances in units of δ are plain bounds: K rows that tie the weights to the shared ones would, where δ is small,
    # be so nearly parallel that float64 cannot tell them apart.
    weights = np.concatenate([delta * np.eye(K * free), np.tile(np.eye(free), (K, 1))], axis=1)
    sums = every @ weights
    last = np.pad(every, ((0, 0), (0, free)))
    rows = np.concatenate([-weights, sums, last, -last, np.pad(total, ((0, 0), (K * free, 0)))])
    limits = np.repeat([0.0, 1.0], [K * free, 3 * K + 1])
    taken = K * free + K if free == 1 else len(rows)  # of two streams, the last moves with the first
    low, high = np.repeat([-1.0, 0.0], [K * free, free]), np.ones(K * free + free)
    return Box("both", K, delta, low, high, rows[:taken], limits[:taken], np.append(np.zeros(K * free), equal[:-1]))
