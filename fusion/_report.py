"""The table, the differences and the calibration of a fusion, over one split or several."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import measure
from avr.store import UNTRAINED

from ._probabilities import fit_temperature, floors_of, log_loss, log_probabilities, tempered
from ._trials import Evaluation, Trial
from ._verdict import verdict


def table_rows(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """One dict a stream and rule: its figures over all judged videos, and their mean and spread over splits."""
    rows = []
    for name in trials[0].results:
        results = [(trial.results[name], trial.labels) for trial in trials]
        each = [(judged.scores, judged.probabilities, labels) for judged, labels in results]
        scores, probabilities, labels = map(np.concatenate, zip(*each, strict=True))
        row: dict[str, Any] = {"name": name, "videos": len(labels), **figures(scores, probabilities, labels)}
        if len(trials) > 1:
            found = [figures(*one) for one in each]
            row["over_splits"] = {
                figure: {
                    "mean": float(np.mean([one[figure] for one in found])),
                    "spread": float(np.std([one[figure] for one in found], ddof=1)),
                }
                for figure in found[0]
            }
        rows.append(row)
    return rows


def figures(scores: NDArray, probabilities: NDArray, labels: NDArray) -> dict[str, float]:
    """Top-1, top-5 and mean class accuracy, log-loss (natural logarithm) and expected calibration error (15 bins).

    Args:
        scores: (J, K), larger is better. probabilities: (J, K), same order.
        labels: (J,) class numbers.
    """
    return {
        **measure(scores, labels),
        "log_loss": log_loss(np.log(np.maximum(probabilities, 1e-15)), labels),
        "ece": expected_calibration_error(probabilities, labels),
    }


def right(trials: Sequence[Trial], name: str) -> NDArray[np.bool_]:
    """Whether a stream or rule is right on each judged video of all splits, `(J,)`."""
    return np.concatenate([trial.results[name].scores.argmax(axis=1) == trial.labels for trial in trials])


def differences(
    trials: Sequence[Trial], pairs: Sequence[tuple[str, str]], evaluation: Evaluation
) -> list[dict[str, Any]]:
    """Difference in top-1 of each pair of rules, the first minus the second, paired by video.

    One dict a pair: difference, low and high (95 % interval), p (McNemar). The interval counts each repeat of the
    cross-validation, McNemar's test the first alone: there, a video counts once.
    """
    found = {name: right(trials, name) for pair in pairs for name in pair}
    groups = np.concatenate([trial.table.groups[trial.judged] for trial in trials])
    changes = np.stack([found[rule].astype(float) - found[other] for rule, other in pairs], axis=1)
    low, high = paired_bootstrap(changes, groups, repeats=evaluation.bootstrap, seed=evaluation.seed)
    repeats = [np.arange(len(trial.judged)) // len(np.unique(trial.judged)) for trial in trials]
    once = np.concatenate(repeats) == 0
    return [
        {
            "difference": float(changes[:, i].mean()),
            "low": low[i],
            "high": high[i],
            "p": mcnemar_p(found[rule][once], found[other][once]),
        }
        for i, (rule, other) in enumerate(pairs)
    ]


def best_stream(trials: Sequence[Trial]) -> str:
    """The single stream that is right most often on the judged videos themselves.

    No stream chosen beforehand does better, so that a comparison with it is never in a rule's favour.
    """
    return _most_often_right(trials, trials[0].table.streams)


def better_untrained(trials: Sequence[Trial], *, but: str = "") -> str:
    """Of `UNTRAINED`, but for one, the rule that is right most often on the judged videos themselves; see above.

    Of two that are so equally often, multiply.
    """
    return _most_often_right(trials, [name for name in reversed(UNTRAINED) if name != but])


def _most_often_right(trials: Sequence[Trial], names: Sequence[str]) -> str:
    return max(names, key=lambda name: right(trials, name).mean())


def against_baselines(
    trials: Sequence[Trial], rule: str, evaluation: Evaluation, *, chosen_of: int = 1
) -> tuple[dict[str, dict[str, Any]], str]:
    """The rule's differences from the best stream and the better untrained rule, as `FusionResult` has them, and what
    to use."""
    stream, untrained = best_stream(trials), better_untrained(trials, but=rule)
    pairs = {"best stream": (rule, stream), "untrained": (rule, untrained), "both": (untrained, stream)}
    found = differences(trials, list(pairs.values()), evaluation)
    against = {what: {"name": other, **one} for (what, (_, other)), one in zip(pairs.items(), found, strict=True)}
    told = {what: against[what] for what in ("best stream", "untrained")}
    if len(trials[0].table.streams) == 1:  # there is nothing to choose
        return told, ""
    return told, verdict(
        rule,
        against,
        videos=sum(len(np.unique(trial.judged)) for trial in trials),
        groups=len(np.unique(np.concatenate([trial.table.groups[trial.judged] for trial in trials]))),
        chosen_of=chosen_of,
    )


def calibration_report(trial: Trial) -> dict[str, Any]:
    """For each stream, its temperature and what it does: expected calibration error and reliability before and after.

    The temperature is fitted where the rules are fitted and judged where they are judged; the one named is fitted on
    all that may be fitted on.
    """
    table, labels = trial.table, trial.labels
    scores = log_probabilities(table.X, table.kinds, floors_of(table.X, table.kinds))
    report = {}
    for place, name in enumerate(table.streams):
        stream = scores[:, place]
        before = np.exp(stream[trial.judged])
        whole = fit_temperature(stream[trial.fit_all], table.labels[trial.fit_all])
        temperatures = [fit_temperature(stream[fit], table.labels[fit], near=whole) for fit, _ in trial.pairs]
        held = [tempered(stream[held], t) for (_, held), t in zip(trial.pairs, temperatures, strict=True)]
        after = np.exp(np.concatenate(held))
        report[name] = {
            "temperature": whole,
            "ece_before": expected_calibration_error(before, labels),
            "ece_after": expected_calibration_error(after, labels),
            "reliability_before": reliability_table(before, labels),
            "reliability_after": reliability_table(after, labels),
        }
    return report


def reliability_table(probabilities: NDArray, labels: NDArray, *, bins: int = 15) -> list[dict[str, float]]:
    """Confidence against accuracy in bins of equal width (Guo et al. 2017, section 2), empty ones left out.

    Args:
        probabilities: (M, K).
        labels: (M,) class numbers.
        bins: how many; bin b holds confidences in (b/bins, (b+1)/bins].

    Returns:
        one dict a bin: low, high, videos, confidence (mean of the largest probability), accuracy.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return [
        {
            "low": b / bins,
            "high": (b + 1) / bins,
            "videos": int((place == b).sum()),
            "confidence": float(confidence[place == b].mean()),
            "accuracy": float(right[place == b].mean()),
        }
        for b in range(bins)
        if (place == b).any()
    ]


