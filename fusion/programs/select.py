"""How far a class's weights may go from those that all classes share: chosen by grouped inner folds.

Note [what the evidence must pay for]: weights and biases of the classes' own are K·(S + 1) numbers that are fitted on
few videos. So the strengths that hold them are ordered from the shared pool (infinite) to the weakest, each is judged
on held-out groups, and the first is taken that is not worse than the best by more than a standard error, over groups,
of their paired difference. The judge is the share of errors: log-loss gains on sets where accuracy loses, too.
"""

import numpy as np
from numpy.typing import NDArray

from avr.core import grouped_folds, possible_folds
from avr.fusion._probabilities import fit_lapses, with_lapses

from .pool import class_pools

# A decade apart: finer steps choose no better.
STRENGTHS = (np.inf, 10.0, 1.0, 0.1)
FOLDS = 4
STANDARD_ERRORS = 1.0


def held_out_errors(log_probabilities: NDArray, labels: NDArray, groups: NDArray) -> NDArray[np.bool_] | None:
    """Whether each video is wrong under each of the strengths, its group held out: `(len(STRENGTHS), n)`.

    None where the groups `(n,)` allow no two folds. All is fitted on the other folds alone, calibration too.

    Args:
        log_probabilities: (n, S, K), not calibrated.
        labels: (n,). groups: (n,).
    """
    count = possible_folds(groups, folds=FOLDS)
    if not count:
        return None
    fold = grouped_folds(labels, groups=groups, folds=count)
    wrong = np.zeros((len(STRENGTHS), len(labels)), dtype=np.bool_)
    for number in range(count):
        held = fold == number
        temperatures, lapses = fit_lapses(log_probabilities[~held], labels[~held])
        scores = with_lapses(log_probabilities, temperatures, lapses)
        for place, pool in enumerate(class_pools(scores[~held], labels[~held], STRENGTHS)):
            wrong[place, held] = pool.fused(scores[held]).argmax(axis=1) != labels[held]
    return wrong


def first_good(losses: NDArray, groups: NDArray) -> int:
    """The first row of losses `(R, n)` that is not worse than the best by more than a standard error."""
    best = losses[losses.mean(axis=1).argmin()]
    return next(row for row, loss in enumerate(losses) if worse_by(loss, best, groups) <= STANDARD_ERRORS)


def worse_by(losses: NDArray, others: NDArray, groups: NDArray) -> float:
    """Mean difference of two losses `(n,)` in standard errors over groups `(n,)`; 0 where they are equal."""
    change = losses.astype(float) - others
    mean = float(change.mean())
    totals = np.bincount(groups, weights=change - mean)
    error = float(np.sqrt((totals**2).sum())) / len(change)
    if error == 0:
        return 0.0 if mean == 0 else np.copysign(np.inf, mean)
    return mean / error
