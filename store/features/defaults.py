"""Which store is meant when none is named."""

from pathlib import Path

from avr.core import UsageError, note

from .index import INDEX_NAME


def default_store(folder: Path | str = "features") -> Path:
    """The newest store under `features/`, by its index (an unfinished one by its plan); says what it took.

    Raises:
        UsageError: there is none.
    """
    dated = []
    for path in Path(folder).glob("*"):
        marks = [path / INDEX_NAME, path / "plan.h5"] if path.is_dir() else [path] if path.suffix == ".h5" else []
        dates = [mark.stat().st_mtime_ns for mark in marks if mark.exists()]
        if dates:
            dated.append((dates[0], path))
    if not dated:
        raise UsageError(f"no store under {folder}/: run `avr extract --dataset NAME` first, or name one with --store")
    newest = max(dated)[1]
    note(f"store: {newest}" + (f" (the newest of {len(dated)} under {folder}/)" if len(dated) > 1 else ""))
    return newest
