"""Verify reads everything and names what is damaged; repair drops it, so that extraction does it again."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from avr.core import AvrError, Progress, StoreLock, UsageError, WorkError
from avr.store.disk import open_handle, write_file
from avr.store.scores.file import read_scores
from avr.store.sealed import check_whole, read_seal

from .index import INDEX_NAME, Catalog, catalog_of_shards, check_shard, index_image, read_catalog
from .rows import NUM_THREADS, RowReader
from .shard import ShardTable, load_plan, read_shard, shard_name
from .tables import Plan

PLAN_NAME = "plan.h5"


def verify(path: Path | str) -> dict[str, Any]:
    """Read every byte of a store's folder, a packed file or a score file, and check it.

    Returns:
        "ok" (bool), "damaged" ([{"file", "problem"}]), "missing_shards" (count), "files" and "bytes" read.

    Raises:
        UsageError: nothing of avr's there, or of another format version.
    """
    path = Path(path)
    if path.is_dir():
        return _verify_folder(path)
    with open_handle(path) as handle:
        kind = read_seal_kind(handle, path)
    damaged = []
    try:
        check_whole(path, kind)
        if kind == "packed":
            catalog = read_catalog(path)
            _check_rows(catalog, path)
        elif kind == "scores":
            read_scores(path)
    except WorkError as error:
        damaged.append({"file": str(path), "problem": str(error)})
    return _report(damaged, missing=0, files=[path])


def read_seal_kind(handle: int, path: Path) -> str:
    """What a file is; a damaged seal counts as a packed store, whose check then says what is wrong with it."""
    try:
        return read_seal(handle, path).kind
    except WorkError:
        return "packed"


def _report(damaged: list[dict[str, str]], *, missing: int, files: list[Path]) -> dict[str, Any]:
    size = sum(file.stat().st_size for file in files if file.exists())
    return {"ok": not damaged, "damaged": damaged, "missing_shards": missing, "files": len(files), "bytes": size}


def _check_rows(catalog: Catalog, path: Path) -> None:
    """Raise WorkError at the first row that does not fit its checksum or cannot be decompressed."""
    reader = RowReader(catalog, path, cache_bytes=0)
    try:
        for name, place in catalog.places.items():
            for start in range(0, len(place), 64):
                reader.read(name, np.arange(start, min(start + 64, len(place))), keep=False)
    finally:
        reader.close()


def _verify_folder(folder: Path) -> dict[str, Any]:
    damaged: list[dict[str, str]] = []
    plan, plan_sha256 = _plan(folder)
    check_whole(folder / PLAN_NAME, "plan")
    there = [number for number in range(plan.num_shards) if (folder / shard_name(number)).exists()]
    shards = []
    with Progress("verify", total=len(there), unit="shards") as progress, ThreadPoolExecutor(NUM_THREADS) as pool:
        found = pool.map(lambda number: _try(lambda: check_shard_file(folder, number, plan, plan_sha256)), there)
        for number, (shard, problem) in zip(there, found, strict=True):
            if shard is None:
                damaged.append({"file": shard_name(number), "problem": problem})
            else:
                shards.append(shard)
            progress.advance()
    files = [folder / PLAN_NAME, *(folder / shard_name(number) for number in there)]
    if (folder / INDEX_NAME).exists():
        files.append(folder / INDEX_NAME)
        problem = _index_problem(folder, plan, plan_sha256, shards if len(shards) == plan.num_shards else None)
        if problem:
            damaged.append({"file": INDEX_NAME, "problem": problem})
    return _report(damaged, missing=plan.num_shards - len(there), files=files)


def _plan(folder: Path) -> tuple[Plan, str]:
    if not (folder / PLAN_NAME).exists():
        raise UsageError(f"{folder}: no store (no {PLAN_NAME} in it)")
    return load_plan(folder)


def _try(work: Callable[[], ShardTable]) -> tuple[ShardTable | None, str]:
    try:
        return work(), ""
    except AvrError as error:
        return None, str(error)


def check_shard_file(folder: Path, number: int, plan: Plan, plan_sha256: str) -> ShardTable:
    """Read and check all of one shard: its bytes against its seal, its tables against the plan, its rows.

    Raises:
        AvrError: it is damaged, or not the shard that belongs there.
    """
    path = folder / shard_name(number)
    check_whole(path, "shard")
    shard = read_shard(path)
    if shard.number != number:
        raise WorkError(f"{path}: holds shard {shard.number}")
    check_shard(plan, shard, plan_sha256=plan_sha256)
    catalog = catalog_of_shards(plan, [shard], plan_sha256=plan_sha256)
    _check_rows(catalog, folder)
    return shard


def _index_problem(folder: Path, plan: Plan, plan_sha256: str, shards: list[ShardTable] | None) -> str:
    """What is wrong with an index; with all shards at hand, whether it describes them."""
    try:
        seal = check_whole(folder / INDEX_NAME, "index")
        catalog = read_catalog(folder / INDEX_NAME)
        if shards is not None:
            expected = catalog_of_shards(plan, shards, plan_sha256=plan_sha256)
            if catalog.digest != expected.digest or catalog.files != expected.files:
                return f"{folder / INDEX_NAME}: does not describe the shards that are there (seal {seal.sha256[:8]})"
    except AvrError as error:
        return str(error)
    return ""


def repair(path: Path | str, *, failures: bool = False) -> dict[str, Any]:
    """Drop what is damaged in a store's folder, so that `avr extract` with the same settings does it again.

    Damaged shards and what killed writers left are removed; the index is built again when all shards are there, and
    removed when not (the store then says that it is unfinished). A damaged plan is removed too: extraction with the
    same settings writes the same plan.

    Args:
        path: the store's folder.
        failures: also drop the shards that hold failed videos, to try these again.

    Returns:
        "dropped" (file names), "complete" (bool), "missing_shards" (count).

    Raises:
        UsageError: no store's folder, or a run is writing to it.
        WorkError: the folder cannot be written.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UsageError(f"{folder}: not a store's folder; a damaged packed file is packed again from its folder")
    if not any((folder / name).exists() for name in (PLAN_NAME, INDEX_NAME, shard_name(0))):
        raise UsageError(f"{folder}: no store (no {PLAN_NAME} in it)")
    lock = StoreLock(folder)
    try:
        return _repair(folder, failures=failures)
    except OSError as error:
        raise WorkError(f"{folder}: cannot be repaired ({error.strerror})") from error
    finally:
        lock.release()


