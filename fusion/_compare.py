"""`avr fuse compare`: every rule on the same folds, beside averaging."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avr.core import Progress, note, warn

from ._base import rule_class, rule_names
from ._evaluate import Evaluation, Judged, Trial, judge_each, parts_of
from ._inputs import read_tables
from ._report import difference, table_rows

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
        return dict(vars(self))


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
    tables = read_tables(scores, split=split, streams=streams)
    trials = []
    with Progress("compare", total=len(tables) * len(chosen), unit="rules") as progress:
        for table in tables:
            parts = parts_of(table, evaluation)
            note(f"compare: split {table.split}: {', '.join(table.streams)}; {parts.protocol}")
            suited = {
                label: (rule, {**rule_class(rule).options_for(table.streams), **options})
                for label, (rule, options) in chosen.items()
            }
            judged: dict[str, Judged] = {}
            for name, result in judge_each(table, parts, suited):
                judged[name] = result
                if name in suited:
                    progress.advance(rule=name)
            trials.append(Trial(table, parts, judged))
    return summarise(trials, list(chosen), evaluation)


def chosen_rules(rules: Sequence[str] | None) -> dict[str, tuple[str, dict[str, Any]]]:
    """Row name to (rule, options), average first; rules that warn are warned about."""
    names = [*rule_names(), *EXTRA] if rules is None else rules
    chosen: dict[str, tuple[str, dict[str, Any]]] = {name: EXTRA.get(name, (name, {})) for name in names}
    for rule, _ in chosen.values():
        if rule_class(rule).warning:
            warn(rule_class(rule).warning)
    return {BASE: (BASE, {})} | chosen


def summarise(trials: Sequence[Trial], rules: Sequence[str], evaluation: Evaluation) -> Comparison:
    """Figures, differences from average, weights and notes of all rows."""
    rows = [row | difference(trials, row["name"], BASE, evaluation) for row in table_rows(trials)]
    weights: dict[str, dict[str, list[list[float]]]] = {}
    notes = []
    for rule in rules:
        for trial in trials:
            fitted, split = trial.judged[rule].rule, trial.table.split
            found = fitted.class_weights()
            if found is not None:
                weights.setdefault(rule, {})[split] = found.tolist()
            notes += [f"split {split}: {text}" for text in fitted.notes()]
    first = trials[0].table
    return Comparison(
        streams=first.streams,
        splits=tuple(trial.table.split for trial in trials),
        class_names=first.class_names,
        rows=rows,
        weights=weights,
        protocol={trial.table.split: trial.parts.protocol for trial in trials},
        notes=notes,
    )