def expected_calibration_error(probabilities: NDArray, labels: NDArray, *, bins: int = 15) -> float:
    """Mean distance of accuracy from confidence over the reliability bins, each weighted by its videos."""
    table = reliability_table(probabilities, labels, bins=bins)
    return sum(row["videos"] * abs(row["accuracy"] - row["confidence"]) for row in table) / max(len(labels), 1)


def paired_bootstrap(
    difference: NDArray,
    groups: NDArray | None = None,
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> tuple[Any, Any]:
    """95 % percentile interval of the mean difference between two rules on the same videos.

    Whole groups are drawn with replacement: clips of one source film succeed and fail together, and drawing them one by
    one gives an interval that is too narrow.

    Args:
        difference: (M,) a video's result under one rule minus under the other, such as +1, 0, -1; or (M, D) of several
            pairs of rules, which get the same draws.
        groups: (M,); None: each video is its own group.
        repeats: how many samples are drawn.
        seed: of the draw.

    Returns:
        the interval's ends, in the difference's unit, each a float or a list of D.
    """
    names = np.arange(len(difference)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    sizes = np.bincount(names).astype(float)
    totals = np.zeros((len(sizes), *difference.shape[1:]))
    np.add.at(totals, names, difference)
    generator = np.random.default_rng(seed)
    times = generator.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=repeats).astype(float)
    means = ((times @ totals).T / (times @ sizes)).T
    low, high = np.quantile(means, [0.025, 0.975], axis=0).tolist()
    return low, high


def mcnemar_p(right: NDArray, other_right: NDArray) -> float:
    """Exact two-sided p of McNemar's test; both `(M,)` bool, whether each rule is right on a video.

    The test takes videos as independent: with many clips a source film it is too sure, the group bootstrap is not.
    """
    only, other_only = int((right & ~other_right).sum()), int((~right & other_right).sum())
    count, fewer = only + other_only, min(only, other_only)
    # ln of the binomial coefficients (count over 0 … fewer), each from the one before it: no factorial overflows.
    steps = np.log(np.arange(count, count - fewer, -1) / np.arange(1, fewer + 1))
    logarithms = np.concatenate([[0.0], np.cumsum(steps)]) - count * np.log(2)
    return min(1.0, 2 * float(np.exp(np.logaddexp.reduce(logarithms))))
