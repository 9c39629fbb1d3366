"""`avr fuse RULE`: score files in, a fused result beside the untrained rules, and a run folder out."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
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

from ._base import rule_class
from ._evaluate import Evaluation, Trial, judge_each, parts_of
from ._inputs import Table, read_tables
from ._report import best_stream, calibration_report, difference, table_rows
from ._runs import OWN
from ._saving import save_fuser

UNTRAINED = ("average", "multiply")


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
        out: the run folder.
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
    out: Path

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dict(vars(self))


def fuse(
    rule: str = "awf",
    scores: Sequence[Path | str] = (),
    *,
    split: str | None = None,
    streams: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    out: Path | None = None,
    evaluation: Evaluation | None = None,
) -> FusionResult:
    """Fuse the streams of score files by a rule, judge it, write a run folder.

    Args:
        rule: name of a rule over scores, such as "awf".
        scores: score files, run folders or folders of runs; none: the newest run of each head under `runs/`.
        split: one split's name; None: every split that all files have.
        streams: which streams, "flow" or "linear/flow"; None: all but the heads' own fused ones.
        options: of the rule.
        out: the run folder to write, which may hold this very fusion; None: the next `runs/fuse-<rule>-<k>`.
        evaluation: folds, repeats, seed, bootstrap.

    Raises:
        UsageError: nothing to fuse, streams that do not fit together, an unknown rule or option, a rule over features,
            an `out` that holds something else.
    """
    evaluation = Evaluation() if evaluation is None else evaluation
    made = rule_class(rule)
    if made.warning:
        warn(made.warning)
    given = {name: value for name, value in (options or {}).items() if value is not None}
    trials: list[Trial] = []
    for table in read_tables(scores, split=split, streams=streams):
        if len(table.streams) == 1 and not trials:
            warn(f"only one stream, {table.streams[0]}: there is nothing to fuse it with")
        parts = parts_of(table, evaluation)
        note(f"fuse: split {table.split}: {', '.join(table.streams)}; {parts.protocol}")
        own = {rule: (rule, {**made.options_for(table.streams), **given})}
        rules: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in UNTRAINED} | own
        trials.append(Trial(table, parts, dict(judge_each(table, parts, rules))))
    calibration = {trial.table.split: calibration_report(trial) for trial in trials}
    return conclude(rule, trials, evaluation, options=given, calibration=calibration, out=out)


def conclude(
    rule: str,
    trials: Sequence[Trial],
    evaluation: Evaluation,
    *,
    options: dict[str, Any],
    calibration: dict[str, Any],
    out: Path | None,
) -> FusionResult:
    """The rule's result from its trials, one a split, and its run folder `out` (None: the next free one), written."""
    others = {"best stream": best_stream(trials)} | {name: name for name in UNTRAINED if name != rule}
    differences = {shown: difference(trials, rule, other, evaluation) for shown, other in others.items()}
    differences["best stream"]["stream"] = others["best stream"]
    record = RunRecord(
        kind="fuse",
        identity={
            "splits": [trial.table.split for trial in trials],
            "streams": list(trials[0].table.streams),
            "scores": {trial.table.split: _digest(trial.table) for trial in trials},
            "evaluation": asdict(evaluation),
        },
        head=f"{OWN}{rule}",
        options=options,
        seed=evaluation.seed,
        store={"dataset": trials[0].table.dataset},
    )
    with claim_run(out, RUNS / record.head, record) as folder:
        result = FusionResult(
            rule=rule,
            streams=trials[0].table.streams,
            splits=tuple(trial.table.split for trial in trials),
            rows=table_rows(trials),
            differences=differences,
            splits_rows={trial.table.split: table_rows([trial]) for trial in trials},
            calibration=calibration,
            notes=[text for trial in trials for text in trial.judged[rule].rule.notes()],
            protocol={trial.table.split: trial.parts.protocol for trial in trials},
            out=folder,
        )
        _write_run(trials, result)
    return result


def _digest(table: Table) -> str:
    """Of all that a rule is fitted and judged on."""
    digest = hashlib.sha256()
    for array in (table.X, table.labels, table.fold):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _write_run(trials: Sequence[Trial], result: FusionResult) -> None:
    """Write what is not there yet: the only split in the run's folder itself, several in a folder each."""
    finished = read_record(result.out).splits
    if set(finished) >= set(result.splits):
        note(f"{result.out} is finished already: nothing to do")
    for trial in trials:
        split = trial.table.split
        if split in finished:
            continue
        with nullcontext(result.out) if len(trials) == 1 else new_split(result.out, split) as place:
            _write(place, trial, result)
        record = SplitRecord(_figures(result.splits_rows[split]))
        record_split(result.out, split, record, summary=_figures(result.rows))


def _figures(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {row["name"]: {name: float(row[name]) for name in ("top1", "top5", "mean_class")} for row in rows}


def _write(folder: Path, trial: Trial, result: FusionResult) -> None:
    """Write one split's fitted rule, fused scores and results."""
    table, parts, judged = trial.table, trial.parts, trial.judged[result.rule]
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
    save_fuser(folder, judged.rule, about)
    count = len(np.unique(parts.judged))  # the first repeat's, where there are several
    rows = parts.judged[:count]
    scores = Scores.of(
        table,
        {"fused": judged.probabilities[:count]},
        at=rows,
        kind="probabilities",
        split=table.split,
        head=f"{OWN}{result.rule}",
        provenance={"protocol": parts.protocol, "sources": list(table.sources)},
    )
    write_scores(score_path(folder), scores)
