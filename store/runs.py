"""The run folder: recorded, logged, read again. Nothing else knows the names in it.

    <run>/run.json                  what it is and how far it has come (`RunRecord`)
    <run>/split-<name>/scores.h5    scores of a split, with what else made it: checkpoints, weights, a fitted rule
    <run>/split-<name>/log.csv      one row an epoch (split-<name>/<stream>/log.csv of networks that train apart)
    <run>/epochs.csv                every epoch of every training, as it ended (`epochs.py`)
    <run>/scores.h5                 of a run that has one split and no folder for it
    <run>/tuning/                   the trials that chose a head's settings (`avr heads tune`)
    <run>/.begun/split-<name>/      what trainings gave of a split that is not finished, and their state

A split is there when run.json names it, and finished when that says nothing else: out-of-fold scores come later. The
record is written whole, after all that it speaks of: what is killed before leaves a folder that counts for nothing and
is written again. A run goes on with its own settings alone, in one process at a time (`claim_run`). A folder with
scores and no record (scores of other tools, fusions of older versions) counts as a finished run; its splits are the
folders that are there.
"""

import csv
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from avr.core import (
    UsageError,
    WorkError,
    by_number,
    read_json,
    write_folder,
    write_json,
    write_whole,
)

from .records import Figures, RunRecord, SplitRecord, mean_figures, versions

RUNS = Path("runs")  # where runs are looked for, and written to, when no folder is named
RECORD, SCORES, LOG = "run.json", "scores.h5", "log.csv"
ATTENDED = "attended"  # the store of vectors that a head makes, and its layer
SPLIT, BEGUN, TUNING = "split-", ".begun", "tuning"
GO_ON = "run the command that began it again, and it goes on"


def is_run(folder: Path) -> bool:
    return (folder / RECORD).is_file()


def read_record(folder: Path) -> RunRecord:
    """The record of a run.

    Raises:
        UsageError: there is none.
        WorkError: it is damaged.
    """
    try:
        return RunRecord.from_dict(read_json(folder / RECORD))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"no run at {folder}: it has no {RECORD}") from None
    except WorkError:
        raise
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise WorkError(f"{folder / RECORD} is damaged ({type(error).__name__}: {error})") from error


def read_head_record(folder: Path) -> RunRecord:
    """The record of a run that has a trained head, in one split at least.

    Raises:
        UsageError: no run, one of something else, or one without a finished split; says what to do.
        WorkError: it is damaged.
    """
    record = read_record(folder)
    if record.kind == "backbone":
        raise UsageError(
            f"{folder} is a backbone's folder, not a head's run: extract a store with its weights (avr extract "
            "--weights), train a head on it, and name that run"
        )
    if record.kind == "fuse":
        raise UsageError(f"{folder} is a fusion, not a head's run: name one of the runs that it fuses")
    if not record.splits:
        raise UsageError(f"{folder} is not finished: {GO_ON}")
    return record


def split_folder(run: Path, name: str) -> Path:
    return run / f"{SPLIT}{name}"


def begun_folder(run: Path, name: str) -> Path:
    """Where a run keeps what trainings of a split gave, until that is finished."""
    return run / BEGUN / f"{SPLIT}{name}"


def run_of(folder: Path) -> Path:
    """The run of a split's folder; a run is its own."""
    folder = folder.resolve()
    return folder.parent if folder.name.startswith(SPLIT) else folder


def split_names(run: Path) -> list[str]:
    """Names of a run's finished splits; without a record, of the folders that are there.

    Raises:
        WorkError: the record is damaged.
    """
    if is_run(run):
        return list(read_record(run).splits)
    return by_number(path.name.removeprefix(SPLIT) for path in run.glob(f"{SPLIT}*") if path.is_dir())


def find_split(path: Path, split: str | None = None) -> Path:
    """The folder of a run's split, by default of its first; a split's own folder is that.

    Raises:
        UsageError: no run there, or no such split in it.
        WorkError: its record is damaged.
    """
    if split is None and run_of(path) != path.resolve():
        if not path.is_dir():
            raise UsageError(f"{path}: no such run or split")
        return path
    folder = split_folder(path, split or next(iter(read_head_record(path).splits)))
    if not folder.is_dir():
        raise UsageError(f"{path} has no split '{split}'; it holds {', '.join(split_names(path)) or 'none'}")
    return folder


def score_path(folder: Path) -> Path:
    """Where a split's folder, or a run's, keeps its scores."""
    return folder / SCORES


def vectors_path(folder: Path) -> Path:
    """Where a split's folder keeps the vectors that its head makes of each video, a packed store; few heads do."""
    return folder / f"{ATTENDED}.h5"


def tuning_folder(run: Path) -> Path:
    """Where a run keeps the trials by which its settings were chosen, if they were."""
    return run / TUNING


def score_paths(run: Path) -> list[Path]:
    """The score files of a run, one a finished split; none of a folder that is no run."""
    places = sorted([run, *(split_folder(run, name) for name in split_names(run))])
    return [score_path(place) for place in places if score_path(place).is_file()]


def files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Every score file and every log at any depth of a folder, but for splits that are being written."""
    whole = [path for path in folder.rglob("*") if not any(part[0] == "." for part in path.relative_to(folder).parts)]
    scores, logs = ([path for path in sorted(whole) if path.name == name] for name in (SCORES, LOG))
    return scores, logs


@contextmanager
def new_split(run: Path, name: str) -> Iterator[Path]:
    """A folder to write a split in; it is found under the split's name when the block ends without an error."""
    final = split_folder(run, name)
    if final.is_dir():  # written and not recorded: see the module's first lines
        shutil.rmtree(final)
    with write_folder(final) as folder:
        yield folder


def record_split(run: Path, name: str, split: SplitRecord, *, summary: Figures | None = None) -> None:
    """Enter a split in the record, splits in the order asked for; the last one to be finished completes the run.

    What was kept to go on with a split goes when it is finished. `summary` are the figures over all splits; None: their
    mean.
    """
    before = read_record(run)
    known = {**before.splits, name: split}
    splits = {one: known[one] for one in dict.fromkeys((*before.wanted, *known)) if one in known}
    summary = mean_figures(splits) if summary is None else summary
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    record = replace(before, splits=splits, summary=summary, written=now)
    write_record(run, replace(record, complete=record.finished and not record.lacking))
    drop_begun(run, record)


def drop_begun(run: Path, record: RunRecord) -> None:
    """Remove what was kept to go on with splits that are finished."""
    for name in (name for name, split in record.splits.items() if not split.unfinished):
        shutil.rmtree(begun_folder(run, name), ignore_errors=True)
    with suppress(OSError):  # it is not there, or holds what is not finished
        (run / BEGUN).rmdir()


def write_record(run: Path, record: RunRecord) -> None:
    """Write a run's record, whole, with the versions that write it."""
    write_json(run / RECORD, replace(record, versions=versions()).to_dict())


def write_log(folder: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write a training's epochs as CSV, whole; `epoch` counts from 1 where the rows do not say it."""
    with write_whole(folder / LOG) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, list({"epoch": 0, **rows[0]}))
        writer.writeheader()
        writer.writerows({"epoch": number, **row} for number, row in enumerate(rows, start=1))
