"""The soft-margin linear program over per-class stream weights, solved by cuts instead of by its n(K-1) rows.

With f (n, S, K) calibrated log-probabilities, w (K, S) weights and m_i(w) the margin of video i over its best wrong
class, the program of SYSTEMS is

    min  -ρ + 1/(νn) Σ_i max(0, ρ - m_i(w))    w_k in the simplex, |w_k,s - w̄_s| ≤ δ, w̄ in the simplex:

the mean of the worst share ν of the margins, to be made as large as it can be. The sum is convex and piecewise linear
in (w, ρ), so that its linearisation at any point is a cut that holds for every ν and δ. One cut a class of videos is
made at each point tried (20 points do for 9 537 videos and 101 classes), and the small program over the cuts, solved in
`interior.py`, gives the next point and a lower bound of the full program's value: the certificate.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .box import Box, box
from .interior import CutProgram

# How far the next point goes from the best one towards the solution over the cuts. 1 is Kelley's method, which jumps
# about.
STEP = 0.5
# A program over cuts is solved to this share of the gap to the best point's value.
SHARE_OF_GAP = 0.5
# A cut whose dual was below this share of the largest in as many solutions in a row is dropped.
SLACK, PATIENCE = 1e-2, 2
# A point that is better by less than this share of the gap counts as no better: in narrow boxes, where hardly anything
# but ρ is to be found, points inside are better by a hair each time.
HAIR = 0.03
NARROW = 1e-9  # a box so narrow has no inside in float64
BLOCK = 512
MOST_POINTS = 200  # after these, what is best is returned with its gap


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
        self.cuts = np.zeros((0, self.K * (self.S - 1) + 1))  # of all weights but the last stream's, and ρ
        self.offsets = np.zeros(0)
        self.cut_part = np.zeros(0, dtype=np.int64)  # ascending
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
        tolerance: float = 1e-4,
    ) -> MarginSolution:
        """Solve to a gap of `tolerance` (times the objective where that is larger than one).

        Args:
            nu: share of the videos that may fall short of the margin, in (0, 1].
            delta: largest distance of a class's weight from the shared one, in [0, 1].
            start: (K, S) feasible weights; None: equal ones.
            tolerance: of the gap.
        """
        if start is None:
            start = np.full((self.K, self.S), 1 / self.S)
        delta = delta if delta > NARROW else 0.0
        if self.S == 1:
            value = self.value(start, nu)
            return MarginSolution(start, value, value, 1)
        form = box(self.K, self.S, delta)
        best, best_value, bound = start, np.inf, -np.inf
        point, expected, step, gap = start, np.nan, STEP, np.inf
        for iterations in range(1, MOST_POINTS + 1):  # noqa: B007 (how many there were is part of the answer)
            margin, rival = margins(self.scores, self.labels, point)
            value, threshold = soft_margin(margin, nu)
            stalled = value >= best_value - HAIR * gap
            if value < best_value:
                best, best_value = point, value
            self._cut(margin, rival, threshold)
            if stalled and not np.isnan(expected):  # the same margins, at the ρ that the cuts made us expect
                self._cut(margin, rival, expected)
            allowed = tolerance * max(1.0, abs(best_value))
            optimum, expected, found = self._solve_cuts(nu, form, best_value, allowed, forget=step < 1)
            bound = max(bound, found)
            before, gap = gap, best_value - bound
            if gap <= allowed:
                break
            # Where short steps no longer close the gap, longer ones do.
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
        places = np.searchsorted(self.cut_part, used, side="right")  # behind the part's other cuts
        self.cuts = np.insert(self.cuts, places, rows[used], axis=0)
        self.offsets = np.insert(self.offsets, places, constant[used] / self.size)
        self.cut_part = np.insert(self.cut_part, places, used)
        self.slack_for = np.insert(self.slack_for, places, 0)

    def _solve_cuts(
        self, nu: float, form: Box, best_value: float, allowed: float, *, forget: bool
    ) -> tuple[NDArray, float, float]:
        """Weights `(K, S)` and ρ that are good over the cuts, and a lower bound of the program's value."""
        width = len(form.inner)
        cuts, own = form.of_unknowns(self.cuts[:, :-1]), self.cuts[:, -1:]
        program = CutProgram(
            np.block([[cuts, own], [form.rows, np.zeros((len(form.rows), 1))]]),
            np.concatenate([-self.offsets, form.limits]),
            self.cut_part,
            1 / nu,
            np.append(form.low, -self.reach),
            np.append(form.high, self.reach),
        )

        def enough(value: float, bound: float) -> bool:
            return value - bound <= SHARE_OF_GAP * (best_value - bound) or best_value - bound <= allowed

        x, dual, bound = program.solve(np.append(form.inner, 0.0), enough)
        if forget:
            self._forget(dual[: len(self.offsets)])
        return with_last(form.weights(x[:width])), float(x[width]), bound

    def _forget(self, dual: NDArray) -> None:
        """Drop the cuts that have long been slack."""
        self.slack_for = np.where(dual < SLACK * dual.max(), self.slack_for + 1, 0)
        keep = self.slack_for < PATIENCE
        self.cuts, self.offsets, self.cut_part = self.cuts[keep], self.offsets[keep], self.cut_part[keep]
        self.slack_for = self.slack_for[keep]


def with_last(free: NDArray) -> NDArray:
    """Weights `(K, S)` of those of all streams but the last `(K, S-1)`, rounding errors taken back."""
    weights = np.concatenate([free, 1 - free.sum(axis=1, keepdims=True)], axis=1)
    weights = np.maximum(weights, 0)
    return weights / weights.sum(axis=1, keepdims=True)
