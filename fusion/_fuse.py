"""`avr fuse`: score files in; a rule judged beside the untrained ones and written, or every rule beside them.

files  _finding, _inputs→  a table a split  _trials→  a rule's fused scores  _report, _verdict→  figures, what to use
_saving→  a run folder  _applying→  scores of new videos
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from avr.core import Progress, Unwritten, UsageError, WorkError, digest_of, note, options_of, read_options, warn
from avr.store import (
    RUNS,
    UNTRAINED,
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
from ._finding import OWN
from ._inputs import Table, read_tables
from ._report import against_baselines, better_untrained, calibration_report, differences, right, table_rows
from ._results import Comparison, FusionResult, Row, Weights
from ._saving import save_fuser
from ._trials import Evaluation, Trial, of_split, trial_of

# The paper's own program is worth a row beside the default objective.
EXTRA = {"awf stilt": ("awf", {"objective": "stilt"})}
Rules = Mapping[str, tuple[str, Mapping[str, Any]]]  # row's name -> rule over scores, its options


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
        scores: score files, run folders, folders of score files or of runs; none: the newest run of each head under
            `runs/`.
        split: one split's name; None: every split that all files have.
        streams: which streams, "flow" or "linear/flow"; None: all but the heads' own fused ones.
        options: of the rule.
        out: the run folder to write, which may hold this very fusion; None: the next `runs/fuse-<rule>-<k>`.
        evaluation: folds, repeats, seed, bootstrap.

    Raises:
        UsageError: nothing to fuse, streams that do not fit together, an unknown rule or option, a rule over features,
            an `out` that holds something else.
        Unwritten: the run folder cannot be written; it holds the result.
    """
    evaluation = evaluation or Evaluation()
    given = {name: value for name, value in (options or {}).items() if value is not None}
    rules: Rules = {rule: (rule, given)}
    check_rules(rules)
    tables = read_tables(scores, split=split, streams=streams)
    with claimed(rule, tables, given, evaluation, out) as folder:
        trials = _try_rules("fuse", rules, tables, evaluation)
        calibration = {trial.table.split: calibration_report(trial) for trial in trials}
        return conclude(rule, trials, evaluation, calibration=calibration, out=folder)


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
    wanted = [*rule_names(), *EXTRA] if rules is None else rules
    chosen: Rules = {name: EXTRA.get(name, (name, {})) for name in wanted}
    check_rules(chosen)
    tables = read_tables(scores, split=split, streams=streams)
    if rules is None:
        chosen = _possible(chosen, tables)
    trials = _try_rules("compare", chosen, tables, evaluation)
    judged = [name for name in trials[0].results if name not in trials[0].table.streams]
    weights = {name: found for name in judged if (found := class_weights(trials, name))}
    notes = []
    for name in judged:
        for trial in trials:
            label = f"split {trial.table.split}: " if trial.table.split else ""
            notes += [label + text for text in trial.results[name].rule.notes()]
    rows, baseline = table_rows(trials), better_untrained(trials)
    against = differences(trials, [(row["name"], baseline) for row in rows], evaluation)
    others = [name for name in judged if name != baseline]
    best = max(others, key=lambda name: right(trials, name).mean())
    return Comparison(
        streams=trials[0].table.streams,
        splits=tuple(trial.table.split for trial in trials),
        class_names=trials[0].table.class_names,
        baseline=baseline,
        rows=[row | found for row, found in zip(rows, against, strict=True)],
        verdict=against_baselines(trials, best, evaluation, chosen_of=len(others))[1],
        weights=weights,
        protocol={trial.table.split: trial.protocol for trial in trials},
        notes=notes,
    )


def check_rules(rules: Rules) -> None:
    """Refuse rules and options that are not there, before anything is read; say what a rule warns of."""
    for rule, options in rules.values():
        made = rule_class(rule)
        read_options(options_of(made), options, kind=f"option of rule {rule}")
        if made.warning:
            warn(made.warning)


def _possible(rules: Rules, tables: Sequence[Table]) -> Rules:
    """The rules that these streams do not ask options of."""
    possible = {}
    for name, (rule, options) in rules.items():
        try:
            for table in tables:
                rule_class(rule).options_for(table.streams, options)
        except UsageError as error:
            note(f"compare: leaves out {error}")
            continue
        possible[name] = (rule, options)
    return possible


