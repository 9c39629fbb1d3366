"""A rule's honest result on one split: fitted on out-of-fold scores and applied to test scores, or cross-validated."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from avr.core import (
    About,
    NonNegativeInt,
    PositiveInt,
    Range,
    UsageError,
    check_fields,
    grouped_folds,
    note,
    possible_folds,
    split_groups,
    warn,
)
from avr.store import TRAINED_ON, UNLABELLED, is_test

from ._base import Rule
from ._inputs import Table


@dataclass(frozen=True)
class Evaluation:
    """How results are measured; saved with them.

    With `force_random_folds`, folds are dealt over videos although that splits groups, and out-of-fold scores whose
    folds split groups are taken.

    Raises:
        UsageError: a number that is too small.
    """

    folds: Annotated[int, Range(least=2), About("Where there are test scores alone.")] = 5
    repeats: Annotated[PositiveInt, About("Of the cross-validation, each with other folds.")] = 1
    seed: Annotated[NonNegativeInt, About("Of the folds and the bootstrap.")] = 0
    bootstrap: Annotated[PositiveInt, About("Samples of the paired bootstrap.")] = 2000
    force_random_folds: Annotated[bool, About("Let folds split groups: results leak.")] = False

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Judged:
    """A rule's fused scores on the judged videos of one split.

    Attributes:
        scores: (J, K) larger is better.
        rule: fitted on all that may be fitted on.
    """

    scores: NDArray
    rule: Rule

    @property
    def probabilities(self) -> NDArray:
        """The same (J, K) as probabilities."""
        return self.rule.as_probabilities(self.scores)


@dataclass(frozen=True)
class Trial:
    """One split on which streams and rules are tried.

    Attributes:
        table: the split's videos.
        pairs: positions in the table that are fitted on and judged: one pair for out-of-fold scores, else one a fold
            and repeat.
        protocol: the same in words.
        results: what each stream and rule gave, by name, in the order they were tried.
    """

    table: Table
    pairs: list[tuple[NDArray, NDArray]]
    protocol: str
    results: dict[str, Judged] = field(default_factory=dict)

    @property
    def judged(self) -> NDArray:
        """Positions (J,) of the judged videos, pair after pair; a video occurs once a repeat."""
        return np.concatenate([held for _, held in self.pairs])

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels (J,) of the judged videos."""
        return self.table.labels[self.judged]

    @property
    def fit_all(self) -> NDArray:
        """Positions of all that may be fitted on."""
        return self.pairs[0][0] if len(self.pairs) == 1 else np.arange(len(self.table.labels))

    def judge(self, make: Callable[[], Rule], *, stream: int | None = None) -> Judged:
        """Fit and apply a rule, on all streams or on one, on each pair; the rule kept is fitted on all that may be."""
        table = self.table
        X = table.X if stream is None else table.X[:, [stream]]

        def fitted(videos: NDArray) -> Rule:
            rule: Rule = make().fit(X[videos], table.labels[videos], table.groups[videos])
            return rule

        rules = [fitted(fit) for fit, _ in self.pairs]
        scores = [rule.decision_function(X[held]) for rule, (_, held) in zip(rules, self.pairs, strict=True)]
        return Judged(np.concatenate(scores), rules[0] if len(rules) == 1 else fitted(self.fit_all))


def trial_of(table: Table, evaluation: Evaluation) -> Trial:
    """A split with which of its videos a rule is fitted and judged on, for rules to be tried.

    Raises:
        UsageError: no test videos, videos without a label, one group alone, or out-of-fold folds that split a group
            (unless forced).
    """
    unknown = table.labels == UNLABELLED
    if unknown.any():
        raise UsageError(
            f"{unknown.sum()} of {len(unknown)} videos have no label, first {table.ids[unknown.argmax()]}: rules are "
            "fitted and judged on labels; give them to the import, or apply a fitted fusion (avr fuse apply)"
        )
    train, test = np.flatnonzero(~is_test(table.fold)), np.flatnonzero(is_test(table.fold))
    if not len(test):
        raise UsageError("no test scores in these files: there is nothing to judge a fusion on")
    if len(train):
        check_out_of_fold(table, train, test, evaluation)
        kind = "held-out" if len(np.unique(table.fold[train])) == 1 else "out-of-fold training"
        text = f"fitted on {len(train)} {kind} scores, judged on {len(test)} test videos"
        return Trial(table, [(train, test)], text)
    return cross_validation(table, evaluation)


def of_split(name: str) -> str:
    """ " of split 1"; nothing of scores that name none."""
    return f" of split {name}" if name else ""


def cross_validation(table: Table, evaluation: Evaluation) -> Trial:
    """A split of test videos alone: fitted and judged inside them by folds, as many of those asked for as can be."""
    forced = evaluation.force_random_folds
    groups = np.arange(len(table.labels)) if forced else table.groups
    count = len(np.unique(groups))
    folds = possible_folds(groups, folds=evaluation.folds)
    if not folds:
        raise UsageError(
            f"all {len(groups)} test videos are of one group, {groups[0]}, and folds never split a group: give "
            "validation scores to fit on, import the scores with groups, or deal random folds (--force-random-folds)"
        )
    if folds < evaluation.folds:
        note(f"{evaluation.folds} folds of {count} {'videos' if forced else 'groups'} cannot be: takes {folds}")
    if forced and len(np.unique(table.groups)) < len(table.groups):
        warn("folds are dealt over videos: groups are split between fitting and judging, and results are too good")
    pairs = []
    for repeat in range(evaluation.repeats):
        fold = grouped_folds(table.labels, groups=groups, folds=folds, seed=evaluation.seed + repeat)
        pairs += [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(folds)]
    text = f"cross-validated within {len(table.labels)} test videos: {folds} folds"
    text += " over videos" if forced else f" over {count} groups"
    text += f", {evaluation.repeats} times" if evaluation.repeats > 1 else ""
    return Trial(table, pairs, text)


def check_out_of_fold(table: Table, train: NDArray, test: NDArray, evaluation: Evaluation) -> None:
    """Warn of, or refuse, training scores that a fusion must not learn from."""
    fold = table.fold[train]
    if (fold == TRAINED_ON).any():
        warn(
            f"{int((fold == TRAINED_ON).sum())} of {len(train)} training scores are of the head's own training videos, "
            "not out-of-fold: they are saturated, and what is learnt from them is worth little (train with --folds)"
        )
    else:
        split = split_groups(fold, groups=table.groups[train])
        if split and not evaluation.force_random_folds:
            raise UsageError(
                f"the training scores' folds split {len(split)} groups, first {', '.join(split[:10])}: they leak; "
                "train with grouped folds, or take them as they are with --force-random-folds"
            )
    shared = sorted(set(table.groups[train]) & set(table.groups[test]))
    if shared:
        warn(f"{len(shared)} groups are in both parts{of_split(table.split)}, first {', '.join(shared[:3])}")
    right = (table.X.argmax(axis=2) == table.labels[:, None]).astype(float)  # (M, S)
    for stream, name in enumerate(table.streams):
        fitted, judged = right[train, stream].mean(), right[test, stream].mean()
        if fitted > 0.995 and fitted - judged > 0.1:
            warn(
                f"{name} is right on {100 * fitted:.1f} % of its training videos and {100 * judged:.1f} % of the test "
                "videos: these scores do not look out-of-fold, and what is learnt from them is worth little"
            )
