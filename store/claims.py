"""Claiming a run's folder: begun, or gone on with, by one process at a time; never one that holds something else."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from avr.core import (
    FolderLock,
    UsageError,
    WorkError,
    as_json,
    differences,
    make_folder,
    note,
    read_json,
    remove_leftovers,
    write_json,
)

from .records import KINDS, RunRecord, command_line
from .runs import (
    RECORD,
    TUNING,
    drop_begun,
    is_run,
    read_record,
    score_path,
    split_folder,
    tuning_folder,
    write_record,
)

LOCK, SETTINGS = ".lock", "settings.json"


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

    def goes_on(there: Path) -> bool:
        before = read_record(there)
        return not before.finished and before.kind == record.kind and not before.differences(record)

    folder = Path(out) if out is not None else _newest(Path(prefix), goes_on) or new_folder(prefix)
    before = _begun(folder, record)
    if before is not None and before.finished:
        drop_begun(folder, before)  # a process that was killed at its very end has not
        yield folder
        return
    lock = FolderLock(make_folder(folder))
    while not (folder / LOCK).exists():  # its holder has failed meanwhile, and took the folder away
        lock.release()
        lock = FolderLock(make_folder(folder))
    try:
        before = _begun(folder, record)  # as it is now that nobody else writes there
        if before is None:
            record = replace(record, command=command_line())
        else:
            record = replace(
                record,
                splits=before.splits,
                summary=before.summary,
                complete=before.complete,
                written=before.written,
                command=before.command,
            )
            note(f"continuing {folder}")
        splits = [split_folder(folder, name) for name in record.wanted]
        for place in (folder / RECORD, *splits, *map(score_path, splits)):  # nobody else is alive here
            remove_leftovers(place, alone=True)
        drop_begun(folder, record)
        write_record(folder, record)
        yield folder
    except BaseException:
        if not record.splits and {path.name for path in folder.iterdir()} <= {LOCK, RECORD}:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        lock.release()


@contextmanager
def claim_tuning(out: Path | None, prefix: Path | str, settings: Mapping[str, Any]) -> Iterator[tuple[Path, Path]]:
    """The folder of a run whose settings are chosen first, and the folder of its trials, held inside the block.

    Args:
        out: the user's choice. None: the newest unfinished `<prefix>-<k>` with these settings, else a new one.
        prefix: as of `claim_run`.
        settings: all that makes it the same tuning, as JSON can hold it; kept in `settings.json`.

    Raises:
        UsageError: `out` holds something else, or a tuning with other settings, or another process works in it.
        WorkError: it cannot be written.
    """
    settings = as_json(dict(settings))

    def goes_on(there: Path) -> bool:
        same = not differences(read_json(tuning_folder(there) / SETTINGS), settings)
        return same and not (is_run(there) and read_record(there).finished)

    folder = Path(out) if out is not None else _newest(Path(prefix), goes_on) or new_folder(prefix)
    place = tuning_folder(folder)
    if folder.is_dir() and not place.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder} holds something else than a tuning: choose another --out")
    lock = FolderLock(make_folder(place))
    try:
        path = place / SETTINGS
        if path.is_file():
            differing = differences(read_json(path), settings)
            if differing:
                raise UsageError(f"{folder} holds a tuning with other settings ({differing}): choose another --out")
            note(f"continuing {folder}")
        else:
            write_json(path, settings)
        yield folder, place
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


def _newest(prefix: Path, goes_on: Callable[[Path], bool]) -> Path | None:
    """The newest `<prefix>-<k>` that is to go on; what cannot be read is passed over."""
    for number in reversed(_numbers(prefix)):
        folder = prefix.with_name(f"{prefix.name}-{number}")
        with suppress(OSError, UsageError, WorkError):
            if goes_on(folder):
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
    if not folder.is_dir() or all(path.name in (LOCK, TUNING) for path in folder.iterdir()):
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
