"""What the outputs of runs are worth on their test videos: figures with intervals, paired differences, a verdict.

Videos of all splits count together. Intervals are 95 % percentile bootstraps over whole groups, as of `avr fuse`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avr.fusion import figures as figures_of
from avr.fusion import mcnemar_p, paired_bootstrap, told_apart
from avr.store import UNTRAINED

from .reading import Outcome


@dataclass(frozen=True)
class Figures:
    """One output's figures, as shares: `low` and `high` are top-1's interval, `spread` its deviation over splits."""

    top1: float
    low: float
    high: float
    top5: float
    mean_class: float
    log_loss: float
    ece: float
    spread: float | None


@dataclass(frozen=True)
class Difference:
    """Top-1 of one output minus another's on the same videos: with its interval, and p of McNemar's exact test."""

    one: str
    other: str
    difference: float
    low: float
    high: float
    p: float
    sign: int  # 1, −1 where the videos tell the two apart

    @property
    def told(self) -> str:
        """In words."""
        return ("cannot be told apart", "better", "worse")[self.sign]


def judge(outcome: Outcome) -> dict[str, Figures]:
    """The figures of each output."""
    found = {name: outcome.pooled(name) for name in outcome.outputs}
    right = np.stack([values.argmax(axis=1) == outcome.labels for values in found.values()], axis=1).astype(float)
    lows, highs = paired_bootstrap(right, outcome.groups)
    judged = {}
    for (name, values), low, high in zip(found.items(), lows, highs, strict=True):
        each = [rows[name]["top1"] for rows in outcome.rows.values()]
        judged[name] = Figures(
            **figures_of(values, values, outcome.labels),
            low=low,
            high=high,
            spread=float(np.std(each, ddof=1)) if len(each) > 1 else None,
        )
    return judged


def right_by_video(outcome: Outcome, output: str) -> NDArray[np.bool_]:
    """Whether an output is right on each test video `(M,)`, those of a split in the order of their ids."""
    found = [
        (judged.outputs[output].argmax(axis=1) == judged.labels)[np.argsort(judged.ids)]
        for judged in outcome.splits.values()
    ]
    return np.concatenate(found)


def difference(one: tuple[Outcome, str], other: tuple[Outcome, str], names: tuple[str, str]) -> Difference:
    """One output of a run against another of the same or of another run on the same videos."""
    right, beside = right_by_video(*one), right_by_video(*other)
    ordered = [judged.groups[np.argsort(judged.ids)] for judged in one[0].splits.values()]
    groups = np.concatenate(ordered)
    change = right.astype(float) - beside
    low, high = paired_bootstrap(change, groups)
    found = {"difference": float(change.mean()), "low": low, "high": high, "p": mcnemar_p(right, beside)}
    return Difference(*names, **found, sign=told_apart(found, len(np.unique(groups))))


def baselines(outcome: Outcome) -> dict[str, str]:
    """What a run's main output is held against, by what it is: the best of several streams, the better untrained rule.

    Both are chosen on the judged videos themselves, so that a comparison is never in the main output's favour.
    """
    streams = [name for name in next(iter(outcome.splits.values())).streams if name in outcome.outputs]
    untrained = [name for name in reversed(UNTRAINED) if name in outcome.outputs and name not in streams]
    rules = "the other untrained rule" if outcome.main in untrained else "the better untrained rule"
    found = {}
    for what, names in (("the best stream", streams), (rules, untrained)):
        others = [name for name in names if name != outcome.main]
        if others:
            found[what] = max(others, key=lambda name: float(right_by_video(outcome, name).mean()))
    return found


def own_differences(outcome: Outcome) -> list[Difference]:
    """The main output against its baselines."""
    return [
        difference((outcome, outcome.main), (outcome, name), (outcome.main, f"{name}, {what}"))
        for what, name in baselines(outcome).items()
    ]


def same_videos(outcomes: Sequence[Outcome]) -> bool:
    """Whether runs were judged on the same videos of the same splits, with the same classes."""
    first, *others = outcomes
    return all(
        one.class_names == first.class_names
        and list(one.splits) == list(first.splits)
        and all(np.array_equal(np.sort(one.splits[s].ids), np.sort(first.splits[s].ids)) for s in first.splits)
        for one in others
    )


def families(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """Runs that were judged on the same videos, together; the one that is right most often first."""
    found: list[list[Outcome]] = []
    for outcome in outcomes:
        home = next((family for family in found if same_videos([family[0], outcome])), None)
        if home is None:
            found.append([outcome])
        else:
            home.append(outcome)
    return [sorted(family, key=lambda one: -float(right_by_video(one, one.main).mean())) for family in found]


def verdict(family: Sequence[Outcome], figures: Mapping[str, Mapping[str, Figures]]) -> str:
    """What the runs of a family come to, in a few plain sentences."""
    best = family[0]
    own = figures[best.name][best.main]
    several = len(family) > 1
    text = (
        f"{best.name}{f' is the best of {len(family)} runs:' if several else ':'} its output {best.main} is right on "
    )
    text += f"{_percent(own.top1)} of {len(best.labels)} {best.judged_on} (95 % interval {_percent(own.low)} to "
    text += f"{_percent(own.high)}). "
    found = own_differences(best)
    if several:
        other = family[1]
        found.append(difference((best, best.main), (other, other.main), (best.main, f"{other.name}, the next run")))
    text += " ".join(map(_told, found))
    return text.rstrip() + (
        " The best of several, chosen on the videos it is judged on, is flattered." if several else ""
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _told(found: Difference) -> str:
    how = ("These videos do not show that it is better than", "It is better than", "It is worse than")[found.sign]
    between = f"{100 * found.low:+.1f} to {100 * found.high:+.1f}"
    return f"{how} {found.other}: {100 * found.difference:+.1f} points ({between})."


def per_class_accuracy(confusion: NDArray) -> NDArray[np.float64]:
    """Accuracy `(K,)` of each class, from counts `(K, K)` with true classes as rows; NaN where a class has no video."""
    return _shares(np.diag(confusion), confusion.sum(axis=1))


def precision(confusion: NDArray) -> NDArray[np.float64]:
    """Of the videos taken for each class `(K,)`, the share that is of it; NaN where none is taken for it."""
    return _shares(np.diag(confusion), confusion.sum(axis=0))


def confidence_by_class(probabilities: NDArray, labels: NDArray) -> NDArray[np.float64]:
    """Mean probability of the true class of each class's videos `(K,)` (Zheng et al. 2020, fig. 7); NaN without any."""
    own = probabilities[np.arange(len(labels)), labels]
    classes = probabilities.shape[1]
    return _shares(np.bincount(labels, own, minlength=classes), np.bincount(labels, minlength=classes))


