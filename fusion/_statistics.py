"""Whether one rule is better than another on the same videos."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def paired_bootstrap(
    difference: NDArray,
    groups: NDArray | None = None,
    *,
    repeats: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of the mean difference between two rules on the same videos.

    Whole groups are drawn with replacement: clips of one source film succeed and fail together, and drawing them one by
    one gives an interval that is too narrow.

    Args:
        difference: (M,) a video's result under one rule minus under the other, such as +1, 0, -1.
        groups: (M,); None: each video is its own group.
        repeats: how many samples are drawn.
        level: what share of them the interval holds.
        seed: of the draw.

    Returns:
        the interval's ends, in the difference's unit.
    """
    names = np.arange(len(difference)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    totals, sizes = np.bincount(names, weights=difference), np.bincount(names).astype(float)
    generator = np.random.default_rng(seed)
    times = generator.multinomial(len(totals), np.full(len(totals), 1 / len(totals)), size=repeats)
    means = (times @ totals) / (times @ sizes)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar_p(right: NDArray, other_right: NDArray) -> float:
    """Exact two-sided p of McNemar's test; both `(M,)` bool, whether each rule is right on a video.

    The test takes videos as independent: with many clips a source film it is too sure, the group bootstrap is not.
    """
    from scipy.stats import binomtest

    only, other_only = int((right & ~other_right).sum()), int((~right & other_right).sum())
    return float(binomtest(only, only + other_only).pvalue) if only + other_only else 1.0


def spread(values: NDArray, measure: Callable[[NDArray], float] | None = None) -> tuple[float, float]:
    """Mean and standard deviation (over n - 1; 0 for one value) of a figure over splits, seeds or repeats."""
    numbers = np.asarray(values, dtype=float)
    return float(numbers.mean()), float(numbers.std(ddof=1)) if len(numbers) > 1 else 0.0