def _try_rules(what: str, rules: Rules, tables: Sequence[Table], evaluation: Evaluation) -> list[Trial]:
    """Each single stream, the untrained rules and each of `rules`, one trial a split."""
    trials = []
    with Progress(what, total=len(tables) * len(rules), unit="rules") as progress:
        for table in tables:
            trial = trial_of(table, evaluation)
            note(f"{what}{of_split(table.split)}: {', '.join(table.streams)}")
            judge_untrained(trial)
            for name, (rule, options) in rules.items():
                if options or name not in UNTRAINED:
                    made = rule_class(rule)
                    given = read_options(options_of(made), options, kind=f"option of rule {rule}")
                    settled = {"kind": list(table.kinds), **made.options_for(table.streams, given)}
                    trial.results[name] = trial.judge(partial(make_fuser, rule, **settled))
                progress.advance(rule=name)
            trials.append(trial)
    return trials


def judge_untrained(trial: Trial) -> None:
    """Judge each single stream, and the rules that stand beside every other."""
    for place, name in enumerate(trial.table.streams):
        alone = partial(make_fuser, "average", kind=[trial.table.kinds[place]])
        trial.results[name] = trial.judge(alone, stream=place)
    for name in UNTRAINED:
        trial.results[name] = trial.judge(partial(make_fuser, name, kind=list(trial.table.kinds)))


def class_weights(trials: Sequence[Trial], name: str) -> Weights:
    """Per-class weights of a rule as it was fitted on each split; empty where it has none."""
    found = {trial.table.split: trial.results[name].rule.class_weights() for trial in trials}
    return {split: weights.tolist() for split, weights in found.items() if weights is not None}


def claimed(
    rule: str, tables: Sequence[Table], options: Mapping[str, Any], evaluation: Evaluation, out: Path | None
) -> AbstractContextManager[Path]:
    """The run folder of a fusion, held inside the block: `out`, or the next free one; see `avr.store.claim_run`."""
    record = RunRecord(
        kind="fuse",
        identity={
            "splits": [table.split for table in tables],
            "streams": list(tables[0].streams),
            "scores": {table.split: _digest(table) for table in tables},
            "evaluation": asdict(evaluation),
        },
        head=f"{OWN}{rule}",
        options=dict(options),
        seed=evaluation.seed,
        store=tables[0].about_store,
    )
    return claim_run(out, RUNS / record.head, record)


def conclude(
    rule: str, trials: Sequence[Trial], evaluation: Evaluation, *, calibration: dict[str, Any], out: Path
) -> FusionResult:
    """The rule's result from its trials, one a split, written to the run folder `out`."""
    streams = trials[0].table.streams
    if len(streams) == 1:
        warn(f"only one stream, {streams[0]}: there is nothing to fuse it with")
    against, text = against_baselines(trials, rule, evaluation)
    result = FusionResult(
        rule=rule,
        streams=streams,
        class_names=trials[0].table.class_names,
        splits=tuple(trial.table.split for trial in trials),
        rows=table_rows(trials),
        differences=against,
        verdict=text,
        splits_rows={trial.table.split: table_rows([trial]) for trial in trials},
        calibration=calibration,
        weights=class_weights(trials, rule),
        notes=[text for trial in trials for text in trial.results[rule].rule.notes()],
        protocol={trial.table.split: trial.protocol for trial in trials},
        out=out,
    )
    try:
        _write_run(trials, result)
    except WorkError as error:
        raise Unwritten(error, result) from error
    return result


def _digest(table: Table) -> str:
    """Of all that a rule is fitted and judged on."""
    told = {name: list(getattr(table, name)) for name in ("groups", "ids", "kinds", "class_names")}
    digest = hashlib.sha256(digest_of(told).encode())
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


def _figures(rows: list[Row]) -> dict[str, dict[str, float]]:
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
        "fitted_on_judged": len(trial.pairs) > 1,
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
        provenance={
            "protocol": trial.protocol,
            "sources": list(table.sources),
            **table.read,
            "streams": list(table.streams),
            "weights": result.weights.get(table.split, []),
            "store": table.about_store,
        },
    )
    write_scores(score_path(folder), scores)