def _repair(folder: Path, *, failures: bool) -> dict[str, Any]:
    dropped = [left.name for left in folder.glob(".*.tmp")]
    try:
        check_whole(folder / PLAN_NAME, "plan")
        plan, plan_sha256 = load_plan(folder)
    except WorkError:
        _drop(folder, [*dropped, PLAN_NAME])
        return {"dropped": [*dropped, PLAN_NAME], "complete": False, "missing_shards": None}
    shards = []
    for number in range(plan.num_shards):
        if not (folder / shard_name(number)).exists():
            continue
        shard, _ = _try(lambda number=number: check_shard_file(folder, number, plan, plan_sha256))  # type: ignore[misc]
        if shard is None or (failures and shard.failures):
            dropped.append(shard_name(number))
        else:
            shards.append(shard)
    complete = len(shards) == plan.num_shards
    index = folder / INDEX_NAME
    if index.exists() and (not complete or _index_problem(folder, plan, plan_sha256, shards)):
        dropped.append(INDEX_NAME)
    _drop(folder, dropped)
    if complete and not index.exists():
        write_file(index, index_image(catalog_of_shards(plan, shards, plan_sha256=plan_sha256)))
    return {"dropped": dropped, "complete": complete, "missing_shards": plan.num_shards - len(shards)}


def _drop(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
