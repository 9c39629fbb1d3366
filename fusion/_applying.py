"""A fitted fusion on scores of new videos: streams by name, labels or none, fused scores as a table or a score file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import Unwritten, UsageError, WorkError, claim_files, note, warn, write_csv
from avr.store import UNLABELLED, Scores, import_scores, is_test, read_scores, score_path, warn_unfinished, write_scores

from ._base import Fuser
from ._finding import OWN, SCORES, find_files, is_foreign, name_of, warn_of_unfinished
from ._fuse import judge_untrained
from ._inputs import Table, choose_streams, side_by_side
from ._report import against_baselines, table_rows
from ._results import Applied, Row
from ._saving import about_scores, find_fusion, load_fuser
from ._trials import Evaluation, Judged, Trial, of_split

DEFAULT = Path("fused.csv")
GroupRule = Callable[[Sequence[str]], tuple[Sequence[str], str]]


def apply_fusion(
    fused: Path | str,
    scores: Sequence[Path | str],
    *,
    split: str = "",
    out: Path = DEFAULT,
    overwrite: bool = False,
    evaluation: Evaluation | None = None,
    group_rule: GroupRule | None = None,
) -> Applied:
    """Fuse new scores as a fusion was fitted, judge them where there are labels, write them.

    Args:
        fused: run folder that `avr fuse` wrote, or one of its splits.
        scores: of the streams that were fused: score files, folders of them, run folders, or what other tools wrote,
            one file a stream called as the stream is (rgb.csv), with the classes in the fusion's order.
        split: of a fusion of several splits; "" takes the first.
        out: a `.csv` file (id, prediction, label where there is one, a probability each class), a score file `.h5`, or
            a folder for fused.csv.
        overwrite: a file that is there is replaced.
        evaluation: seed and samples of the bootstrap.
        group_rule: how the groups of what other tools wrote are told, as `avr.store.import_scores` takes it.

    Raises:
        UsageError: no fusion there, a stream that is missing or there twice, scores that do not fit together or to the
            fusion, an `out` that is there.
        WorkError: damaged files.
        Unwritten: `out` cannot be written; it holds the result.
    """
    place = find_fusion(Path(fused), split)
    fuser = load_fuser(place)
    if not isinstance(fuser, Fuser):
        raise UsageError(f"{fused}: a rule over features cannot be applied to scores: fuse scores (awf, multiply, …)")
    about = about_scores(fuser, place)
    if split not in ("", about["split"]):
        raise UsageError(f"{place} was fitted on scores{of_split(about['split']) or ' of no split'}: leave out --split")
    if not scores:
        raise UsageError("no scores: name those of the streams that were fused")
    files = find_files(scores)
    out = check_out(out)
    claim_files([(place, out)], inputs=files, overwrite=overwrite)
    warn_unfinished(Path(fused))
    read = read_new(files, about, group_rule)
    warn_of_unfinished(scores, read)
    table = matched(of_one_split(read, str(about["split"])), about, str(place))
    result = judged(table, fuser, about, place, evaluation or Evaluation(), out)
    try:
        write_fused(result, table, about)
    except WorkError as error:
        raise Unwritten(error, result) from error
    return result


def judged(
    table: Table, fuser: Fuser, about: dict[str, Any], place: Path, evaluation: Evaluation, out: Path
) -> Applied:
    """What the fuser gives for a table, beside the streams and the untrained rules where it has labels."""
    probabilities, rule = fuser.predict_proba(table.X), str(about["rule"])
    trial = judged_alone(table, fuser, rule)
    rows: list[Row] = []
    against: dict[str, Row] = {}
    verdict = ""
    if trial is not None:
        warn_of_known(trial.table.ids, fuser, about, place)
        rows = table_rows([trial])
        against, verdict = against_baselines([trial], rule, evaluation)
    return Applied(
        rule=rule,
        streams=table.streams,
        class_names=table.class_names,
        split=str(about["split"]),
        ids=table.ids,
        predictions=np.array(table.class_names)[probabilities.argmax(axis=1)],
        probabilities=probabilities,
        rows=rows,
        differences=against,
        verdict=verdict,
        out=out,
    )


def check_out(out: Path) -> Path:
    """The file that a path stands for: itself, or fused.csv in a folder."""
    if out.is_dir() or not out.suffix:
        return out / DEFAULT
    if out.suffix not in (".csv", SCORES):
        raise UsageError(f"{out}: name a .csv or {SCORES} file, or a folder")
    return out


def read_new(files: Sequence[Path], about: dict[str, Any], group_rule: GroupRule | None) -> dict[Path, Scores]:
    """Content of score files; what other tools wrote is imported.

    Raises:
        UsageError: as `avr.store.read_scores` and `avr.store.import_scores`.
    """
    kinds = {name.rpartition("/")[2]: kind for name, kind in zip(about["streams"], about["kinds"], strict=True)}
    unread = [file for file in files if is_foreign(file) and file.stem not in kinds]
    if unread:
        note(f"leaves out {', '.join(map(str, unread))}: none is called as a stream ({', '.join(kinds)})")
    return {
        file: _imported(file, about, kinds[file.stem], group_rule) if is_foreign(file) else read_scores(file)
        for file in files
        if file not in unread
    }


def of_one_split(read: Mapping[Path, Scores], split: str) -> list[tuple[str, Scores]]:
    """Name and content of the scores of the fusion's split and of those that name none; else of the only one there."""
    splits = sorted({scores.split for scores in read.values()} - {""})
    if len(splits) > 1 and split not in splits:
        own = f"is{of_split(split)}" if split else "names none"
        raise UsageError(f"scores of splits {', '.join(splits)}, and the fusion {own}: give those of one")
    wanted = ("", split) if split in splits else ("", *splits)
    return [
        (name_of(file, [*read]), replace(scores, split=split))
        for file, scores in read.items()
        if scores.split in wanted
    ]


