"""Verify reads everything and names what is damaged; repair drops it, so that extraction does it again."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from avr.core import AvrError, FolderLock, Progress, UsageError, WorkError
from avr.store.sealed import open_sealed

from .catalog import INDEX_NAME, Catalog, catalog_of_shards, read_catalog, read_shard, shard_name
from .index import find_plan, write_index
from .plan import PLAN_NAME, Plan, write_plan
from .rows import NUM_THREADS, RowReader
from .writer import DOING


@dataclass
class Survey:
    """What a store's folder holds, every byte of it read.

    Attributes:
        plan: the store's; where its file is damaged, the one that the index tells, if it does.
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


def shards_in(folder: Path) -> list[int]:
    """Numbers of the shards that are there. Raises UsageError where nothing of a store is."""
    ends = (path.stem.removeprefix("shard-") for path in folder.glob("shard-*.h5"))
    numbers = sorted(int(end) for end in ends if end.isdecimal() and f"{int(end):05d}" == end)
    if not numbers and not (folder / PLAN_NAME).exists() and not (folder / INDEX_NAME).exists():
        raise UsageError(f"{folder}: no store (no {PLAN_NAME} in it)")
    return numbers


def survey(folder: Path) -> Survey:
    """Read every byte of a store's folder.

    Without a sound plan, shards are held against the index's; without that, against their own seals alone.

    Raises:
        UsageError: nothing of a store is there.
    """
    numbers = shards_in(folder)
    plan, problem = find_plan(folder)
    found = Survey(plan, numbers, [], {} if problem is None else {PLAN_NAME: str(problem)})
    with Progress("verify", total=len(numbers), unit="shards") as progress, ThreadPoolExecutor(NUM_THREADS) as pool:
        for number, shard in zip(numbers, pool.map(partial(_checked, folder, plan), numbers), strict=True):
            if isinstance(shard, AvrError):
                found.damaged[shard_name(number)] = str(shard)
            elif shard is not None:
                found.sound.append(shard)
            progress.advance()
    index = folder / INDEX_NAME
    if index.exists():
        try:
            there = read_catalog(index, whole=True)
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
    """Raise WorkError unless every row of a store, or of a shard in its folder, fits its checksum."""
    reader = RowReader(catalog, path)
    for name in catalog.places:
        for _ in reader.parts(name):
            pass


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
    shards_in(folder)  # no lock's file in a folder that is no store
    with FolderLock(folder, doing=DOING):
        try:
            return _repair(folder, survey(folder), failures=failures)
        except OSError as error:
            raise WorkError(f"{folder}: cannot be repaired ({error.strerror})") from error


def _repair(folder: Path, found: Survey, *, failures: bool) -> dict[str, Any]:
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
