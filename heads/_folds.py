"""Parts of a training set that never split a group: folds for out-of-fold scores, a validation part."""

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, note, warn

MOST_FOLDS = 20  # that a validation part is a few of


def grouped_folds(groups: NDArray, labels: NDArray, folds: int, *, seed: int) -> NDArray[np.int32]:
    """Fold of each video, `(M,)` int32 in 0 … folds-1; the videos of one group share a fold.

    Groups are dealt out, largest first and ties in an order drawn by the seed, each to the fold where it keeps the
    classes most even.

    Args:
        groups: `(M,)` group names.
        labels: `(M,)` class numbers.
        folds: at least 1 and at most the number of groups.
        seed: of the ties.
    """
    names, group_of = np.unique(groups, return_inverse=True)
    classes, class_of = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(names), len(classes)))  # videos of each class in each group
    np.add.at(counts, (group_of, class_of), 1)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(-counts[shuffled].sum(axis=1), kind="stable")]
    held = np.zeros((folds, len(classes)))
    total = np.maximum(counts.sum(axis=0), 1)
    fold_of_group = np.zeros(len(names), dtype=np.int32)
    for group in order:
        # The fold whose class shares grow least when squared: few videos of the group's classes, then few videos.
        growth = (((held + counts[group]) / total) ** 2 - (held / total) ** 2).sum(axis=1)
        fold = int(np.lexsort((held.sum(axis=1), growth.round(12)))[0])
        held[fold] += counts[group]
        fold_of_group[group] = fold
    return fold_of_group[group_of]


def possible_folds(groups: NDArray, folds: int) -> int:
    """The number of folds that the groups allow, with a note where it is lower than asked; 0 when there are none."""
    available = len(np.unique(groups))
    if folds < 2 or available >= folds:
        return folds if folds >= 2 else 0
    if available < 2:
        note("no out-of-fold scores: all training videos are of one group, which folds must not split")
        return 0
    note(f"{available} folds instead of {folds}: the training videos are of {available} groups, which stay whole")
    return available


def validation_part(groups: NDArray, labels: NDArray, share: float, *, seed: int) -> NDArray[np.bool_]:
    """`(M,)` bool, True for about `share` of the videos: whole groups, at least one, never all.

    Videos that are all of one group are drawn one by one, with a warning: their validation loss flatters.

    Raises:
        UsageError: fewer than two videos.
    """
    if len(labels) < 2:
        raise UsageError("a validation part needs two training videos at least: set validation=0")
    if len(np.unique(groups)) < 2:
        warn("the training videos are all of one group: the validation part is drawn video by video, and flatters")
        groups = np.arange(len(labels))
    # As few folds as come nearest to the share: 0.1 is one of ten, 0.3 three of ten, 0.6 three of five.
    most = min(MOST_FOLDS, len(np.unique(groups)))
    taken = {folds: min(max(round(share * folds), 1), folds - 1) for folds in range(2, most + 1)}
    folds = min(taken, key=lambda count: (round(abs(taken[count] / count - share), 6), count))
    return grouped_folds(groups, labels, folds, seed=seed) < taken[folds]
