"""Verify reads everything and names what is damaged; repair drops it, so that extraction does it again."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from avr.core import AvrError, FolderLock, Progress, UsageError, WorkError
from avr.store.sealed import open_sealed

from .catalog import INDEX_NAME, Catalog, catalog_of_shards, read_index, read_packed, read_shard, shard_name
from .index import write_index
from .parts import DOING, check_streams, find_plan, in_store, remove_dropped, shards_in, some_parts_of
from .plan import PLAN_NAME, Plan, write_plan
from .rows import NUM_THREADS, RowReader


@dataclass
class Survey:
    """What a part of a store holds, every byte of it read.

    Attributes:
        plan: the part's; where its file is damaged, the one that the index tells, if it does.
        numbers: of the shards that are there.
        sound: those of them that are sound, as far as the plan tells it.
        damaged: what is wrong, by file name.
    """

    plan: Plan | None
    numbers: list[int]
    sound: list[Catalog]
    damaged: dict[str, str]

    @property
    def complete(self) -> bool:
        """Whether every shard is there and sound."""
        return self.plan is not None and len(self.sound) == self.plan.num_shards


def verify_folder(store: Path) -> dict[str, Any]:
    """As `avr.store.verify`, of a store's folder: all of its parts, whatever is damaged in one."""
    damaged: list[dict[str, str]] = []
    files: list[Path] = []
    missing = 0
    for part in some_parts_of(store):
        folder, found = store / part, survey(store, part)
        damaged += [{"file": in_store(part, name), "problem": problem} for name, problem in found.damaged.items()]
        missing += found.plan.num_shards - len(found.numbers) if found.plan is not None else 0
        files += [folder / name for name in (PLAN_NAME, *map(shard_name, found.numbers), INDEX_NAME)]
    sizes = [file.stat().st_size for file in files if file.exists()]
    return {"ok": not damaged, "damaged": damaged, "missing_shards": missing, "files": len(sizes), "bytes": sum(sizes)}


def verify_packed(path: Path) -> None:
    """Raise WorkError unless every table and row of a packed file is sound; its seal has been read."""
    for catalog in read_packed(path).values():
        check_rows(catalog, path)


def survey(store: Path, part: str) -> Survey:
    """Read every byte of one part of a store.

    Without a sound plan, shards are held against the index's; without that, against their own seals alone.

    Raises:
        UsageError: a plan of another format version, or the folder is no part of a store.
    """
    folder = store / part
    numbers = shards_in(folder)
    plan, problem = find_plan(folder)
    if plan is not None:
        check_streams(folder, part, plan.streams)
    found = Survey(plan, numbers, [], {} if problem is None else {PLAN_NAME: str(problem)})
    with (
        Progress(f"verify {part}".strip(), total=len(numbers), unit="shards") as progress,
        ThreadPoolExecutor(NUM_THREADS) as pool,
    ):
        for number, shard in zip(numbers, pool.map(partial(_checked, folder, plan), numbers), strict=True):
            if isinstance(shard, AvrError):
                found.damaged[shard_name(number)] = str(shard)
            elif shard is not None:
                found.sound.append(shard)
            progress.advance()
    index = folder / INDEX_NAME
    if index.exists():
        try:
            there = read_index(index, whole=True)
            if plan is not None and found.complete and not there.equals(catalog_of_shards(plan, found.sound)):
                found.damaged[INDEX_NAME] = f"{index}: does not describe the shards that are there"
        except AvrError as error:
            found.damaged[INDEX_NAME] = str(error)
    return found


def _checked(folder: Path, plan: Plan | None, number: int) -> Catalog | AvrError | None:
    """A shard's tables once all of it has been checked, None where no plan reads them; or what is wrong with it."""
    try:
        if plan is None:
            with open_sealed(folder / shard_name(number), "shard", whole=True):
                return None
        shard = read_shard(folder, number, plan, whole=True)
        check_rows(shard, folder)
        return shard
    except AvrError as error:
        return error


def check_rows(catalog: Catalog, path: Path) -> None:
    """Raise WorkError unless every row of a part, or of a shard in its folder, fits its checksum."""
    reader = RowReader((catalog, path))
    for name in catalog.places:
        for _ in reader.batches(name):
            pass


def repair(path: Path | str, *, failures: bool = False) -> dict[str, Any]:
    """Drop what is damaged in a store's folder, so that `avr extract` with the same settings does it again.

    Damaged shards and what killed writers left are removed; a part's index is built again when its shards are all
    there, and removed when not (the store then says that it is unfinished). A damaged plan is written again from the
    index; where that cannot tell it, it is removed: extraction with the same settings writes it again, and the shards
    fit it.

    Args:
        path: the store's folder.
        failures: also drop the shards that hold failed videos, to try these again.

    Returns:
        "dropped" (file names, "rgb/shard-00000.h5"), "complete" (bool), "missing_shards" (count, None where a part's
        plan, which tells it, is lost).

    Raises:
        UsageError: no store's folder, or a run is writing to it.
        WorkError: the folder cannot be written.
    """
    store = Path(path)
    if not store.is_dir():
        raise UsageError(f"{store}: not a store's folder; a damaged packed file is packed again from its folder")
    parts = some_parts_of(store)  # no lock's file in a folder that is no store
    with ExitStack() as locks:
        for part in parts:
            locks.enter_context(FolderLock(store / part, doing=DOING))
        try:
            dropped = remove_dropped(store)
            done = {part: _repair(store / part, survey(store, part), failures=failures) for part in parts}
        except OSError as error:
            raise WorkError(f"{store}: cannot be repaired ({error.strerror})") from error
    missing = [one["missing_shards"] for one in done.values()]
    return {
        "dropped": dropped + [in_store(part, name) for part, one in done.items() for name in one["dropped"]],
        "complete": all(one["complete"] for one in done.values()),
        "missing_shards": None if None in missing else sum(missing),
    }


def _repair(folder: Path, found: Survey, *, failures: bool) -> dict[str, Any]:
    """One part's, as `repair` gives it."""
    dropped = [left.name for left in folder.glob(".*.tmp")]
    dropped += [name for name in found.damaged if (folder / name).exists()]
    if failures:
        dropped += [shard.files[0][0] for shard in found.sound if shard.failures]
        found.sound = [shard for shard in found.sound if not shard.failures]
    index = folder / INDEX_NAME
    if found.plan is not None and not found.complete and index.exists() and INDEX_NAME not in dropped:
        dropped.append(INDEX_NAME)
    for name in dropped:
        (folder / name).unlink(missing_ok=True)
    if found.plan is None:
        return {"dropped": dropped, "complete": False, "missing_shards": None}
    if PLAN_NAME in found.damaged:
        write_plan(folder, found.plan)
    if found.complete and not index.exists():
        write_index(folder, catalog_of_shards(found.plan, found.sound))
    missing = found.plan.num_shards - len(found.sound)
    return {"dropped": dropped, "complete": found.complete, "missing_shards": missing}
