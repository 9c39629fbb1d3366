"""`avr fuse compare`: every rule on the same folds, beside averaging."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from avr.core import Progress, UsageError, note, warn

from ._base import Fuser
from ._evaluate import Evaluation, Judged, Parts, judge, parts_of
from ._inputs import Table, gather
from ._report import difference, first_judged, labels_of, pooled, table_rows
from ._rules import make_fuser, rule_class, rule_names
from ._runs import by_split, find_scores

BASE = "average"
# The paper's own program is worth a row beside the default objective.
EXTRA = {"awf stilt": ("awf", {"objective": "stilt"})}


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        streams: S names. splits: names. class_names: K names.
        rows: one dict a stream and rule: the figures of `avr fuse`, and difference, low, high, p against average.
        weights: rule to split to (K, S) nested lists, of rules that have per-class weights, fitted on all that may be.
        protocol: split to what was fitted and judged on what.
        notes: what the rules say about their fits, by split.
    """

    streams: tuple[str, ...]
    splits: tuple[str, ...]
    class_names: tuple[str, ...]
    rows: list[dict[str, Any]]
    weights: dict[str, dict[str, list[list[float]]]]
    protocol: dict[str, str]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def compare(
    scores: Sequence[Path | str] = (),
    rules: Sequence[str] | None = None,
    *,
    split: str | None = None,
    streams: Sequence[str] | None = None,
    evaluation: Evaluation | None = None,
) -> Comparison:
    """Judge every rule on the same videos: out-of-fold training scores to test scores, or the same grouped folds.

    Args:
        scores: score files, run folders or folders of runs; none: the newest run of each head under `runs/`.
        rules: names; None: all that read scores, and awf with the paper's objective.
        split: one split's name; None: every split that all files have.
        streams: which streams; None: all but the heads' own fused ones.
        evaluation: folds, repeats, seed, bootstrap.

    Raises:
        UsageError: as `fuse`.
    """
    evaluation = Evaluation() if evaluation is None else evaluation
    chosen = chosen_rules(rules)
    tables = {name: gather(part, streams=streams) for name, part in by_split(find_scores(scores), split).items()}
    parts: dict[str, Parts] = {}
    judged: dict[str, dict[str, Judged]] = {}
    with Progress("compare", total=len(tables) * len(chosen), unit="rules") as progress:
        for name, table in tables.items():
            parts[name] = parts_of(table, evaluation)
            note(f"compare: split {name}: {', '.join(table.streams)}; {parts[name].protocol}")
            judged[name] = {}
            for place, stream in enumerate(table.streams):
                alone = replace(table, X=table.X[:, [place]])
                judged[name][stream] = judge(alone, parts[name], partial(make_fuser, BASE, kind=[table.kinds[place]]))
            for label, (rule, options) in chosen.items():
                judged[name][label] = judge(table, parts[name], maker(rule, table, options))
                progress.advance(rule=label)
    return summarise(tables, parts, judged, list(chosen), evaluation)


def chosen_rules(rules: Sequence[str] | None) -> dict[str, tuple[str, dict[str, Any]]]:
    """Row name to (rule, options), average first; rules that warn are warned about."""
    if rules is None:
        names = [name for name in rule_names() if rule_class(name).reads == "scores"]
        chosen: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in names} | EXTRA
    else:
        chosen = {name: EXTRA.get(name, (name, {})) for name in rules}
        features = [name for name, (rule, _) in chosen.items() if rule_class(rule).reads != "scores"]
        if features:
            raise UsageError(f"compare: {features[0]} reads features, not scores; run `avr fuse {features[0]}`")
    for rule, _ in chosen.values():
        if rule_class(rule).warning:
            warn(rule_class(rule).warning)
    return {BASE: (BASE, {})} | chosen


def maker(rule: str, table: Table, options: dict[str, Any]) -> "partial[Fuser]":
    """What makes the unfitted rule for a table's streams."""
    return partial(
        make_fuser, rule, **{"kind": list(table.kinds), **rule_class(rule).options_for(table.streams), **options}
    )


def summarise(
    tables: dict[str, Table],
    parts: dict[str, Parts],
    judged: dict[str, dict[str, Judged]],
    rules: list[str],
    evaluation: Evaluation,
) -> Comparison:
    """Figures, differences from average, weights and notes of all rows."""
    labels, once = labels_of(tables, parts), first_judged(tables, parts)
    groups = np.concatenate([table.groups[parts[name].judged] for name, table in tables.items()])
    base = pooled(tables, judged, BASE).scores.argmax(axis=1) == labels
    rows = table_rows(tables, parts, judged)
    for row in rows:
        right = pooled(tables, judged, row["name"]).scores.argmax(axis=1) == labels
        row |= difference(right, base, groups, once, evaluation)
    weights: dict[str, dict[str, list[list[float]]]] = {}
    notes = []
    for rule in rules:
        for name in tables:
            fuser = judged[name][rule].fuser
            found = None if fuser is None else fuser.class_weights()
            if found is not None:
                weights.setdefault(rule, {})[name] = found.tolist()
            notes += [f"split {name}: {text}" for text in (fuser.notes() if fuser else [])]
    first = next(iter(tables.values()))
    return Comparison(
        streams=first.streams,
        splits=tuple(tables),
        class_names=first.class_names,
        rows=rows,
        weights=weights,
        protocol={name: part.protocol for name, part in parts.items()},
        notes=notes,
    )
