"""Finding runs again: the newest finished ones, and what must be said of one that is not whole."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from avr.core import UsageError, WorkError, note, warn

from .runs import GO_ON, RUNS, is_run, read_record, run_of, score_paths

TRAIN_AGAIN = "finish the store, then train again, or name the run"


def finished_runs(folder: Path = RUNS, *, but: str = ".") -> list[Path]:
    """The finished runs with scores under a folder, the one that was written last at the end; says which it leaves out.

    When a run was written is told by its record, so that copies and touched files change nothing; of a run without one
    by its score files.

    Args:
        folder: of runs.
        but: start of the names that are left out.

    Raises:
        UsageError: there is none; of runs that are not finished, or of a store that is not whole, it says so.
    """
    dated: list[tuple[str, str, Path]] = []
    left_out: dict[str, list[str]] = {}  # what to do -> runs
    for run in sorted(path for path in folder.glob("[!.]*") if path.is_dir() and not path.name.startswith(but)):
        try:
            lack, paths = lack_of(run), score_paths(run)
            record = read_record(run) if is_run(run) else None
        except WorkError as error:
            note(f"leaves out {run}: {error}")
            continue
        if record is not None and lack:
            left_out.setdefault(TRAIN_AGAIN if record.finished else GO_ON, []).append(f"{run}, {lack}")
        elif paths:
            changed = datetime.fromtimestamp(max(path.stat().st_mtime for path in paths), UTC)
            written = record.written if record is not None else ""
            dated.append((written or changed.isoformat(timespec="microseconds"), run.name, run))
    if not dated:
        unfinished = "".join(f" (of {'; of '.join(runs)}: {advice})" for advice, runs in left_out.items())
        hint = "train a head first (avr heads train linear), or name run folders or score files"
        raise UsageError(f"no run with scores under {folder}{unfinished}: {hint}")
    for advice, runs in left_out.items():
        note(f"leaves out {'; '.join(runs)}: {advice}")
    return [run for _, _, run in sorted(dated)]


def runs_below(folder: Path) -> list[Path]:
    """Every run with a record at any depth of a folder, itself among them, by name; hidden folders are not looked at.

    Raises:
        UsageError: no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    found = []
    for place, inner, _ in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))  # which the walk goes on into
        found += [Path(place)] if is_run(Path(place)) else []
    return found


def lack_of(run: Path) -> str:
    """What a run's folder lacks to be whole, in words; "" where it lacks nothing or has no record.

    Raises:
        WorkError: the record is damaged.
    """
    if not is_run(run):
        return ""
    record = read_record(run)
    if not record.finished:
        done = sum(not split.unfinished for split in record.splits.values())
        wanted = max(len(record.wanted), len(record.splits), 1)
        return f"unfinished ({done} of {wanted} split{'s' * (wanted > 1)})"
    return f"of a store that is not whole ({record.lacking})" if record.lacking else ""


def warn_unfinished(path: Path, provenance: Mapping[str, Any] | None = None) -> str:
    """Warn where a run that a user named, or the one that a split or a score file is of, is not whole.

    Args:
        path: a run's folder, a split's, or a score file.
        provenance: of the scores that are read, which tell what their store lacked wherever they lie.

    Returns:
        what is lacking, in words; "" where nothing is.
    """
    run = run_of(path if path.is_dir() else path.parent)
    try:
        lack = lack_of(run)
    except WorkError:  # whoever reads it says so
        return ""
    lacking = lack_of_store(provenance or {})
    lack = lack or (f"of a store that is not whole ({lacking})" if lacking else "")
    if lack:
        warn(f"{path}: {lack}: its figures are of what is there")
    return lack


def lack_of_store(provenance: Mapping[str, Any]) -> str:
    """What the store of some scores lacked when they were made, in words; "" where it was whole."""
    about = provenance.get("store")
    return str(about.get("lacking", "")) if isinstance(about, dict) else ""
