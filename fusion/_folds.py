"""Folds that never split a group, with the classes spread evenly, without chance."""

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError


def grouped_folds(
    labels: NDArray, groups: NDArray | None = None, *, folds: int = 5, seed: int = 0
) -> NDArray[np.int64]:
    """A fold number for each video, all videos of one group in one fold.

    Groups are dealt one by one, the largest first, each to the fold where it evens out the classes best (the smallest
    sum of squared class counts, then the smallest fold). `seed` only shuffles groups of one size: the same seed gives
    the same folds on every machine.

    Args:
        labels: (M,) class numbers.
        groups: (M,) of any type; None: each video is its own group.
        folds: how many, at least 2 and at most the number of groups.
        seed: another seed, another deal.

    Returns:
        (M,) int64, 0 … folds-1.

    Raises:
        UsageError: fewer groups than folds, or fewer than two folds.
    """
    names = np.arange(len(labels)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    sizes = np.bincount(names)
    if folds < 2 or len(sizes) < folds:
        raise UsageError(f"{folds} folds of {len(sizes)} groups: there must be at least 2 folds and a group for each")
    _, classes = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(sizes), classes.max() + 1))
    np.add.at(counts, (names, classes), 1)
    counts /= counts.sum(axis=0)  # each class weighs the same, however many videos it has
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    spread = np.zeros((folds, counts.shape[1]))
    filled = np.zeros(folds)
    fold_of = np.zeros(len(sizes), dtype=np.int64)
    for group in order:
        # Adding c to fold f changes Σ spread² by 2·spread_f·c + a constant.
        cost = spread @ counts[group]
        best = np.lexsort((filled, np.round(cost, 12)))[0]
        fold_of[group] = best
        spread[best] += counts[group]
        filled[best] += sizes[group]
    # A fold may have stayed empty of a class, never of videos: the emptiest folds are filled first.
    return fold_of[names]


def splits_a_group(fold: NDArray, groups: NDArray) -> list[str]:
    """Names of the groups whose videos are in more than one fold; `fold (M,)`, `groups (M,)`."""
    pairs = np.unique(np.stack([np.unique(groups, return_inverse=True)[1], fold]), axis=1)[0]
    names, times = np.unique(pairs, return_counts=True)
    return [str(np.unique(groups)[name]) for name in names[times > 1]]
