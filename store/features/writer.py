"""Writing a feature store, as one of any number of workers that share out its shards."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from avr.core import AvrError, FolderLock, UsageError, make_folder, note, remove_leftovers, warn
from avr.store.records import changes

from .catalog import INDEX_NAME, catalog_of_shards, read_catalog, read_shard, shard_name
from .index import find_plan, write_index
from .plan import PLAN_NAME, Plan, plan_changes, plan_of, write_plan
from .shard import ShardWriter

DOING = "writes to this store"  # what a folder's lock is held for


class StoreWriter(AbstractContextManager["StoreWriter"]):
    """Writes the features of a data set to a folder; continues a run that was interrupted, and joins one that is on.

    Any number of processes, on any machines that share the folder, may write one store at once: each claims shards,
    and whoever finds all of them there writes the index. A claim dies with its process, so an interruption costs the
    shards that were open and never a finished one. The files do not depend on who wrote them, or how many.

        with StoreWriter(path, dataset, arrays={"rgb/pooled": (7, 2048)}, provenance={"settings": {}}) as writer:
            for shard in writer.shards():
                for video in shard.video_ids:
                    shard.add(video, {"rgb/pooled": features_of(video)}, frames=25)

    As a context manager it closes; `close` builds the index when all is there. Threads may share one.

    Args:
        path: the store's folder; made when missing.
        dataset: name, class names, videos (id, path, label, group) and splits, such as `avr.datasets.Dataset`.
        arrays: "stream/layer" to the shape of one view: {"rgb/pooled": (7, 2048), "rgb/map": (7, 512, 7, 7)}.
        provenance: how the features are made, as JSON can hold it. provenance["settings"] (dict) decides what may
            continue a run: where one differs, the run is refused. All else (versions, commit, host) may differ: a
            warning tells. Leave out what must not change the bytes: times, device, number of workers.
        shard_videos: videos a shard; by default as many as make 64 MB (1 to 64). A continued run keeps its number.

    Raises:
        UsageError: other settings or data set than the store was begun with (says which differ); it is being repaired.
        WorkError: the folder cannot be written.
    """

    def __init__(
        self,
        path: Path | str,
        dataset: Any,
        *,
        arrays: Mapping[str, Sequence[int]],
        provenance: Mapping[str, Any],
        shard_videos: int | None = None,
    ) -> None:
        wanted = plan_of(dataset, arrays=arrays, provenance=provenance, shard_videos=shard_videos)
        self.path = make_folder(Path(path))
        self._index_gone = False  # shards were missing when this process came: an index there now is another's since
        self._lock = FolderLock(self.path, shared=True, doing=DOING)
        try:
            with self._lock.turn():
                self.plan = self._agree(wanted, keep_shard_videos=shard_videos is None)
                self._check_shards()
        except BaseException:
            self._lock.release()
            raise

    def _agree(self, wanted: Plan, *, keep_shard_videos: bool) -> Plan:
        """The plan that lies there if it is the same, or the wanted one, written."""
        there, problem = find_plan(self.path)
        if there is None and not (self.path / PLAN_NAME).exists():
            # Shards alone may lie there (repair drops a damaged plan): those made for this plan are taken.
            names = [item.name for item in self.path.iterdir()]
            strangers = [name for name in names if not name.startswith((".", "shard-", INDEX_NAME))]
            if strangers:
                raise UsageError(
                    f"{self.path}: holds {strangers[0]} but no {PLAN_NAME}: no store; choose an empty folder"
                )
        elif problem is not None:
            warn(f"{self.path}: {PLAN_NAME} is damaged or gone, and is written anew")
        if there is None:
            remove_leftovers(self.path / PLAN_NAME)
            return write_plan(self.path, wanted)
        differing = plan_changes(there, wanted, keep_shard_videos=keep_shard_videos)
        if differing:
            shown = "; ".join(differing[:8]) + (f"; and {len(differing) - 8} more" if len(differing) > 8 else "")
            raise UsageError(f"{self.path}: was begun with other settings: {shown}; use them, or another --out")
        for line in changes(there.provenance, wanted.provenance):  # of its settings, none
            warn(f"{self.path}: continuing, though {line}")
        return there if problem is None else write_plan(self.path, there)

    def _check_shards(self) -> None:
        """Hold the shards that are there against the plan; an index that names others is taken away."""
        missing = self.missing()
        found = sorted({*range(self.plan.num_shards)}.difference(missing))
        for number in found:
            read_shard(self.path, number, self.plan)
        if missing:
            (self.path / INDEX_NAME).unlink(missing_ok=True)
            self._index_gone = True
        if found:
            note(f"{self.path}: continuing, {len(found)} of {self.plan.num_shards} shards are there")

    def missing(self) -> list[int]:
        """Numbers of the shards that are not there now, whoever may be at work on them."""
        there = {item.name for item in self.path.glob("shard-*.h5")}
        return [number for number in range(self.plan.num_shards) if shard_name(number) not in there]

    def claim(self, number: int) -> ShardWriter | None:
        """A shard to be made by this process; None: it is there, or somebody is at work on it."""
        if not self._lock.claim(number):
            return None
        if (self.path / shard_name(number)).exists():
            self._lock.give_back(number)
            return None
        return ShardWriter(self.path, number, plan=self.plan, closed=partial(self._lock.give_back, number))

    def claim_next(self) -> ShardWriter | None:
        """The first missing shard that nobody is at work on; None: there is nothing to take now."""
        return next((shard for number in self.missing() if (shard := self.claim(number)) is not None), None)

    def shards(self, *, poll: float = 1.0) -> Iterator[ShardWriter]:
        """Claimed shards, one after another, until all are there, whoever wrote them; each is written at its end.

        Args:
            poll: seconds between looks at the folder while others are at work on all that is left: one of them may
                die, and its shard has then to be made.
        """
        while self.missing():
            shard = self.claim_next()
            if shard is None:
                time.sleep(poll)
                continue
            try:
                yield shard
                if not shard.written:
                    shard.finish()
            finally:
                shard.release()

    def finish(self) -> bool:
        """Write the index of a store whose shards are all there, whoever wrote them; False: some are missing.

        Raises:
            WorkError: a shard is damaged or another run's; the disk is full.
        """
        if self.missing():
            return False
        with self._lock.turn():
            if self._index_gone and (self.path / INDEX_NAME).exists():
                return True  # of many workers, one reads all the shards
            shards = [read_shard(self.path, number, self.plan) for number in range(self.plan.num_shards)]
            catalog = catalog_of_shards(self.plan, shards)
            with suppress(AvrError):
                if read_catalog(self.path / INDEX_NAME).equals(catalog):
                    return True
            remove_leftovers(self.path / INDEX_NAME)
            write_index(self.path, catalog)
        return True

    def close(self) -> None:
        """Write the index if all shards are there, else leave the store unfinished; give the claims back."""
        try:
            self.finish()
        finally:
            self._lock.release()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._lock.release()
