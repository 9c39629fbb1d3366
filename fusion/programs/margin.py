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
from scipy.sparse import coo_array, csr_array, eye_array, hstack, kron, vstack

from avr.core import WorkError

# How far the next point goes from the best one towards the optimum over the cuts. 1 is Kelley's method, which jumps
# about.
STEP = 0.3
# A cut that was slack in as many solutions in a row is dropped.
PATIENCE = 3
BLOCK = 512
MANY = 300_000


@dataclass(frozen=True)
class MarginSolution:
    """What the program's solution is, and how good it is known to be.

    Attributes:
        weights: (K, S), rows in the simplex.
        objective: the program's value at `weights`.
        lower_bound: what no feasible weights can go below.
        iterations: points at which all margins were computed.
    """

    weights: NDArray
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
    n, S, _ = log_probabilities.shape
    table = np.ascontiguousarray(weights.T, dtype=log_probabilities.dtype)  # (S, K)
    margin, rival = np.empty(n), np.empty(n, dtype=np.int64)
    # In blocks that fit the processor's cache: four times as fast as whole arrays at 240 000 × 400 × 2.
    for first in range(0, n, BLOCK):
        block, label = log_probabilities[first : first + BLOCK], labels[first : first + BLOCK]
        fused = block[:, 0] * table[0]
        for stream in range(1, S):
            fused += block[:, stream] * table[stream]
        videos = np.arange(len(label))
        true = fused[videos, label]
        fused[videos, label] = -np.inf
        best = fused.argmax(axis=1)
        margin[first : first + BLOCK] = true - fused[videos, best]
        rival[first : first + BLOCK] = best
    return margin, rival


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
        self.cuts = csr_array((0, self.K * (self.S - 1) + 1))  # of all weights but the last stream's, and ρ
        self.offsets = np.zeros(0)
        self.cut_part = np.zeros(0, dtype=np.int64)
        self.slack_for = np.zeros(0, dtype=np.int64)
        self.size = n

    def value(self, weights: NDArray, nu: float) -> float:
        """The objective at weights `(K, S)`."""
        return soft_margin(margins(self.scores, self.labels, weights)[0], nu)[0]

    def solve(
        self,
        nu: float,
        delta: float,
        *,
        start: NDArray | None = None,
        shared: NDArray | None = None,
        tolerance: float = 1e-4,
        max_iterations: int = 200,
    ) -> MarginSolution:
        """Solve to a gap of `tolerance` (times the objective where that is larger than one).

        Args:
            nu: share of the videos that may fall short of the margin, in (0, 1].
            delta: largest distance of a class's weight from the shared one, in [0, 1].
            start: (K, S) feasible weights; None: w̄ where it is held, else equal ones.
            shared: (S,) what w̄ is held at; None: learnt.
            tolerance: of the gap.
            max_iterations: after these, what is best is returned with its gap.
        """
        if start is None:
            start = np.tile(np.full(self.S, 1 / self.S) if shared is None else shared, (self.K, 1))
        if shared is not None and delta == 0:
            value = self.value(start, nu)
            return MarginSolution(start, value, value, 1)
        best, best_value, bound = start, np.inf, -np.inf
        point, expected, step, gap = start, np.nan, STEP, np.inf
        for iterations in range(1, max_iterations + 1):  # noqa: B007 (how many there were is part of the answer)
            margin, rival = margins(self.scores, self.labels, point)
            value, threshold = soft_margin(margin, nu)
            stalled = value >= best_value
            if not stalled:
                best, best_value = point, value
            self._cut(margin, rival, threshold)
            if stalled and not np.isnan(expected):  # the same margins, at the ρ that the cuts made us expect
                self._cut(margin, rival, expected)
            optimum, expected, bound = self._solve_cuts(nu, delta, shared, forget=step < 1)
            before, gap = gap, best_value - bound
            if gap <= tolerance * max(1.0, abs(best_value)):
                break
            # Where short steps no longer close the gap, longer ones do: those of length 1 in finitely many.
            step = min(1.0, 1.5 * step) if gap > 0.9 * before else STEP
            point = best + step * (optimum - best)
        return MarginSolution(best, best_value, min(bound, best_value), iterations)

    def _cut(self, margin: NDArray, rival: NDArray, threshold: float) -> None:
        """Add, a class of videos, the linearisation of its share of Σ max(0, ρ - m) at this point."""
        active = np.flatnonzero(margin <= threshold)
        part, label, other = self.part[active], self.labels[active], rival[active]
        gain = self.scores[active, :, other].astype(np.float64)  # (n_active, S): what the rival's weights would add
        loss = self.true[active]
        place, size = np.concatenate([part * self.K + label, part * self.K + other]), self.num_parts * self.K
        amount = np.concatenate([-loss, gain])
        sums = [np.bincount(place, weights=amount[:, stream], minlength=size) for stream in range(self.S)]
        weights = np.stack(sums, axis=1).reshape(self.num_parts, self.K, self.S)
        # w_last = 1 - Σ others: its coefficient moves to a constant and to the other streams.
        constant = weights[:, :, -1].sum(axis=1)
        free = weights[:, :, :-1] - weights[:, :, -1:]
        counts = np.bincount(part, minlength=self.num_parts).astype(float)
        rows = np.concatenate([free.reshape(self.num_parts, -1), counts[:, None]], axis=1) / self.size
        used = np.flatnonzero(counts)
        self.cuts = csr_array(vstack([self.cuts, csr_array(rows[used])]))
        self.offsets = np.concatenate([self.offsets, constant[used] / self.size])
        self.cut_part = np.concatenate([self.cut_part, used])
        self.slack_for = np.concatenate([self.slack_for, np.zeros(len(used), dtype=np.int64)])

    def _solve_cuts(
        self, nu: float, delta: float, shared: NDArray | None, *, forget: bool
    ) -> tuple[NDArray, float, float]:
        """The optimum over the cuts: weights `(K, S)`, ρ, and the value, a lower bound of the program's."""
        count, free = len(self.offsets), self.S - 1
        spread, bounds, frame, limits = box(self.K, self.S, delta, shared)
        width = spread.shape[1]  # unknowns that stand for the weights
        cuts = self.cuts[:, : self.K * free] @ spread if width else csr_array((count, 0))
        slack = coo_array((-np.ones(count), (np.arange(count), self.cut_part)), shape=(count, self.num_parts))
        matrix = hstack([cuts, self.cuts[:, self.K * free :], slack])
        if len(limits):
            matrix = vstack([matrix, hstack([frame, csr_array((len(limits), 1 + self.num_parts))])])
        cost = np.concatenate([np.zeros(width), [-1.0], np.full(self.num_parts, 1 / nu)])
        others = [[-self.reach, self.reach], *[[0.0, np.inf]] * self.num_parts]
        found = linprog(
            cost,
            A_ub=matrix.tocsr(),
            b_ub=np.concatenate([-self.offsets, limits]),
            bounds=np.concatenate([bounds, others]),
            # From some hundred classes on, the interior point finds the optimum in half the simplex's time.
            method="highs-ipm" if matrix.nnz > MANY else "highs",
        )
        if found.status != 0:
            raise WorkError(f"awf: HiGHS found no solution over {count} cuts ({found.message})")
        if forget:
            self._forget(np.abs(found.ineqlin.marginals[:count]) < 1e-12)
        weights = np.asarray(spread @ found.x[:width]).reshape(self.K, free)
        return with_last(weights), float(found.x[width]), float(found.fun)

    def _forget(self, slack: NDArray) -> None:
        """Drop the cuts that have long been slack."""
        self.slack_for = np.where(slack, self.slack_for + 1, 0)
        keep = self.slack_for < PATIENCE
        if not keep.all():
            self.cuts = csr_array(self.cuts[np.flatnonzero(keep)])
            self.offsets, self.cut_part = self.offsets[keep], self.cut_part[keep]
            self.slack_for = self.slack_for[keep]


