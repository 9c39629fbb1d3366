"""The table, the differences and the calibration of a fusion, over one split or several."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._calibration import expected_calibration_error, fit_temperature, reliability_table, tempered
from ._evaluate import UNTRAINED, Evaluation, Judged, Parts, figures
from ._inputs import Table
from ._probabilities import floors_of, log_probabilities
from ._statistics import mcnemar_p, paired_bootstrap, spread

Tables = Mapping[str, Table]
AllParts = Mapping[str, Parts]
AllJudged = Mapping[str, Mapping[str, Judged]]


def labels_of(tables: Tables, parts: AllParts) -> NDArray[np.int64]:
    """Labels of the judged videos of all splits, one after another."""
    return np.concatenate([table.labels[parts[name].judged] for name, table in tables.items()])


def pooled(tables: Tables, judged: AllJudged, rule: str) -> Judged:
    """A rule's scores on the judged videos of all splits, one after another."""
    several = [judged[name][rule] for name in tables]
    return Judged(np.concatenate([j.scores for j in several]), np.concatenate([j.probabilities for j in several]))


def table_rows(tables: Tables, parts: AllParts, judged: AllJudged) -> list[dict[str, Any]]:
    """One dict a stream and rule: its figures over all judged videos, and their mean and spread over splits."""
    labels = labels_of(tables, parts)
    rows = []
    for rule in next(iter(judged[name] for name in tables)):
        row: dict[str, Any] = {"name": rule, "videos": len(labels), **figures(pooled(tables, judged, rule), labels)}
        if len(tables) > 1:
            each = [figures(judged[name][rule], tables[name].labels[parts[name].judged]) for name in tables]
            row["over_splits"] = {
                measure: dict(zip(("mean", "spread"), spread(np.array([one[measure] for one in each])), strict=True))
                for measure in each[0]
            }
        rows.append(row)
    return rows


def first_judged(tables: Tables, parts: AllParts) -> NDArray[np.bool_]:
    """Mask over the judged videos of all splits: the first repeat's, so that McNemar's test counts a video once."""
    masks = []
    for name in tables:
        mask = np.zeros(len(parts[name].judged), dtype=bool)
        mask[np.unique(parts[name].judged, return_index=True)[1]] = True
        masks.append(mask)
    return np.concatenate(masks)


def differences(
    rule: str, tables: Tables, parts: AllParts, judged: AllJudged, evaluation: Evaluation
) -> dict[str, dict[str, Any]]:
    """The rule minus the best single stream, average and multiply, in top-1, paired by video.

    The best single stream is the one that is best on the judged videos themselves: no stream chosen beforehand does
    better, so that the comparison is never in the rule's favour.
    """
    labels = labels_of(tables, parts)
    groups = np.concatenate([table.groups[parts[name].judged] for name, table in tables.items()])
    streams = next(iter(tables.values())).streams
    right = {
        name: pooled(tables, judged, name).scores.argmax(axis=1) == labels for name in (*streams, *UNTRAINED, rule)
    }
    once = first_judged(tables, parts)
    best = max(streams, key=lambda name: right[name].mean())
    return {
        other: difference(right[rule], right[best if other == "best stream" else other], groups, once, evaluation)
        | ({"stream": best} if other == "best stream" else {})
        for other in ("best stream", *UNTRAINED)
        if other != rule
    }


def difference(
    right: NDArray, other: NDArray, groups: NDArray, once: NDArray, evaluation: Evaluation
) -> dict[str, Any]:
    """Difference in top-1 of two rules on the same videos, both `(M,)` bool: value, 95 % interval, McNemar's p.

    `once (M,)` masks the videos that McNemar's test counts.
    """
    change = right.astype(float) - other
    low, high = paired_bootstrap(change, groups, repeats=evaluation.bootstrap, seed=evaluation.seed)
    return {"difference": float(change.mean()), "low": low, "high": high, "p": mcnemar_p(right[once], other[once])}


def calibration_report(table: Table, parts: Parts) -> dict[str, Any]:
    """For each stream, its temperature and what it does: expected calibration error and reliability before and after.

    The temperature is fitted where the rules are fitted and judged where they are judged; the one named is fitted on
    all that may be fitted on.
    """
    floors = floors_of(table.X, table.kinds)
    scores = log_probabilities(table.X, table.kinds, floors)
    labels = table.labels[parts.judged]
    report = {}
    for place, name in enumerate(table.streams):
        stream = scores[:, place]
        before = np.exp(stream[parts.judged])
        after = np.concatenate(
            [
                np.exp(tempered(stream[held], fit_temperature(stream[fit], table.labels[fit])))
                for fit, held in parts.pairs
            ]
        )
        report[name] = {
            "temperature": fit_temperature(stream[parts.fit_all], table.labels[parts.fit_all]),
            "ece_before": expected_calibration_error(before, labels),
            "ece_after": expected_calibration_error(after, labels),
            "reliability_before": reliability_table(before, labels),
            "reliability_after": reliability_table(after, labels),
        }
    return report
