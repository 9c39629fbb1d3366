"""Parts of a set of videos that never split a group (source film, person): folds, a validation part.

Everything but the first argument is given by name: labels and groups are two columns of one length, and folds dealt
with the one taken for the other split groups without a word.
"""

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .progress import warn

MOST_FOLDS = 20  # that a validation part is a few of


def grouped_folds(
    labels: NDArray, *, groups: NDArray | None = None, folds: int = 5, seed: int = 0
) -> NDArray[np.int32]:
    """A fold number for each video, all videos of one group in one fold and the classes spread evenly.

    Groups are dealt one by one, the largest first, each to the fold where it evens out the classes best (the smallest
    sum of squared shares of the classes, then the smallest fold). `seed` only shuffles groups of one size: the same
    seed gives the same folds on every machine.

    Args:
        labels: `(M,)` class numbers.
        groups: `(M,)` of any type; None: each video is its own group.
        folds: how many, at least 2 and at most the number of groups.
        seed: another seed, another deal.

    Returns:
        `(M,)` int32, 0 … folds-1.

    Raises:
        UsageError: fewer groups than folds, fewer than two folds, labels that are no class numbers, or groups of
            another length.
    """
    group_of = _numbered(labels, groups)
    sizes = np.bincount(group_of)
    if folds < 2 or len(sizes) < folds:
        raise UsageError(f"{folds} folds of {len(sizes)} groups: there must be at least 2 folds and a group for each")
    classes = np.unique(labels, return_inverse=True)[1]
    shares = np.zeros((len(sizes), classes.max() + 1))  # of each class's videos, in each group
    np.add.at(shares, (group_of, classes), 1)
    shares /= shares.sum(axis=0)  # each class weighs the same, however many videos it has
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    spread = np.zeros((folds, shares.shape[1]))
    filled = np.zeros(folds)
    fold_of = np.zeros(len(sizes), dtype=np.int32)
    for group in order:
        # Adding s to fold f changes Σ spread² by 2·spread_f·s + a constant. Rounded, for sums differ in their last bits
        # from machine to machine.
        best = np.lexsort((filled, np.round(spread @ shares[group], 12)))[0]
        fold_of[group] = best
        spread[best] += shares[group]
        filled[best] += sizes[group]
    # A fold may have stayed empty of a class, never of videos: the emptiest folds are filled first.
    return fold_of[group_of]


def possible_folds(groups: NDArray, *, folds: int) -> int:
    """The number of folds that the groups `(M,)` allow: `folds`, or as many as there are groups; 0 where below 2."""
    possible = min(folds, len(np.unique(groups)))
    return possible if possible >= 2 else 0


def split_groups(fold: NDArray, *, groups: NDArray) -> list[str]:
    """Names of the groups whose videos are in more than one fold; `fold (M,)`, `groups (M,)`."""
    names, group_of = np.unique(groups, return_inverse=True)
    pairs = np.unique(np.stack([group_of, fold]), axis=1)[0]
    numbers, times = np.unique(pairs, return_counts=True)
    return [str(name) for name in names[numbers[times > 1]]]


def validation_part(labels: NDArray, *, groups: NDArray, share: float, seed: int) -> NDArray[np.bool_]:
    """`(M,)` bool, True for about `share` of the videos: whole groups, at least one, never all.

    Videos that are all of one group are drawn one by one, with a warning: their validation loss flatters.

    Args:
        labels: `(M,)` class numbers.
        groups: `(M,)` of any type.
        share: above 0 and below 1.
        seed: another seed, another deal.

    Raises:
        UsageError: fewer than two videos, or as `grouped_folds`.
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
    return grouped_folds(labels, groups=groups, folds=folds, seed=seed) < taken[folds]


def _numbered(labels: NDArray, groups: NDArray | None) -> NDArray[np.intp]:
    """Number of each video's group, `(M,)`; UsageError where labels or groups cannot be what they are said to be."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UsageError(f"labels {labels.dtype} {labels.shape}: they are class numbers (M,); name the groups groups=…")
    if groups is None:
        return np.arange(len(labels))
    if np.shape(groups) != labels.shape:
        raise UsageError(f"groups {np.shape(groups)} of labels {labels.shape}: each video has one of both")
    return np.unique(np.asarray(groups), return_inverse=True)[1]
