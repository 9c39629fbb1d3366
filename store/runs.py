"""The run folder: claimed, held, recorded, logged, found again. Nothing else knows the names in it.

    <run>/run.json                  what it is and how far it has come (`RunRecord`)
    <run>/split-<name>/scores.h5    scores of a split, with what else made it: checkpoints, weights, a fitted rule
    <run>/split-<name>/log.csv      one row an epoch (split-<name>/<stream>/log.csv of networks that train apart)
    <run>/scores.h5                 of a run that has one split and no folder for it

A split is there when run.json names it. The record is written whole, after all that it speaks of: what is killed before
leaves a folder that counts for nothing and is written again. A run goes on with its own settings alone, in one process
at a time. A folder with scores and no record (scores of other tools, fusions of older versions) counts as a finished
run; its splits are the folders that are there.
"""

import csv
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from avr.core import FolderLock, UsageError, WorkError, by_number, make_folder, note, write_whole

from .records import KINDS, Figures, RunRecord, SplitRecord, mean_figures

RUNS = Path("runs")  # where runs are looked for, and written to, when no folder is named
RECORD, SCORES, LOG, LOCK = "run.json", "scores.h5", "log.csv", ".lock"
SPLIT = "split-"
GO_ON = "run the command that began it again, and it goes on"


def is_run(folder: Path) -> bool:
    """Whether a folder has the record of a run."""
    return (folder / RECORD).is_file()


def read_record(folder: Path) -> RunRecord:
    """The record of a run.

    Raises:
        UsageError: there is none.
        WorkError: it is damaged.
    """
    try:
        return RunRecord.from_dict(json.loads((folder / RECORD).read_text()))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"no run at {folder}: it has no {RECORD}") from None
    except (ValueError, KeyError, TypeError, AttributeError, LookupError, OSError) as error:
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
    """Where a run keeps a split."""
    return run / f"{SPLIT}{name}"


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


def score_paths(run: Path) -> list[Path]:
    """The score files of a run, one a finished split; none of a folder that is no run."""
    places = sorted([run, *(split_folder(run, name) for name in split_names(run))])
    return [score_path(place) for place in places if score_path(place).is_file()]


