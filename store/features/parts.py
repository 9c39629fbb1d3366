"""The parts of a store: one a stream, each a folder with its own plan, shards and index, whose name is the stream's.

A store of before has plan, shards and index in its own folder, of two streams perhaps: that is its part "", and parts
of other streams may lie beside these files. A part's folder is therefore `store / name`.
"""

import os
import secrets
import shutil
from collections.abc import Iterable
from glob import escape
from pathlib import Path
from typing import Any

from avr.core import WINDOWS, AvrError, FolderLock, UsageError, WorkError, check_known, note, warn

from .catalog import INDEX_NAME, read_index
from .plan import PLAN_NAME, Plan, load_plan, plan_of, video_changes, with_seal

DOING = "writes to this store"  # what a part's lock is held for
DROPPED = ".dropped"  # of a hidden folder: a part that is being removed


def shards_in(folder: Path) -> list[int]:
    """Numbers of the shards in a part's folder."""
    ends = (path.stem.removeprefix("shard-") for path in folder.glob("shard-*.h5"))
    return sorted(int(end) for end in ends if end.isdecimal() and f"{int(end):05d}" == end)


def _holds_part(folder: Path) -> bool:
    return (folder / PLAN_NAME).exists() or (folder / INDEX_NAME).exists() or bool(shards_in(folder))


def parts_of(store: Path) -> tuple[str, ...]:
    """Names of the parts in a store's folder: "" where it holds one itself, then those of its sub-folders, sorted."""
    with os.scandir(store) as items:
        below = sorted(item.name for item in items if not item.name.startswith(".") and item.is_dir())
    own = ("",) if _holds_part(store) else ()
    return own + tuple(name for name in below if _holds_part(store / name))


def some_parts_of(store: Path) -> tuple[str, ...]:
    """As `parts_of`. Raises UsageError where there is none."""
    names = parts_of(store)
    if not names:
        raise UsageError(f"{store}: no store (no {PLAN_NAME} in it or a folder of it); `avr extract` makes one")
    return names


def in_store(part: str, name: str) -> str:
    """How a file of a part is called in its store: "rgb/shard-00000.h5"."""
    return f"{part}/{name}" if part else name


def check_streams(folder: Path, part: str, streams: tuple[str, ...]) -> None:
    """Raise UsageError where a part's folder is not called as its one stream is."""
    if part and streams != (part,):
        held = ", ".join(streams) or "no stream"
        raise UsageError(
            f"{folder}: holds {held} and is no part '{part}' of a store: it was renamed, or is a store of its own"
        )


def find_plan(folder: Path) -> tuple[Plan | None, AvrError | None]:
    """A part's plan and what is wrong with its file: where that is damaged or gone, the index still tells the plan.

    Raises:
        UsageError: the plan is of another format version, and no index of this one lies beside it.
    """
    try:
        return load_plan(folder), None
    except AvrError as error:
        problem = error
    try:
        plan = read_index(folder / INDEX_NAME).whole
    except AvrError:
        plan = None
    if plan is None:
        if isinstance(problem, UsageError) and (folder / PLAN_NAME).exists():
            raise problem
        return None, problem
    return with_seal(plan), problem


def describe_parts(store: Path | str) -> dict[str, Plan | None]:
    """The plan of each part in a store's folder, by its name; "" is a part in that folder itself.

    None where a plan's file is damaged and no index tells it. No parts where there is no folder.

    Raises:
        UsageError: a plan of another format version, or a folder that is no part of a store.
    """
    found: dict[str, Plan | None] = {}
    store = Path(store)
    for name in parts_of(store) if store.is_dir() else ():
        found[name], _ = find_plan(store / name)
        if (plan := found[name]) is not None:
            check_streams(store / name, name, plan.streams)
    return found


def strangers(folder: Path) -> list[str]:
    """What a folder holds beside a part's files, parts, folders just made for one, and hidden files."""

    def stranger(item: Path) -> bool:
        if item.name.startswith((".", "shard-", INDEX_NAME, PLAN_NAME)):
            return False
        return not (item.is_dir() and (_holds_part(item) or all(path.name.startswith(".") for path in item.iterdir())))

    return sorted(item.name for item in folder.iterdir() if stranger(item))


