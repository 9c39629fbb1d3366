"""`avr fuse`: score files in; a rule judged beside the untrained ones and written, or every rule beside averaging.

files  _inputs→  a table a split  _trials→  a rule's fused scores  _report→  figures  _saving→  a run folder
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from avr.core import Progress, Unwritten, WorkError, note, warn
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

from ._base import make_fuser, rule_class, rule_names
from ._inputs import OWN, Table, read_tables
from ._report import best_stream, calibration_report, differences, table_rows
from ._saving import save_fuser
from ._trials import Evaluation, Trial, trial_of

UNTRAINED = ("average", "multiply")
# The paper's own program is worth a row beside the default objective.
EXTRA = {"awf stilt": ("awf", {"objective": "stilt"})}


@dataclass(frozen=True)
class FusionResult:
    """What `fuse` found.

    Attributes:
        rule: its name. streams: S names. splits: names.
        rows: one dict a line of the table, single streams first, then average, multiply and the rule: name, top1, top5,
            mean_class, log_loss, ece (over all judged videos of all splits), videos; of several splits `over_splits`,
            mean and spread of each figure.
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
    evaluation = evaluation or Evaluation()
    given = {name: value for name, value in (options or {}).items() if value is not None}
    rules: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in UNTRAINED}
    trials = _try_rules("fuse", rules | {rule: (rule, given)}, scores, split, streams, evaluation)
    calibration = {trial.table.split: calibration_report(trial) for trial in trials}
    return conclude(rule, trials, evaluation, options=given, calibration=calibration, out=out)


def compare(
    scores: Sequence[Path | str] = (),
    rules: Sequence[str] | None = None,
    *,
    split: str | None = None,
    streams: Sequence[str] | None = None,
    evaluation: Evaluation | None = None,
) -> Comparison:
    """Judge every rule on the same videos, beside averaging; nothing is written.

    Args:
        scores, split, streams, evaluation: as in `fuse`.
        rules: names; None: all that read scores, and awf with the paper's objective.

    Raises:
        UsageError: as `fuse`.
    """
    evaluation = evaluation or Evaluation()
    names = ("average", *([*rule_names(), *EXTRA] if rules is None else rules))
    chosen: dict[str, tuple[str, dict[str, Any]]] = {name: EXTRA.get(name, (name, {})) for name in names}
    trials = _try_rules("compare", chosen, scores, split, streams, evaluation)
    weights: dict[str, dict[str, list[list[float]]]] = {}
    notes = []
    for name in chosen:
        for trial in trials:
            fitted = trial.results[name].rule
            found = fitted.class_weights()
            if found is not None:
                weights.setdefault(name, {})[trial.table.split] = found.tolist()
            notes += [f"split {trial.table.split}: {text}" for text in fitted.notes()]
    rows = table_rows(trials)
    against = differences(trials, [(row["name"], "average") for row in rows], evaluation)
    return Comparison(
        streams=trials[0].table.streams,
        splits=tuple(trial.table.split for trial in trials),
        class_names=trials[0].table.class_names,
        rows=[row | found for row, found in zip(rows, against, strict=True)],
        weights=weights,
        protocol={trial.table.split: trial.protocol for trial in trials},
        notes=notes,
    )


def _try_rules(
    what: str,
    rules: Mapping[str, tuple[str, Mapping[str, Any]]],
    scores: Sequence[Path | str],
    split: str | None,
    streams: Sequence[str] | None,
    evaluation: Evaluation,
) -> list[Trial]:
    """Each single stream, then each of `rules`, row name to (rule over scores, options), one trial a split."""
    classes = {rule: rule_class(rule) for rule, _ in rules.values()}
    for text in (made.warning for made in classes.values() if made.warning):
        warn(text)
    tables = read_tables(scores, split=split, streams=streams)
    trials = []
    with Progress(what, total=len(tables) * len(rules), unit="rules") as progress:
        for table in tables:
            trial = trial_of(table, evaluation)
            note(f"{what}: split {table.split}: {', '.join(table.streams)}; {trial.protocol}")
            for place, name in enumerate(table.streams):
                alone = partial(make_fuser, "average", kind=[table.kinds[place]])
                trial.results[name] = trial.judge(alone, stream=place)
            for name, (rule, options) in rules.items():
                settled = {"kind": list(table.kinds), **classes[rule].options_for(table.streams), **options}
                trial.results[name] = trial.judge(partial(make_fuser, rule, **settled))
                progress.advance(rule=name)
            trials.append(trial)
    return trials


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
    streams = trials[0].table.streams
    if len(streams) == 1:
        warn(f"only one stream, {streams[0]}: there is nothing to fuse it with")
    others = {"best stream": best_stream(trials)} | {name: name for name in UNTRAINED if name != rule}
    found = differences(trials, [(rule, other) for other in others.values()], evaluation)
    against = dict(zip(others, found, strict=True))
    against["best stream"]["stream"] = others["best stream"]
    record = RunRecord(
        kind="fuse",
        identity={
            "splits": [trial.table.split for trial in trials],
            "streams": list(streams),
            "scores": {trial.table.split: _digest(trial.table) for trial in trials},
            "evaluation": asdict(evaluation),
        },
        head=f"{OWN}{rule}",
        options=options,
        seed=evaluation.seed,
        store=trials[0].table.about_store,
    )
    result = FusionResult(
        rule=rule,
        streams=streams,
        splits=tuple(trial.table.split for trial in trials),
        rows=table_rows(trials),
        differences=against,
        splits_rows={trial.table.split: table_rows([trial]) for trial in trials},
        calibration=calibration,
        notes=[text for trial in trials for text in trial.results[rule].rule.notes()],
        protocol={trial.table.split: trial.protocol for trial in trials},
        out=out or RUNS,
    )
    try:
        with claim_run(out, RUNS / record.head, record) as folder:
            result = replace(result, out=folder)
            _write_run(trials, result)
    except WorkError as error:
        raise Unwritten(error, result) from error
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
            _write_split(place, trial, result)
        record = SplitRecord(_figures(result.splits_rows[split]))
        record_split(result.out, split, record, summary=_figures(result.rows))


def _figures(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {row["name"]: {name: float(row[name]) for name in ("top1", "top5", "mean_class")} for row in rows}


def _write_split(folder: Path, trial: Trial, result: FusionResult) -> None:
    """Write one split's fitted rule, fused scores and results."""
    table, judged = trial.table, trial.results[result.rule]
    about = {
        "dataset": table.dataset,
        "split": table.split,
        "class_names": list(table.class_names),
        "streams": list(table.streams),
        "kinds": list(table.kinds),
        "sources": list(table.sources),
        "protocol": trial.protocol,
        "results": {"rows": result.splits_rows[table.split], "differences": result.differences},
    }
    save_fuser(folder, judged.rule, about)
    count = len(np.unique(trial.judged))  # the first repeat's, where there are several
    scores = Scores.of(
        table,
        {"fused": judged.probabilities[:count]},
        at=trial.judged[:count],
        kind="probabilities",
        split=table.split,
        head=f"{OWN}{result.rule}",
        provenance={"protocol": trial.protocol, "sources": list(table.sources), "store": table.about_store},
    )
    write_scores(score_path(folder), scores)
