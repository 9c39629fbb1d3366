"""A rule's honest result on one split: fitted on out-of-fold scores and applied to test scores, or cross-validated."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, grouped_folds, measure, split_groups, warn
from avr.store import TRAINED_ON, is_test

from ._base import Fuser
from ._calibration import expected_calibration_error, log_loss
from ._inputs import Table
from ._rules import make_fuser

UNTRAINED = ("average", "multiply")


@dataclass(frozen=True)
class Evaluation:
    """How results are measured; saved with them.

    Attributes:
        folds: of the cross-validation, where there are test scores alone.
        repeats: of the cross-validation, each with other folds.
        seed: of the folds and of the bootstrap.
        bootstrap: samples of the paired bootstrap.
        force_random_folds: deal folds over videos although that splits groups, and take out-of-fold scores whose folds
            split groups.
    """

    folds: int = 5
    repeats: int = 1
    seed: int = 0
    bootstrap: int = 2000
    force_random_folds: bool = False


@dataclass(frozen=True)
class Parts:
    """Pairs of positions in the table (fit, judge): one for out-of-fold scores, else one a fold and repeat."""

    pairs: list[tuple[NDArray, NDArray]]
    judged: NDArray
    protocol: str
    fit_all: NDArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


def parts_of(table: Table, evaluation: Evaluation) -> Parts:
    """Which videos a rule is fitted and judged on.

    Raises:
        UsageError: no test videos, too few groups, or out-of-fold folds that split a group (unless forced).
    """
    train, test = np.flatnonzero(~is_test(table.fold)), np.flatnonzero(is_test(table.fold))
    if not len(test):
        raise UsageError("no test scores in these files: there is nothing to judge a fusion on")
    if len(train):
        check_out_of_fold(table, train, test, evaluation)
        text = f"fitted on {len(train)} out-of-fold training scores, judged on {len(test)} test videos"
        return Parts([(train, test)], test, text, train)
    groups = None if evaluation.force_random_folds else table.groups
    if evaluation.force_random_folds and len(np.unique(table.groups)) < len(table.groups):
        warn("folds are dealt over videos: groups are split between fitting and judging, and results are too good")
    pairs = []
    for repeat in range(evaluation.repeats):
        fold = grouped_folds(table.labels, groups=groups, folds=evaluation.folds, seed=evaluation.seed + repeat)
        pairs += [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(evaluation.folds)]
    text = f"cross-validated within {len(test)} test videos: {evaluation.folds} folds"
    text += " over videos" if groups is None else f" over {len(np.unique(table.groups))} groups"
    text += f", {evaluation.repeats} times" if evaluation.repeats > 1 else ""
    return Parts(pairs, np.concatenate([judged for _, judged in pairs]), text, test)


def check_out_of_fold(table: Table, train: NDArray, test: NDArray, evaluation: Evaluation) -> None:
    """Warn of, or refuse, training scores that a fusion must not learn from."""
    fold = table.fold[train]
    if (fold == TRAINED_ON).any():
        warn(
            f"{int((fold == TRAINED_ON).sum())} of {len(train)} training scores are of the head's own training videos, "
            "not out-of-fold: they are saturated, and what is learnt from them is worth little (train with --folds)"
        )
    elif len(np.unique(fold)) == 1:
        warn("all training scores are of one fold: they cannot be out-of-fold unless other folds were left out")
    else:
        split = split_groups(fold, groups=table.groups[train])
        if split and not evaluation.force_random_folds:
            raise UsageError(
                f"the training scores' folds split {len(split)} groups, first {', '.join(split[:10])}: they leak; "
                "train with grouped folds, or take them as they are with --force-random-folds"
            )
    shared = sorted(set(table.groups[train]) & set(table.groups[test]))
    if shared:
        warn(f"{len(shared)} groups are in both parts of split {table.split}, first {', '.join(shared[:3])}")
    right = (table.X.argmax(axis=2) == table.labels[:, None]).astype(float)  # (M, S)
    for stream, name in enumerate(table.streams):
        fitted, judged = right[train, stream].mean(), right[test, stream].mean()
        if fitted > 0.995 and fitted - judged > 0.1:
            warn(
                f"{name} is right on {100 * fitted:.1f} % of its training videos and {100 * judged:.1f} % of the test "
                "videos: these scores do not look out-of-fold, and what is learnt from them is worth little"
            )


@dataclass(frozen=True)
class Judged:
    """A rule's fused scores on the judged videos of one split (a video occurs once a repeat).

    Attributes:
        scores: (J, K) larger is better. probabilities: (J, K), same order.
        fuser: fitted on all that may be fitted on; None for a single stream.
    """

    scores: NDArray
    probabilities: NDArray
    fuser: Fuser | None = None


def judge(table: Table, parts: Parts, make: Callable[[], Fuser]) -> Judged:
    """Fit and apply a rule on each pair of parts; the rule kept is fitted on all of them."""
    scores, rows = [], []
    for fit, held in parts.pairs:
        fuser = make().fit(table.X[fit], table.labels[fit], table.groups[fit])
        scores.append(fuser.decision_function(table.X[held]))
        rows.append(fuser.predict_proba(table.X[held]))
    if len(parts.pairs) > 1:
        fuser = make().fit(table.X[parts.fit_all], table.labels[parts.fit_all], table.groups[parts.fit_all])
    return Judged(np.concatenate(scores), np.concatenate(rows), fuser)


def figures(judged: Judged, labels: NDArray) -> dict[str, float]:
    """Top-1, top-5 and mean class accuracy, log-loss (natural logarithm) and expected calibration error (15 bins)."""
    logarithms = np.log(np.maximum(judged.probabilities, 1e-15))
    return {
        **measure(judged.scores, labels),
        "log_loss": log_loss(logarithms, labels),
        "ece": expected_calibration_error(judged.probabilities, labels),
    }


def judge_with_untrained(rule: str, table: Table, parts: Parts, options: dict[str, Any]) -> dict[str, Judged]:
    """Each single stream, the untrained rules and the rule itself, by name, on the same videos."""
    judged = {}
    for place, name in enumerate(table.streams):
        alone = replace(table, X=table.X[:, [place]])
        judged[name] = judge(alone, parts, partial(make_fuser, "average", kind=[table.kinds[place]]))
    for name in (*UNTRAINED, *([rule] if rule not in UNTRAINED else [])):
        chosen = options if name == rule else {}
        judged[name] = judge(table, parts, partial(make_fuser, name, **{"kind": list(table.kinds), **chosen}))
    return judged