def check_part(store: Path | str, name: str, dataset: Any) -> None:
    """Whether features of a data set may become a part of a store, or continue it there: asked before any are made.

    Args:
        store: the store's folder, which need not be there.
        name: of the part.
        dataset: as `StoreWriter` takes it.

    Raises:
        UsageError: another part's videos, labels, class names, groups or splits differ (says which), or another holds
            this stream; or the folder is no store's.
    """
    store = Path(store)
    wanted, parts = plan_of(dataset, arrays={}, provenance={}), describe_parts(store)
    if store.is_dir() and not parts:
        refuse_strangers(store)
    for other, plan in parts.items():
        if other == name or plan is None:
            continue
        if name in plan.streams:
            raise UsageError(
                f"{store}: holds a stream {name} already, in one part with others; name the new one otherwise"
            )
        differing = video_changes(plan, wanted)
        if differing:
            raise UsageError(
                f"{store}: the videos of {', '.join(plan.streams)} are others: {first_of(differing)}; use the "
                "same data set, or another --out"
            )


def refuse_strangers(folder: Path) -> None:
    """Raise UsageError where a folder that holds no store holds anything else."""
    found = strangers(folder)
    if found:
        raise UsageError(f"{folder}: holds {found[0]} but no {PLAN_NAME}: no store; choose an empty folder")


def first_of(differing: list[str]) -> str:
    """The first few lines of `plan_changes`, as one."""
    return "; ".join(differing[:8]) + (f"; and {len(differing) - 8} more" if len(differing) > 8 else "")


def drop(store: Path | str, stream: str) -> dict[str, Any]:
    """Remove one stream's part from a store's folder, at once; extraction with any settings makes it again.

    A drop that is killed leaves the stream as it was, or a hidden folder that readers ignore and the next writer of
    that stream, repair or drop removes. The last stream may be dropped: an empty folder stays.

    Returns:
        "dropped" (the stream), "bytes" (their number), "streams" (those that the store still holds).

    Raises:
        UsageError: no store's folder, no such stream, one that shares a part with others, or a run is writing it.
        WorkError: it cannot be removed.
    """
    store = Path(store)
    if not store.is_dir():
        raise UsageError(f"{store}: not a store's folder; drop a stream there, and pack it again")
    remove_dropped(store)
    parts = some_parts_of(store)
    top = find_plan(store)[0] if "" in parts else None
    above = () if top is None else top.streams
    if stream not in parts and stream in above:
        raise UsageError(
            f"{store}: {stream} lies in the store's own folder with all of {', '.join(above)}, as avr laid streams out "
            "before each had its own: it cannot be dropped alone"
        )
    check_known("stream", stream, (*above, *filter(None, parts)), where=f"{store}: ")
    folder = store / stream
    plan, _ = find_plan(folder)
    if plan is not None:
        check_streams(folder, stream, plan.streams)
    others = [*strangers(folder), *filter(None, parts_of(folder))]
    if others:
        raise UsageError(f"{folder}: also holds {others[0]}; move that elsewhere first")
    try:
        with FolderLock(folder, doing=DOING) as lock:
            size = sum(file.stat().st_size for file in folder.glob("*.h5"))
            if WINDOWS:  # a folder with an open file cannot be renamed there
                lock.release()
            folder.rename(store / f".{stream}.{secrets.token_hex(4)}{DROPPED}")
    except OSError as error:
        raise WorkError(f"{folder}: cannot be removed ({error.strerror})") from error
    remove_dropped(store)
    rest = [name for name in (*above, *parts) if name not in ("", stream)]
    return {"dropped": stream, "bytes": size, "streams": rest}


def remove_dropped(store: Path, stream: str | None = None) -> list[str]:
    """Remove what is left of dropped streams, or of one; their hidden folders' names."""
    left = sorted(store.glob(f".{'*' if stream is None else escape(stream)}.*{DROPPED}"))
    for folder in left:
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder, ignore_errors=True)  # another process may be at it, too
        if folder.exists():
            warn(f"{folder}: cannot be removed; do it by hand")
    return [folder.name for folder in left]


def default_store(folder: Path | str = "features") -> Path:
    """The newest store under `features/`, by its newest index (an unfinished part's plan); says what it took.

    Raises:
        UsageError: there is none.
    """
    dated = []
    for path in Path(folder).glob("*"):
        dates = [mark.stat().st_mtime_ns for mark in _marks(path)]
        if dates:
            dated.append((max(dates), path))
    if not dated:
        raise UsageError(f"no store under {folder}/: run `avr extract --dataset NAME` first, or name one with --store")
    newest = max(dated)[1]
    note(f"store: {newest}" + (f" (the newest of {len(dated)} under {folder}/)" if len(dated) > 1 else ""))
    return newest


def _marks(path: Path) -> Iterable[Path]:
    """The files whose dates tell a store's: of each part its index or plan; a packed file itself."""
    if not path.is_dir():
        return [path] if path.suffix == ".h5" else []
    found = ([path / name / INDEX_NAME, path / name / PLAN_NAME] for name in parts_of(path))
    return [mark for marks in found for mark in [one for one in marks if one.exists()][:1]]
