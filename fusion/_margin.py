"""The soft-margin linear program over per-class stream weights, solved by cuts instead of by its n(K-1) rows.

With f (n, S, K) calibrated log-probabilities, w (K, S) weights and m_i(w) the margin of video i over its best wrong
class, the program of SYSTEMS is

    min  -ρ + 1/(νn) Σ_i max(0, ρ - m_i(w))    w_k in the simplex, |w_k,s - w̄_s| ≤ δ, w̄ in the simplex:

the mean of the worst share ν of the margins, to be made as large as it can be. The sum is convex and piecewise linear
in (w, ρ), so that its linearisation at any point is a cut that holds for every ν and δ. One cut a class of videos is
made at each point tried (21 points do for 9 537 videos and 101 classes), and HiGHS solves the small program over the
cuts, whose optimum is a lower bound of the full program's: the certificate.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array, csr_array, hstack, vstack

from avr.core import WorkError

# How far the next point goes from the best one towards the optimum over the cuts. 1 is Kelley's method, which jumps
# about; 0.5 needed a third of its time at 3 570 × 51 × 2.
STEP = 0.45
# A cut that was slack in as many solutions in a row is dropped.
PATIENCE = 3


@dataclass(frozen=True)
class MarginSolution:
    """What the program's solution is, and how good it is known to be.

    Attributes:
        weights: (K, S), rows in the simplex.
        threshold: ρ.
        objective: the program's value at `weights`.
        lower_bound: what no feasible weights can go below.
        iterations: points at which all margins were computed.
    """

    weights: NDArray
    threshold: float
    objective: float
    lower_bound: float
    iterations: int

    @property
    def gap(self) -> float:
        """Objective minus lower bound."""
        return self.objective - self.lower_bound


def margins(log_probabilities: NDArray, labels: NDArray, weights: NDArray) -> tuple[NDArray, NDArray]:
    """Margin of each video over its best wrong class, and that class.

    Args:
        log_probabilities: (n, S, K).
        labels: (n,).
        weights: (K, S).

    Returns:
        (n,) margins and (n,) class numbers.
    """
    fused = log_probabilities[:, 0] * weights[:, 0]
    for stream in range(1, weights.shape[1]):
        fused += log_probabilities[:, stream] * weights[:, stream]
    videos = np.arange(len(labels))
    true = fused[videos, labels]
    fused[videos, labels] = -np.inf
    rival = fused.argmax(axis=1)
    return (true - fused[videos, rival]).astype(np.float64), rival


def soft_margin(margin: NDArray, nu: float) -> tuple[float, float]:
    """The program's value for margins `(n,)`, least over ρ, and that ρ: the ν-quantile of the margins."""
    place = min(int(nu * len(margin)), len(margin) - 1)
    threshold = float(np.partition(margin, place)[place])
    return float(np.maximum(0, threshold - margin).mean()) / nu - threshold, threshold