def box(
    num_classes: int, num_streams: int, delta: float, shared: NDArray | None
) -> tuple[csr_array, NDArray, csr_array, NDArray]:
    """The feasible weights of all streams but the last, whose weight is one minus the others'.

    With δ = 0 the unknowns are the shared weights alone, with given shared weights the classes' alone, where the box is
    a matter of bounds; only learnt shared weights with a box about them need both, and rows.

    Returns:
        spread (K(S-1), U): from the U unknowns to the classes' weights. bounds (U, 2). rows (R, U) and limits (R,):
        rows · unknowns ≤ limits.
    """
    K, free = num_classes, num_streams - 1
    alone, every = eye_array(K * free, format="csr"), csr_array(np.tile(np.eye(free), (K, 1)))
    totals = kron(eye_array(K), np.ones((1, free)), format="csr")  # Σ over the free streams, a class
    if delta == 0 and shared is None:
        bounds, rows, limits = np.tile([0.0, 1.0], (free, 1)), np.ones((1, free)), np.ones(1)
        return every, bounds, csr_array(rows), limits
    if shared is not None or delta >= 1:
        centre = np.zeros(num_streams) if shared is None else shared
        reach = 1.0 if shared is None else delta
        low, high = np.maximum(centre - reach, 0), np.minimum(centre + reach, 1)
        bounds = np.tile(np.stack([low[:-1], high[:-1]], axis=1), (K, 1))
        limits = np.concatenate([np.full(K, 1 - low[-1]), np.full(K, high[-1] - 1)])
        return alone, bounds, csr_array(vstack([totals, -totals])), limits
    spread = hstack([alone, csr_array((K * free, free))], format="csr")
    away = hstack([alone, -every])
    last = hstack([totals, csr_array(-np.ones((K, free)))])
    sums = hstack([csr_array((1, K * free)), csr_array(np.ones((1, free)))])
    rows = vstack([away, -away, last, -last, hstack([totals, csr_array((K, free))]), sums], format="csr")
    limits = np.concatenate([np.full(2 * K * free + 2 * K, delta), np.ones(K + 1)])
    return spread, np.tile([0.0, 1.0], (K * free + free, 1)), rows, limits


def with_last(free: NDArray) -> NDArray:
    """Weights `(K, S)` of those of all streams but the last `(K, S-1)`, rounding errors taken back."""
    weights = np.concatenate([free, 1 - free.sum(axis=1, keepdims=True)], axis=1)
    weights = np.maximum(weights, 0)
    return weights / weights.sum(axis=1, keepdims=True)
