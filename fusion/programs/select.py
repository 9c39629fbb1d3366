"""How far `awf` may go from plain multiplication: chosen by grouped inner folds, the simplest where they do not tell.

Note [what the evidence must pay for]: every step away from the mean of calibrated log-probabilities costs weights that
are fitted on few videos. So the settings are ordered from none (equal weights) to K·S free weights, each is judged on
held-out groups, and the first is taken that is not worse than the best by more than a standard error, over groups, of
their paired difference. The judge is the log-loss of the fused scores at their own temperature: it moves with every
video, where accuracy moves with the few that change sides. ν starts large: most margins then count, and weights that
look at most videos vary least.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from avr.core import grouped_folds, possible_folds
from avr.fusion._probabilities import fit_temperature, tempered

from .margin import MarginProgram

NUS = (0.8, 0.5)
FOLDS = 4
# Inside the folds a solution only has to be good enough to be judged.
TOLERANCE, MAX_ITERATIONS = 5e-3, 25
STANDARD_ERRORS = 1.0

Shared = Literal["equal", "uncalibrated", "learnt"]


@dataclass(frozen=True)
class Setting:
    """One setting of the margin program.

    Attributes:
        shared: what w̄ is: equal weights, those that make it the plain product of uncalibrated probabilities (in
            proportion to the temperatures), or learnt.
        delta: δ. nu: ν.
    """

    shared: Shared
    delta: float
    nu: float = NUS[0]


# From the simplest to the freest.
LADDER = (
    Setting("equal", 0.0),
    Setting("uncalibrated", 0.0),
    Setting("equal", 0.1),
    Setting("learnt", 0.0),
    Setting("learnt", 0.1),
    Setting("equal", 0.4),
    Setting("learnt", 1.0),
)


def calibrate(log_probabilities: NDArray, temperatures: NDArray) -> NDArray:
    """Log-probabilities `(n, S, K)` at a temperature a stream, `(S,)`, normalised again."""
    return tempered(log_probabilities, temperatures[:, None].astype(log_probabilities.dtype))


def temperatures_of(log_probabilities: NDArray, labels: NDArray) -> NDArray:
    """A temperature a stream `(S,)`, by likelihood."""
    return np.array([fit_temperature(log_probabilities[:, s], labels) for s in range(log_probabilities.shape[1])])


def shared_weights(shared: Shared, temperatures: NDArray) -> NDArray | None:
    """w̄ `(S,)` of a setting; None where it is learnt."""
    if shared == "equal":
        return np.full(len(temperatures), 1 / len(temperatures))
    return temperatures / temperatures.sum() if shared == "uncalibrated" else None


class InnerFold:
    """One inner fold: its program, what is held out, and the cuts that settings share."""

    def __init__(self, log_probabilities: NDArray, labels: NDArray, held: NDArray) -> None:
        self.temperatures = temperatures_of(log_probabilities[~held], labels[~held])
        scores = calibrate(log_probabilities, self.temperatures)
        self.fit_scores, self.fit_labels = scores[~held], labels[~held]
        self.held_scores, self.held_labels = scores[held], labels[held]
        program = MarginProgram(self.fit_scores, self.fit_labels)
        self.solve = partial(program.solve, tolerance=TOLERANCE, max_iterations=MAX_ITERATIONS)
        self.learnt: dict[float, NDArray] = {}  # ν: shared weights

    def weights(self, setting: Setting) -> NDArray:
        """The setting's weights `(K, S)` on this fold."""
        centre = shared_weights(setting.shared, self.temperatures)
        if centre is None:
            # The box is laid about the solution with shared weights: bounds instead of rows between the unknowns.
            if setting.nu not in self.learnt:
                self.learnt[setting.nu] = self.solve(setting.nu, 0.0).weights[0]
            centre = self.learnt[setting.nu]
        return self.solve(setting.nu, setting.delta, shared=centre).weights

    def losses(self, setting: Setting) -> NDArray:
        """Log-loss of each held-out video under a setting, the fused scores at a temperature of the fitted part."""
        weights = self.weights(setting)
        temperature = fit_temperature(np.einsum("msk,ks->mk", self.fit_scores, weights), self.fit_labels)
        fused = tempered(np.einsum("msk,ks->mk", self.held_scores, weights), temperature)
        return -fused[np.arange(len(fused)), self.held_labels]


def choose(
    log_probabilities: NDArray, labels: NDArray, groups: NDArray, settings: Iterable[Setting], nus: tuple[float, ...]
) -> Setting:
    """The setting that grouped inner folds speak for: first how free the weights are, then ν.

    Args:
        log_probabilities: (n, S, K), not calibrated.
        labels: (n,). groups: (n,).
        settings: candidates from the simplest to the freest, with the first ν.
        nus: what ν may be, the preferred one first.
    """
    ladder = [replace(setting, nu=nus[0]) for setting in settings]
    count = possible_folds(groups, folds=FOLDS)
    if not count or len(ladder) * len(nus) == 1:
        return ladder[0]
    fold = grouped_folds(labels, groups=groups, folds=count)
    inner = [InnerFold(log_probabilities, labels, fold == number) for number in range(count)]
    order = np.argsort(fold, kind="stable")
    clusters = groups[order]

    def losses(setting: Setting) -> NDArray:
        return np.concatenate([one.losses(setting) for one in inner])

    chosen = first_good(climb(ladder, losses, clusters), clusters)
    if (chosen.shared != "learnt" and chosen.delta == 0) or len(nus) == 1:
        return chosen
    others = [replace(chosen, nu=nu) for nu in nus]
    return first_good({other: losses(other) for other in others}, clusters)


def climb(ladder: list[Setting], losses: Callable[[Setting], NDArray], groups: NDArray) -> dict[Setting, NDArray]:
    """Losses of the settings, leaving out boxes wider than one that is already clearly worse than a narrower one."""
    found: dict[Setting, NDArray] = {}
    closed: set[str] = set()
    for setting in ladder:
        if setting.shared in closed:
            continue
        found[setting] = losses(setting)
        family = [found[other] for other in found if other.shared == setting.shared]
        best = min(family, key=lambda loss: float(loss.mean()))
        if worse_by(found[setting], best, groups) > 1:
            closed.add(setting.shared)
    return found


def first_good(found: dict[Setting, NDArray], groups: NDArray) -> Setting:
    """The first setting that is not worse than the best by more than a standard error."""
    best = min(found.values(), key=lambda loss: float(loss.mean()))
    return next(setting for setting, loss in found.items() if worse_by(loss, best, groups) <= STANDARD_ERRORS)


def worse_by(losses: NDArray, others: NDArray, groups: NDArray) -> float:
    """Mean difference of two losses `(n,)` in standard errors over groups `(n,)`; 0 where they are equal."""
    change = losses - others
    mean = float(change.mean())
    totals = np.bincount(groups, weights=change - mean)
    error = float(np.sqrt((totals**2).sum())) / len(change)
    if error == 0:
        return 0.0 if mean == 0 else np.copysign(np.inf, mean)
    return mean / error