def files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Every score file and every log at any depth of a folder, but for splits that are being written."""
    whole = [path for path in folder.rglob("*") if not any(part[0] == "." for part in path.relative_to(folder).parts)]
    scores, logs = ([path for path in sorted(whole) if path.name == name] for name in (SCORES, LOG))
    return scores, logs


def finished_runs(folder: Path = RUNS, *, but: str = ".") -> list[Path]:
    """The finished runs with scores under a folder, the one whose scores were written last at the end.

    Args:
        folder: of runs.
        but: start of the names that are left out.

    Raises:
        UsageError: there is none; of runs that are not finished it says so.
    """
    dated: list[tuple[int, str, Path]] = []
    begun: list[str] = []
    for run in sorted(path for path in folder.glob("[!.]*") if path.is_dir() and not path.name.startswith(but)):
        try:
            finished, paths = not is_run(run) or read_record(run).complete, score_paths(run)
        except WorkError as error:
            note(f"leaves out {run}: {error}")
            continue
        if not finished:
            begun.append(str(run))
        elif paths:
            dated.append((max(path.stat().st_mtime_ns for path in paths), run.name, run))
    if not dated:
        unfinished = f" ({', '.join(begun)}: not finished; {GO_ON})" if begun else ""
        hint = "train a head first (avr heads train linear), or name run folders or score files"
        raise UsageError(f"no run with scores under {folder}{unfinished}: {hint}")
    return [run for _, _, run in sorted(dated)]


@contextmanager
def claim_run(out: Path | None, prefix: Path | str, record: RunRecord) -> Iterator[Path]:
    """The folder of a run, held by this process inside the block; a finished one is given and left as it is.

    Args:
        out: the user's choice: begun, or continued where it holds this run. None: the newest unfinished `<prefix>-<k>`
            of the same settings is continued, else the number after the highest is taken.
        prefix: such as "runs/stfn-shapes".
        record: what the run is, without any split.

    A block that ends in an error before it left anything leaves no folder.

    Raises:
        UsageError: `out` holds something else or a run with other settings, which are named, or another process works
            in the folder.
        WorkError: its record is damaged, or it cannot be written.
    """
    folder = Path(out) if out is not None else _unfinished(Path(prefix), record) or new_folder(prefix)
    before = _begun(folder, record)
    if before is not None and before.complete:
        yield folder
        return
    lock = FolderLock(make_folder(folder))
    while not (folder / LOCK).exists():  # its holder has failed meanwhile, and took the folder away
        lock.release()
        lock = FolderLock(make_folder(folder))
    try:
        before = _begun(folder, record)  # as it is now that nobody else writes there
        if before is not None:
            record = replace(record, splits=before.splits, summary=before.summary, complete=before.complete)
            note(f"continuing {folder}")
        write_record(folder, record)
        for left in folder.glob(f".{SPLIT}*"):  # of a process that was killed: the lock says it is not alive
            shutil.rmtree(left, ignore_errors=True)
        yield folder
    except BaseException:
        if not record.splits and {path.name for path in folder.iterdir()} <= {LOCK, RECORD}:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        lock.release()


def new_folder(prefix: Path | str) -> Path:
    """Make `<prefix>-<k>`, k the number after the highest there is; safe against processes that do so too.

    Raises:
        UsageError, WorkError: it cannot be made.
    """
    prefix = Path(prefix)
    make_folder(prefix.parent)
    number = max(_numbers(prefix), default=0)
    while True:
        number += 1
        folder = prefix.with_name(f"{prefix.name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:  # another process has just begun there
            continue
        except OSError as error:
            raise WorkError(f"{folder}: cannot be made ({error.strerror})") from error
        return folder


@contextmanager
def new_split(run: Path, name: str) -> Iterator[Path]:
    """A folder to write a split in; it is found under the split's name when the block ends without an error."""
    final, temporary = split_folder(run, name), run / f".{SPLIT}{name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if final.is_dir():  # written and not recorded: see the module's first lines
            shutil.rmtree(final)
        os.replace(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def record_split(run: Path, name: str, split: SplitRecord, *, summary: Figures | None = None) -> None:
    """Enter a finished split in the record, splits in the order asked for; the last one to come completes the run.

    `summary` are the figures over all splits; None: their mean.
    """
    before = read_record(run)
    known = {**before.splits, name: split}
    splits = {one: known[one] for one in dict.fromkeys((*before.wanted, *known)) if one in known}
    summary = mean_figures(splits) if summary is None else summary
    complete = set(splits) >= set(before.wanted)
    write_record(run, replace(before, splits=splits, summary=summary, complete=complete))


def write_record(run: Path, record: RunRecord) -> None:
    """Write a run's record, whole."""
    with write_whole(run / RECORD) as temporary:
        temporary.write_text(json.dumps(record.to_dict(), indent=2, default=list) + "\n")


def write_log(folder: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write a training's epochs as CSV, whole; `epoch` counts from 1 where the rows do not say it."""
    with write_whole(folder / LOG) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, list({"epoch": 0, **rows[0]}))
        writer.writeheader()
        writer.writerows({"epoch": number, **row} for number, row in enumerate(rows, start=1))


def _unfinished(prefix: Path, record: RunRecord) -> Path | None:
    """The newest unfinished `<prefix>-<k>` of the same settings."""
    for number in reversed(_numbers(prefix)):
        folder = prefix.with_name(f"{prefix.name}-{number}")
        try:
            before = read_record(folder)
        except (UsageError, WorkError):
            continue
        if not before.complete and before.kind == record.kind and not before.differences(record):
            return folder
    return None


def _numbers(prefix: Path) -> list[int]:
    """The numbers k for which there is a `<prefix>-<k>`, in order; gaps do not matter."""
    ends = (path.name.removeprefix(f"{prefix.name}-") for path in prefix.parent.glob("*") if path.is_dir())
    return sorted(int(end) for end in ends if end.isdecimal() and not end.startswith("0"))


def _begun(folder: Path, record: RunRecord) -> RunRecord | None:
    """The record of a folder that is to be continued; None where nothing lies there but an older process's lock.

    Raises:
        UsageError: it holds something else, or a run with other settings.
    """
    if not folder.is_dir() or all(path.name == LOCK for path in folder.iterdir()):
        return None
    if not is_run(folder):
        raise UsageError(f"{folder} holds other files and no run: choose another --out")
    before = read_record(folder)
    if before.kind != record.kind:
        raise UsageError(f"{folder} holds {KINDS[before.kind]}: choose another --out")
    differing = before.differences(record)
    if differing:
        raise UsageError(f"{folder} holds {KINDS[before.kind]} with other settings ({differing}): choose another --out")
    return before
