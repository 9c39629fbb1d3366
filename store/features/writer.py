"""Writing a feature store, as one of any number of workers that share out its shards."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from avr.core import AvrError, FolderLock, UsageError, changes, make_folder, note, remove_leftovers, warn

from .catalog import INDEX_NAME, catalog_of_shards, read_index, read_shard, shard_name
from .index import write_index
from .parts import DOING, find_plan, first_of, refuse_strangers, remove_dropped
from .plan import PLAN_NAME, Plan, plan_changes, plan_of, write_plan
from .shard import ShardWriter


class StoreWriter(AbstractContextManager["StoreWriter"]):
    """Writes a data set's features to a part of a store; continues an interrupted run, and joins one that is on.

    Any number of processes, on any machines that share the folder, may write one part at once: each claims shards,
    and whoever finds all of them there writes the index. A claim dies with its process, so an interruption costs the
    shards that were open and never a finished one. The files do not depend on who wrote them, or how many.

        with StoreWriter(store / "rgb", dataset, arrays={"rgb/pooled": (7, 2048)}, provenance={}) as writer:
            for shard in writer.shards():
                for video in shard.video_ids:
                    shard.add(video, {"rgb/pooled": features_of(video)}, frames=25)

    As a context manager it closes; `close` builds the index when all is there. Threads may share one.

    Args:
        path: the part's folder, in the store's and called as its one stream; made when missing. What the store's other
            parts ask of it, `check_part` tells before.
        dataset: name, class names, videos (id, path, label, group) and splits, such as `avr.datasets.Dataset`.
        arrays: "stream/layer" to the shape of one view: {"rgb/pooled": (7, 2048), "rgb/map": (7, 512, 7, 7)}.
        provenance: how the features are made, as JSON can hold it. provenance["settings"] (dict) decides what may
            continue a run: where one differs, the run is refused. All else (versions, commit, host) may differ: a
            warning tells. Leave out what must not change the bytes: times, device, number of workers.
        shard_videos: videos a shard; by default as many as make 64 MB (1 to 1024). A continued run keeps its number.

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
        remove_dropped(self.path.parent, self.path.name)
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
            refuse_strangers(self.path)  # shards alone may lie there, as repair drops a damaged plan, and are taken
        elif problem is not None:
            warn(f"{self.path}: {PLAN_NAME} is damaged or gone, and is written anew")
        if there is None:
            remove_leftovers(self.path / PLAN_NAME, alone=True)
            return write_plan(self.path, wanted)
        refuse_changes(self.path, there, wanted, keep_shard_videos=keep_shard_videos)
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
                if read_index(self.path / INDEX_NAME).equals(catalog):
                    return True
            remove_leftovers(self.path / INDEX_NAME, alone=True)
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


def refuse_changes(folder: Path, there: Plan, wanted: Plan, *, keep_shard_videos: bool) -> None:
    """Raise UsageError where a part was begun with another plan than is wanted, saying what differs."""
    differing = plan_changes(there, wanted, keep_shard_videos=keep_shard_videos)
    if differing:
        raise UsageError(f"{folder}: was begun with other settings: {first_of(differing)}; use them, or another --out")