def _imported(file: Path, about: dict[str, Any], kind: Any, group_rule: GroupRule | None) -> Scores:
    """The scores of a file that another tool wrote, as the stream it is called by.

    Of the kind that its numbers tell; where rows nearly share a sum, as one alone does, of the kind that was fused.
    """
    known = tuple(map(str, about["class_names"]))
    told: dict[str, Any] = {"stream": file.stem, "class_names": known}
    if group_rule:
        told["group_rule"] = group_rule
    imported = import_scores(file, **told)
    if imported.scores.kind != kind == "probabilities":
        (values,) = imported.scores.streams.values()
        sums = values.sum(axis=1)
        if values.min() >= 0 and 0 < sums.max() <= 1.1 * sums.min():
            imported = import_scores(file, **told, kind=kind)
            note(f"{file}: its numbers do not tell what they are: taken as {kind}, which the fusion was fitted on")
    for line in imported.notes:
        note(f"{file}: {line}")
    return imported.scores


def matched(files: Sequence[tuple[str, Scores]], about: dict[str, Any], where: str) -> Table:
    """A table of the streams that a fusion reads, in its order, under its names.

    A stream is the one of the full name ("linear/rgb"), else the only one whose last part it shares ("rgb").

    Raises:
        UsageError: a stream that is missing or there twice, other classes, another kind of scores.
    """
    for name, scores in files:
        if scores.class_names != tuple(about["class_names"]):
            raise UsageError(
                f"{name} has the classes {', '.join(scores.class_names[:3])}, …, and {where} was fitted on "
                f"{', '.join(about['class_names'][:3])}, …: give scores of the same classes in the same order"
            )
    every = {name: (index, stream) for index, stream, name in choose_streams(files, None, fused=True)}
    names = list(every)
    chosen = [_stream(wanted, names, where) for wanted in about["streams"]]
    shared = next((name for name in chosen if chosen.count(name) > 1), None)
    if shared is not None:
        both = " and ".join(wanted for wanted, name in zip(about["streams"], chosen, strict=True) if name == shared)
        raise UsageError(f"{where} reads {both}, and {shared} could be either: give the scores of each, called so")
    extra = [name for name in names if name not in chosen and name.rpartition("/")[2] != "fused"]
    if extra:
        note(f"leaves out {', '.join(extra)}, which {where} does not read")
    for name, then in zip(chosen, about["kinds"], strict=True):
        now = files[every[name][0]][1].kind
        if now != then:
            raise UsageError(
                f"{name} holds {now}, and {where} was fitted on {then}: give its {then}, or, where the file of another "
                f"tool holds those, import it as such (avr store import-scores --kind {then})"
            )
    used = sorted({every[name][0] for name in chosen})
    wanted = [
        (used.index(every[name][0]), every[name][1], stream)
        for name, stream in zip(chosen, about["streams"], strict=True)
    ]
    return side_by_side([files[index] for index in used], wanted)


