"""Verify reads everything and names what is damaged; repair drops it, so that extraction does it again."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from avr.core import AvrError, FolderLock, Progress, UsageError, WorkError
from avr.store.sealed import check_whole

from .catalog import INDEX_NAME, Catalog, catalog_of_shards, read_catalog, read_shard, shard_name
from .index import describes, find_plan, write_index
from .plan import PLAN_NAME, Plan, write_plan
from .rows import NUM_THREADS, RowReader
from .writer import DOING


def verify_folder(folder: Path) -> dict[str, Any]:
    """Read every byte of a store's folder; see `avr.store.verify`.

    Without a sound plan, shards are held against the index's; without that, against their own seals alone.
    """
    shards = _shards_there(folder)
    plan, problem = find_plan(folder)
    damaged = [] if problem is None else [{"file": PLAN_NAME, "problem": str(problem)}]
    sound = []
    with Progress("verify", total=len(shards), unit="shards") as progress, ThreadPoolExecutor(NUM_THREADS) as pool:
        for number, (shard, wrong) in zip(shards, pool.map(partial(_try, folder, plan), shards), strict=True):
            damaged += [{"file": shard_name(number), "problem": wrong}] if wrong else []
            sound += [] if shard is None else [shard]
            progress.advance()
    files = [folder / PLAN_NAME, *(folder / shard_name(number) for number in shards), folder / INDEX_NAME]
    wrong = _index_problem(folder, plan, sound)
    damaged += [{"file": INDEX_NAME, "problem": wrong}] if wrong else []
    missing = plan.num_shards - len(shards) if plan is not None else 0
    return report(damaged, missing=missing, files=files)


def report(damaged: list[dict[str, str]], *, missing: int, files: Sequence[Path]) -> dict[str, Any]:
    """What `verify` returns."""
    sizes = [file.stat().st_size for file in files if file.exists()]
    return {"ok": not damaged, "damaged": damaged, "missing_shards": missing, "files": len(sizes), "bytes": sum(sizes)}


def check_packed(path: Path) -> None:
    """Raise AvrError unless a packed file's tables make sense and every row fits its checksum."""
    _check_rows(read_catalog(path), path)


def _check_rows(catalog: Catalog, path: Path) -> None:
    with closing(RowReader(catalog, path, cache_bytes=0)) as reader:
        for name in catalog.places:
            for _ in reader.parts(name):
                pass


def _shards_there(folder: Path) -> list[int]:
    """Numbers of the shards whose files are there. Raises UsageError where nothing of a store is."""
    ends = (path.stem.removeprefix("shard-") for path in folder.glob("shard-*.h5"))
    numbers = sorted(int(end) for end in ends if end.isdecimal() and f"{int(end):05d}" == end)
    if not numbers and not (folder / PLAN_NAME).exists() and not (folder / INDEX_NAME).exists():
        raise UsageError(f"{folder}: no store (no {PLAN_NAME} in it)")
    return numbers


def _try(folder: Path, plan: Plan | None, number: int) -> tuple[Catalog | None, str]:
    """A shard's tables once all of it has been checked, and what is wrong with it, "" for nothing."""
    try:
        check_whole(folder / shard_name(number), "shard")
        if plan is None:
            return None, ""
        shard = read_shard(folder, number, plan)
        _check_rows(shard, folder)
        return shard, ""
    except AvrError as error:
        return None, str(error)


def _index_problem(folder: Path, plan: Plan | None, shards: Sequence[Catalog]) -> str:
    """What is wrong with an index that is there; with all shards at hand, whether it describes them."""
    if not (folder / INDEX_NAME).exists():
        return ""
    try:
        check_whole(folder / INDEX_NAME, "index")
        read_catalog(folder / INDEX_NAME)
    except AvrError as error:
        return str(error)
    if plan is not None and len(shards) == plan.num_shards and not describes(folder, catalog_of_shards(plan, shards)):
        return f"{folder / INDEX_NAME}: does not describe the shards that are there"
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
    shards = _shards_there(folder)
    with FolderLock(folder, doing=DOING):
        try:
            return _repair(folder, shards, failures=failures)
        except OSError as error:
            raise WorkError(f"{folder}: cannot be repaired ({error.strerror})") from error


def _repair(folder: Path, shards: list[int], *, failures: bool) -> dict[str, Any]:
    dropped = [left.name for left in folder.glob(".*.tmp")]
    plan, problem = find_plan(folder)
    if problem is not None and (folder / PLAN_NAME).exists():
        dropped.append(PLAN_NAME)
    sound = []
    for number in shards if plan is not None else ():
        shard, _ = _try(folder, plan, number)
        if shard is None or (failures and shard.failures):
            dropped.append(shard_name(number))
        else:
            sound.append(shard)
    complete = plan is not None and len(sound) == plan.num_shards
    index = folder / INDEX_NAME
    if plan is not None and index.exists() and (not complete or _index_problem(folder, plan, sound)):
        dropped.append(INDEX_NAME)
    for name in dropped:
        (folder / name).unlink(missing_ok=True)
    if plan is None:
        return {"dropped": dropped, "complete": False, "missing_shards": None}
    if problem is not None:
        write_plan(folder, plan)
    if complete and not index.exists():
        write_index(folder, catalog_of_shards(plan, sound))
    return {"dropped": dropped, "complete": complete, "missing_shards": plan.num_shards - len(sound)}
