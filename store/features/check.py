"""Verify reads everything and names what is damaged; repair drops it, so that extraction does it again."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from avr.core import AvrError, FolderLock, Progress, UsageError, WorkError
from avr.store.sealed import check_whole

from .index import INDEX_NAME, Catalog, catalog_of_shards, find_plan, read_catalog, write_index
from .plan import PLAN_NAME, Plan, write_plan
from .rows import NUM_THREADS, RowReader
from .shard import ShardTable, read_shard, shard_name
from .writer import DOING


def verify_folder(folder: Path) -> dict[str, Any]:
    """Read every byte of a store's folder; see `avr.store.verify`.

    Without a sound plan, shards are held against the index's; without that, against their own seals alone.
    """
    plan, problem = find_plan(folder)
    shards = _shards_there(folder)
    if problem is not None and not (folder / PLAN_NAME).exists() and not shards and not (folder / INDEX_NAME).exists():
        raise UsageError(f"{folder}: no store (no {PLAN_NAME} in it)")
    damaged = [] if problem is None else [{"file": PLAN_NAME, "problem": str(problem)}]
    sound = []
    with Progress("verify", total=len(shards), unit="shards") as progress, ThreadPoolExecutor(NUM_THREADS) as pool:
        for path, (shard, wrong) in zip(shards, pool.map(partial(_try, plan=plan), shards), strict=True):
            if wrong:
                damaged.append({"file": path.name, "problem": wrong})
            elif shard is not None:
                sound.append(shard)
            progress.advance()
    files = [folder / PLAN_NAME, *shards]
    if (folder / INDEX_NAME).exists():
        files.append(folder / INDEX_NAME)
        wrong = _index_problem(folder, plan, sound)
        if wrong:
            damaged.append({"file": INDEX_NAME, "problem": wrong})
    missing = plan.num_shards - len(shards) if plan is not None else 0
    return report(damaged, missing=missing, files=files)


def report(damaged: list[dict[str, str]], *, missing: int, files: Sequence[Path]) -> dict[str, Any]:
    """What `verify` returns."""
    size = sum(file.stat().st_size for file in files if file.exists())
    return {"ok": not damaged, "damaged": damaged, "missing_shards": missing, "files": len(files), "bytes": size}


def check_packed(path: Path) -> None:
    """Raise AvrError unless a packed file's tables make sense and every row fits its checksum."""
    _check_rows(read_catalog(path), path)


def _check_rows(catalog: Catalog, path: Path) -> None:
    reader = RowReader(catalog, path, cache_bytes=0)
    try:
        for name, place in catalog.places.items():
            for start in range(0, len(place), 64):
                reader.read(name, np.arange(start, min(start + 64, len(place))), keep=False)
    finally:
        reader.close()


def _shards_there(folder: Path) -> list[Path]:
    """The files that are named as shards are."""
    return sorted(path for path in folder.glob("shard-*.h5") if path.stem.removeprefix("shard-").isdecimal())


def _try(path: Path, *, plan: Plan | None) -> tuple[ShardTable | None, str]:
    """A shard's tables once all of it has been checked, and what is wrong with it, "" for nothing."""
    try:
        check_whole(path, "shard")
        if plan is None:
            return None, ""
        shard = read_shard(path, plan)
        _check_rows(catalog_of_shards(plan, [shard]), path.parent)
        return shard, ""
    except AvrError as error:
        return None, str(error)


def _index_problem(folder: Path, plan: Plan | None, shards: Sequence[ShardTable]) -> str:
    """What is wrong with an index; with all shards at hand, whether it describes them."""
    try:
        seal = check_whole(folder / INDEX_NAME, "index")
        catalog = read_catalog(folder / INDEX_NAME)
    except AvrError as error:
        return str(error)
    if plan is not None and len(shards) == plan.num_shards:
        expected = catalog_of_shards(plan, shards)
        if (catalog.digest, catalog.files) != (expected.digest, expected.files):
            return f"{folder / INDEX_NAME}: does not describe the shards that are there (seal {seal.sha256[:8]})"
    return ""


def repair(path: Path | str, *, failures: bool = False) -> dict[str, Any]:
    """Drop what is damaged in a store's folder, so that `avr extract` with the same settings does it again.

    Damaged shards and what killed writers left are removed; the index is built again when all shards are there, and
    removed when not (the store then says that it is unfinished). A damaged plan is written again from the index; where
    that cannot tell it, it is removed: extraction with the same settings writes it again, and the shards fit it.

    Args:
        path: the store's folder.
        failures: also drop the shards that hold failed videos, to try these again.

    Returns:
        "dropped" (file names), "complete" (bool), "missing_shards" (count, None where no plan tells it).

    Raises:
        UsageError: no store's folder, or a run is writing to it.
        WorkError: the folder cannot be written.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UsageError(f"{folder}: not a store's folder; a damaged packed file is packed again from its folder")
    if not any((folder / name).exists() for name in (PLAN_NAME, INDEX_NAME, shard_name(0))):
        raise UsageError(f"{folder}: no store (no {PLAN_NAME} in it)")
    with FolderLock(folder, doing=DOING):
        try:
            return _repair(folder, failures=failures)
        except OSError as error:
            raise WorkError(f"{folder}: cannot be repaired ({error.strerror})") from error


def _repair(folder: Path, *, failures: bool) -> dict[str, Any]:
    dropped = [left.name for left in folder.glob(".*.tmp")]
    plan, problem = find_plan(folder)
    if problem is not None and (folder / PLAN_NAME).exists():
        dropped.append(PLAN_NAME)
    if plan is None:
        _drop(folder, dropped)
        return {"dropped": dropped, "complete": False, "missing_shards": None}
    shards = []
    for file in _shards_there(folder):
        shard, _ = _try(file, plan=plan)
        if shard is None or (failures and shard.failures):
            dropped.append(file.name)
        else:
            shards.append(shard)
    complete = len(shards) == plan.num_shards
    index = folder / INDEX_NAME
    if index.exists() and (not complete or _index_problem(folder, plan, shards)):
        dropped.append(INDEX_NAME)
    _drop(folder, dropped)
    if problem is not None:
        write_plan(folder, plan)
    if complete and not index.exists():
        write_index(folder, catalog_of_shards(plan, shards))
    return {"dropped": dropped, "complete": complete, "missing_shards": plan.num_shards - len(shards)}


def _drop(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
