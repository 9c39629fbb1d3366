"""`avr fuse RULE`: score files in, a fused result beside the untrained rules, and a run folder out."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from avr.core import note, warn
from avr.store import (
    RUNS,
    RunRecord,
    Scores,
    SplitRecord,
    claim_run,
    new_split,
    read_record,
    record_split,
    score_path,
    write_scores,
)

from ._base import Fuser
from ._early import early_parts, early_tables, judge_early
from ._evaluate import Evaluation, Judged, Parts, judge_with_untrained, parts_of
from ._inputs import Table, gather
from ._report import calibration_report, differences, table_rows
from ._rules import rule_class
from ._runs import OWN, by_split, find_scores
from ._saving import save_fuser


@dataclass(frozen=True)
class FusionResult:
    """What `fuse` found.

    Attributes:
        rule: its name. streams: S names. splits: names.
        rows: one dict a line of the table, single streams first, then average, multiply and the rule: name, top1, top5,
            mean_class, log_loss, ece (over all judged videos of all splits), spread (standard deviation over splits).
        differences: the rule minus the best single stream, average and multiply in top-1: difference, low, high (95 %
            interval, resampled by group), p (McNemar).
        splits_rows: the same rows, split by split.
        calibration: a stream: temperature, ece before and after, reliability tables.
        notes: what the rule says about its fit.
        protocol: what was fitted and judged on what.
        out: the run folder; None if nothing was written.
    """

    rule: str
    streams: tuple[str, ...]
    splits: tuple[str, ...]
    rows: list[dict[str, Any]]
    differences: dict[str, dict[str, Any]]
    splits_rows: dict[str, list[dict[str, Any]]]
    calibration: dict[str, Any]
    notes: list[str]
    protocol: dict[str, str]
    out: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def fuse(
    rule: str = "awf",
    scores: Sequence[Path | str] = (),
    *,
    split: str | None = None,
    streams: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    out: Path | None = None,
    store: Path | None = None,
    evaluation: Evaluation | None = None,
) -> FusionResult:
    """Fuse the streams of score files by a rule, judge it, write a run folder.

    Args:
        rule: name of a rule, such as "awf".
        scores: score files, run folders or folders of runs; none: the newest run of each head under `runs/`.
        split: one split's name; None: every split that all files have.
        streams: which streams, "flow" or "linear/flow"; None: all but the heads' own fused ones.
        options: of the rule.
        out: the run folder to write, which may hold this very fusion; None: the next `runs/fuse-<rule>-<k>`.
        store: a feature store, for `early-svm`; None: the newest under `features/`.
        evaluation: folds, repeats, seed, bootstrap.

    Raises:
        UsageError: nothing to fuse, streams that do not fit together, an unknown rule or option, an `out` that holds
            something else.
    """
    evaluation = Evaluation() if evaluation is None else evaluation
    chosen = {name: value for name, value in (options or {}).items() if value is not None}
    if rule_class(rule).warning:
        warn(rule_class(rule).warning)
    if rule_class(rule).reads == "features":
        tables = early_tables(store, split=split, streams=streams)
    else:
        tables = {name: gather(part, streams=streams) for name, part in by_split(find_scores(scores), split).items()}
    first = next(iter(tables.values()))
    if first.X.shape[1] == 1:
        warn(f"only one stream, {first.streams[0]}: there is nothing to fuse it with")
    early = rule_class(rule).reads == "features"
    judged: dict[str, dict[str, Judged]] = {}
    parts: dict[str, Parts] = {}
    for name, table in tables.items():
        parts[name] = early_parts(table) if early else parts_of(table, evaluation)
        note(f"fuse: split {name}: {', '.join(table.streams)}; {parts[name].protocol}")
        judge = judge_early if early else partial(judge_with_untrained, rule)
        judged[name] = judge(table, parts[name], {**rule_class(rule).options_for(table.streams), **chosen})
    result = FusionResult(
        rule=rule,
        streams=first.streams,
        splits=tuple(tables),
        rows=table_rows(tables, parts, judged),
        differences=differences(rule, tables, parts, judged, evaluation),
        splits_rows={name: table_rows({name: tables[name]}, parts, judged) for name in tables},
        calibration={} if early else {name: calibration_report(tables[name], parts[name]) for name in tables},
        notes=[text for name in tables for text in fitted(judged[name][rule]).notes()],
        protocol={name: part.protocol for name, part in parts.items()},
    )
    record = RunRecord(
        kind="fuse",
        identity={
            "splits": list(tables),
            "streams": list(first.streams),
            "scores": {name: _digest(table) for name, table in tables.items()},
            "evaluation": asdict(evaluation),
        },
        head=f"{OWN}{rule}",
        options=chosen,
        seed=evaluation.seed,
        store={"dataset": first.dataset},
    )
    folder = _write_run(out, record, tables, parts, {name: own[rule] for name, own in judged.items()}, result)
    return replace(result, out=folder)


def _digest(table: Table) -> str:
    """Of all that a rule is fitted and judged on."""
    digest = hashlib.sha256()
    for array in (table.X, table.labels, table.fold):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _write_run(
    out: Path | None,
    record: RunRecord,
    tables: Mapping[str, Table],
    parts: Mapping[str, Parts],
    judged: Mapping[str, Judged],
    result: FusionResult,
) -> Path:
    """Write what is not there yet: the only split in the run's folder itself, several in a folder each."""
    with claim_run(out, RUNS / record.head, record) as folder:
        finished = read_record(folder).splits
        if set(finished) >= set(tables):
            note(f"{folder} is finished already: nothing to do")
        for name in [name for name in tables if name not in finished]:
            with nullcontext(folder) if len(tables) == 1 else new_split(folder, name) as place:
                _write(place, tables[name], parts[name], judged[name], result)
            record_split(folder, name, SplitRecord(_figures(result.splits_rows[name])), summary=_figures(result.rows))
    return folder


def _figures(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {row["name"]: {name: float(row[name]) for name in ("top1", "top5", "mean_class")} for row in rows}


def fitted(judged: Judged) -> Fuser:
    """The rule that was fitted on all that may be fitted on."""
    assert judged.fuser is not None
    return judged.fuser


def _write(folder: Path, table: Table, parts: Parts, judged: Judged, result: FusionResult) -> None:
    """Write one split's fitted rule, fused scores and results."""
    about = {
        "dataset": table.dataset,
        "split": table.split,
        "class_names": list(table.class_names),
        "streams": list(table.streams),
        "kinds": list(table.kinds),
        "sources": list(table.sources),
        "protocol": parts.protocol,
        "results": {"rows": result.splits_rows[table.split], "differences": result.differences},
    }
    save_fuser(folder, fitted(judged), about)
    count = len(np.unique(parts.judged))  # the first repeat's, where there are several
    rows = parts.judged[:count]
    scores = Scores.of(
        table,
        {"fused": judged.probabilities[:count]},
        at=rows,
        kind="probabilities",
        split=table.split,
        head=f"fuse-{result.rule}",
        provenance={"protocol": parts.protocol, "sources": list(table.sources)},
    )
    write_scores(score_path(folder), scores)