class MarginProgram:
    """The program for one set of scores; cuts are kept between calls of `solve`, whatever ν and δ.

    Args:
        log_probabilities: (n, S, K), calibrated.
        labels: (n,).
    """

    def __init__(self, log_probabilities: NDArray, labels: NDArray) -> None:
        self.scores, self.labels = log_probabilities, labels
        n, self.S, self.K = log_probabilities.shape
        self.true = np.take_along_axis(log_probabilities, labels[:, None, None], axis=2)[:, :, 0].astype(np.float64)
        self.reach = float(np.ptp(log_probabilities)) + 1  # no margin is larger
        self.part = np.unique(labels, return_inverse=True)[1]  # the cut a video counts in
        self.num_parts = int(self.part.max()) + 1
        self.columns = self.K * (self.S - 1) + (self.S - 1) + 1  # the last stream's weight is one minus the others
        self.cuts = csr_array((0, self.columns))
        self.offsets = np.zeros(0)
        self.cut_part = np.zeros(0, dtype=np.int64)
        self.slack_for = np.zeros(0, dtype=np.int64)
        self.size = n

    def value(self, weights: NDArray, nu: float) -> float:
        """The objective at weights `(K, S)`."""
        return soft_margin(margins(self.scores, self.labels, weights)[0], nu)[0]

    def solve(
        self, nu: float, delta: float, *, start: NDArray, tolerance: float = 1e-4, max_iterations: int = 200
    ) -> MarginSolution:
        """Solve to a gap of `tolerance` (times the objective where that is larger than one).

        Args:
            nu: share of the videos that may fall short of the margin, in (0, 1].
            delta: largest distance of a class's weight from the shared one, in [0, 1].
            start: (K, S) feasible weights.
            tolerance: of the gap.
            max_iterations: after these, what is best is returned with its gap.
        """
        best, best_value, best_threshold, bound = start, np.inf, 0.0, -np.inf
        point = start
        for iterations in range(1, max_iterations + 1):  # noqa: B007 (how many there were is part of the answer)
            margin, rival = margins(self.scores, self.labels, point)
            value, threshold = soft_margin(margin, nu)
            if value < best_value:
                best, best_value, best_threshold = point, value, threshold
            self._cut(margin, rival, threshold)
            optimum, bound = self._solve_cuts(nu, delta)
            if best_value - bound <= tolerance * max(1.0, abs(best_value)):
                break
            point = best + STEP * (optimum - best)
        return MarginSolution(best, best_threshold, best_value, min(bound, best_value), iterations)

    def _cut(self, margin: NDArray, rival: NDArray, threshold: float) -> None:
        """Add, a class of videos, the linearisation of its share of Σ max(0, ρ - m) at this point."""
        active = np.flatnonzero(margin <= threshold)
        part, label, other = self.part[active], self.labels[active], rival[active]
        gain = self.scores[active, :, other].astype(np.float64)  # (n_active, S): what the rival's weights would add
        loss = self.true[active]
        weights = np.zeros((self.num_parts, self.K, self.S))
        np.add.at(weights, (part, label), -loss)
        np.add.at(weights, (part, other), gain)
        # w_last = 1 - Σ others: its coefficient moves to a constant and to the other streams.
        constant = weights[:, :, -1].sum(axis=1)
        free = weights[:, :, :-1] - weights[:, :, -1:]
        counts = np.bincount(part, minlength=self.num_parts).astype(float)
        shared = np.zeros((self.num_parts, self.S - 1))
        rows = np.concatenate([free.reshape(self.num_parts, -1), shared, counts[:, None]], axis=1) / self.size
        used = np.flatnonzero(counts)
        self.cuts = csr_array(vstack([self.cuts, csr_array(rows[used])]))
        self.offsets = np.concatenate([self.offsets, constant[used] / self.size])
        self.cut_part = np.concatenate([self.cut_part, used])
        self.slack_for = np.concatenate([self.slack_for, np.zeros(len(used), dtype=np.int64)])

    def _solve_cuts(self, nu: float, delta: float) -> tuple[NDArray, float]:
        """The optimum over the cuts: weights `(K, S)` and the value, a lower bound of the program's."""
        count = len(self.offsets)
        slack = coo_array((-np.ones(count), (np.arange(count), self.cut_part)), shape=(count, self.num_parts))
        frame, limits = self._frame(delta)
        matrix = vstack([hstack([self.cuts, slack]), frame]).tocsr()
        cost = np.zeros(self.columns + self.num_parts)
        cost[self.columns - 1] = -1
        cost[self.columns :] = 1 / nu
        bounds = np.empty((len(cost), 2))
        bounds[: self.columns - 1] = (0, 1)
        bounds[self.columns - 1] = (-self.reach, self.reach)
        bounds[self.columns :] = (0, np.inf)
        found = linprog(cost, A_ub=matrix, b_ub=np.concatenate([-self.offsets, limits]), bounds=bounds, method="highs")
        if found.status != 0:
            raise WorkError(f"awf: HiGHS found no solution over {count} cuts ({found.message})")
        self._forget(np.abs(found.ineqlin.marginals[:count]) < 1e-12)
        free = np.clip(found.x[: self.K * (self.S - 1)].reshape(self.K, self.S - 1), 0, 1)
        return with_last(free), float(found.fun)

    def _forget(self, slack: NDArray) -> None:
        """Drop the cuts that have long been slack."""
        self.slack_for = np.where(slack, self.slack_for + 1, 0)
        keep = self.slack_for < PATIENCE
        if not keep.all():
            self.cuts = csr_array(self.cuts[np.flatnonzero(keep)])
            self.offsets, self.cut_part = self.offsets[keep], self.cut_part[keep]
            self.slack_for = self.slack_for[keep]

    def _frame(self, delta: float) -> tuple[csr_array, NDArray]:
        """Rows that keep the weights in the simplex and in the box, for the weights of all streams but the last."""
        free, width = self.S - 1, self.columns + self.num_parts
        blocks, limits = [], []
        own = coo_array(np.eye(self.K * free)) if free else coo_array((0, 0))
        total = np.kron(np.eye(self.K + 1), np.ones((1, free)))  # Σ over the free streams, each class and w̄
        if free > 1:
            blocks.append(coo_array(total))
            limits.append(np.ones(self.K + 1))
        if free and delta < 1:
            shared = coo_array(np.tile(np.eye(free), (self.K, 1)))
            away = hstack([own, -shared])
            blocks += [away, -away]
            limits.append(np.full(2 * self.K * free, delta))
            if free > 1:
                last = coo_array(total[:-1] - total[-1:])
                blocks += [last, -last]
                limits.append(np.full(2 * self.K, delta))
        if not blocks:
            return csr_array((0, width)), np.zeros(0)
        rows = vstack(blocks)
        return csr_array((rows.tocoo().data, rows.tocoo().coords), shape=(rows.shape[0], width)), np.concatenate(limits)


def with_last(free: NDArray) -> NDArray:
    """Weights `(K, S)` of those of all streams but the last `(K, S-1)`, rounding errors taken back."""
    weights = np.concatenate([free, 1 - free.sum(axis=1, keepdims=True)], axis=1)
    weights = np.maximum(weights, 0)
    return weights / weights.sum(axis=1, keepdims=True)