def _shares(parts: NDArray, wholes: NDArray) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.full(len(wholes), np.nan)
    np.divide(parts, wholes, out=found, where=wholes > 0)
    return found


def most_confused(confusion: NDArray, count: int = 10) -> list[tuple[int, int, int, float]]:
    """The pairs of classes most often taken for one another's.

    Args:
        confusion: counts `(K, K)`, row the true class, column the predicted one.
        count: how many pairs at most.

    Returns:
        (true class, predicted class, videos, share of the true class's videos), most videos first; ties by larger
        share, then by smaller class numbers. Pairs that never occur are left out.
    """
    sizes = confusion.sum(axis=1)
    pairs = [
        (int(true), int(predicted), int(confusion[true, predicted]), float(confusion[true, predicted] / sizes[true]))
        for true, predicted in np.argwhere(confusion > 0)
        if true != predicted
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], -pair[3], pair[0], pair[1]))[:count]


def cut_confusion(confusion: NDArray, most: int) -> tuple[list[int], NDArray[np.int64]]:
    """Counts of at most so many classes, the others as one row and one column at the end, "other".

    Those that are kept have the most wrong videos, of theirs and taken for theirs, which is what one looks for. Liu et
    al. 2022 (fig. 5) keep the most frequent ones; in the usual test parts all are nearly equally frequent.

    Returns:
        numbers of the classes kept, ascending; counts `(N, N)`, or `(N + 1, N + 1)` where classes were left out.
    """
    wrong = confusion.sum(axis=0) + confusion.sum(axis=1) - 2 * np.diag(confusion)
    if len(confusion) <= most:
        return list(range(len(confusion))), confusion
    kept = np.sort(np.argsort(-wrong, kind="stable")[:most])
    place: NDArray[np.intp] = np.full(len(confusion), most)
    place[kept] = np.arange(most)
    cut = np.zeros((most + 1, most + 1), dtype=np.int64)
    np.add.at(cut, (place[:, None], place[None, :]), confusion)
    return kept.tolist(), cut