def _stream(wanted: str, names: Sequence[str], where: str) -> str:
    """Which of the streams is the one that a fusion calls so."""
    if wanted in names:
        return wanted
    alike = [name for name in names if name.rpartition("/")[2] == wanted.rpartition("/")[2]]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise UsageError(f"{where} reads {wanted}, and {' and '.join(alike)} could both be it: leave one out")
    there = f"there are {', '.join(names)}" if names else "there are none"
    raise UsageError(f"{where} reads {wanted}, which is missing: {there}; add its scores, in a file called as it is")


def judged_alone(table: Table, fuser: Fuser, rule: str) -> Trial | None:
    """The streams, the untrained rules and the fitted one on the test videos with labels; None without any label."""
    labelled = table.labels != UNLABELLED
    known = np.flatnonzero(labelled & is_test(table.fold))
    if not len(known):
        known = np.flatnonzero(labelled)
        if not len(known):
            return None
        warn("none of these videos is a test video: a head or the rule may have learnt from them, and figures flatter")
    part = replace(
        table,
        **{name: getattr(table, name)[known] for name in ("X", "labels", "groups", "ids", "fold")},  # type: ignore[arg-type]
    )
    trial = Trial(part, [(np.arange(len(known)), np.arange(len(known)))], "fitted before, on other videos")
    judge_untrained(trial)
    trial.results[rule] = Judged(fuser.decision_function(part.X), fuser)
    return trial


def warn_of_known(ids: NDArray, fuser: Fuser, about: dict[str, Any], place: Path) -> None:
    """Say that a rule which learns is judged on videos that it was fitted on; `ids (M,)`.

    Where it was cross-validated it is fitted on all that it was judged on, whose scores lie beside it.
    """
    if fuser.trained and about.get("fitted_on_judged") and score_path(place).is_file():
        known = np.isin(ids, read_scores(score_path(place)).ids)
        if known.any():
            warn(f"{place} was fitted on {known.sum()} of these {len(ids)} videos: figures of them flatter it")


def write_fused(result: Applied, table: Table, about: dict[str, Any]) -> None:
    """Write fused scores as a table or a score file, as the name of `result.out` says.

    Raises:
        WorkError: they cannot be written.
    """
    if result.out.suffix == SCORES:
        fused = Scores.of(
            table,
            {"fused": result.probabilities},
            kind="probabilities",
            split=result.split,
            head=f"{OWN}{result.rule}",
            provenance={
                "fitted_on": list(about["sources"]),
                "sources": list(table.sources),
                "store": table.about_store,
            },
        )
        write_scores(result.out, fused)
        return
    known = table.labels != UNLABELLED
    labels = np.where(known, np.array(table.class_names)[table.labels], "")
    columns = {"id": result.ids, "prediction": result.predictions} | ({"label": labels} if known.any() else {})
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    shares = ([f"{share:.6g}" for share in row] for row in result.probabilities)
    head = [*columns, *table.class_names]
    write_csv(result.out, [head, *([*row, *share] for row, share in zip(rows, shares, strict=True))])
