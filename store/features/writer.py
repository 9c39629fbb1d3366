"""Writing a feature store: one run holds the lock, gives out shards, and builds the index at the end."""

import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
from numpy.typing import ArrayLike

from avr.core import StoreLock, UsageError, WorkError, note, warn
from avr.store.building import build
from avr.store.disk import write_file

from .index import INDEX_NAME, catalog_of_shards, check_shard, index_image
from .shard import ShardWriter, filter_arguments, load_plan, read_shard, shard_name
from .tables import DatasetLike, Plan, plan_of, write_plan

SHARD_BYTES = 1 << 26  # about what a shard should weigh; what a crash can cost, and what a writer holds in memory


@dataclass(frozen=True)
class PendingShard:
    """A shard not written yet: its number for `ShardWriter`, and its videos in order."""

    number: int
    video_ids: tuple[str, ...]


class StoreWriter:
    """Writes the features of a data set to a folder; continues a run that was interrupted.

    A shard is written when its last video has been added or has failed, so an interruption costs the shards that were
    open, and never a finished one. Videos may be added in any order; the bytes do not depend on it. One thread or
    several may call `add` and `fail`. As a context manager it closes; `close` builds the index when all is there.

    Args:
        path: the store's folder; made when missing.
        dataset: name, class names, videos (id, path, label, group) and splits, such as `avr.datasets.Dataset`.
        arrays: "stream/layer" to the shape of one view: {"rgb/pooled": (7, 2048), "rgb/map": (7, 512, 7, 7)}.
        provenance: how the features are made, as JSON can hold it. provenance["settings"] (dict) decides what may
            continue a run: where one differs, the run is refused. All else (versions, commit, host) may differ: a
            warning tells. Leave out what must not change the bytes: times, device, number of workers.
        shard_videos: videos a shard; by default as many as make 64 MB (1 to 64). A continued run keeps its number.
        compression: None (default; reads are fastest), "gzip", "lzf", or of hdf5plugin "zstd", "lz4", "blosc",
            "bitshuffle".

    Raises:
        UsageError: other settings or data set than the store was begun with (says which differ), a second run.
        WorkError: the folder cannot be written.
    """

    def __init__(
        self,
        path: Path | str,
        dataset: DatasetLike,
        *,
        arrays: Mapping[str, Sequence[int]],
        provenance: Mapping[str, Any],
        shard_videos: int | None = None,
        compression: str | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path}: is a file; a store is a folder")
        if compression:
            filter_arguments(compression)
        wanted = plan_of(
            dataset,
            arrays=arrays,
            provenance=provenance,
            shard_videos=shard_videos or default_shard_videos(arrays),
            compression=compression,
        )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkError(f"{self.path}: cannot be made ({error.strerror}); choose another --out") from error
        self._lock = StoreLock(self.path)
        try:
            self.plan = self._open_plan(wanted, keep_shard_videos=shard_videos is None)
            self._clean()
        except BaseException:
            self._lock.release()
            raise
        self._shard_of = {video: index // self.plan.shard_videos for index, video in enumerate(self.plan.ids)}
        self._open: dict[int, ShardWriter] = {}
        self._threads = threading.Lock()
        self._finished = self._find_shards()
        self._closed = False

    def _open_plan(self, wanted: Plan, *, keep_shard_videos: bool) -> Plan:
        """The plan that lies there if it is the same, or the wanted one, written."""
        path = self.path / "plan.h5"
        if not path.exists():
            # Shards alone may lie there (repair drops a damaged plan): those of this very plan are taken.
            strangers = [
                item.name for item in self.path.iterdir() if not item.name.startswith((".", "shard-", "index.h5"))
            ]
            if strangers:
                raise UsageError(f"{self.path}: holds {strangers[0]} but no plan.h5: no store; choose an empty folder")
            write_file(path, plan_image(wanted))
            return wanted
        there, _ = load_plan(self.path)
        differing = differences(there, wanted, keep_shard_videos=keep_shard_videos)
        if differing:
            shown = "; ".join(differing[:8]) + (f"; and {len(differing) - 8} more" if len(differing) > 8 else "")
            raise UsageError(f"{self.path}: was begun with other settings: {shown}; use them, or another --out")
        old, new = (
            {key: value for key, value in plan.provenance.items() if key != "settings"} for plan in (there, wanted)
        )
        for line in _dict_differences(old, new):
            warn(f"{self.path}: continuing, though {line}")
        return there

    def _clean(self) -> None:
        """Remove what killed writers left under temporary names."""
        for left in self.path.glob(".*.tmp"):
            left.unlink(missing_ok=True)

    def _find_shards(self) -> set[int]:
        """Numbers of the shards that are there, structure checked; an index that names others is taken away."""
        _, plan_sha256 = load_plan(self.path)
        found = set()
        for number in range(self.plan.num_shards):
            path = self.path / shard_name(number)
            if path.exists():
                check_shard(self.plan, read_shard(path), plan_sha256=plan_sha256)
                found.add(number)
        if len(found) < self.plan.num_shards:
            (self.path / INDEX_NAME).unlink(missing_ok=True)
        if found:
            note(f"{self.path}: continuing, {len(found)} of {self.plan.num_shards} shards are there")
        return found

    @property
    def done(self) -> set[str]:
        """Ids of the videos that need no more work: in a finished shard, or added or failed in this run."""
        done = {video for number in self._finished for video in self.plan.ids[self.plan.shard_slice(number)]}
        for shard in list(self._open.values()):
            done |= set(shard.video_ids) - set(shard.missing)
        return done

    def pending_shards(self) -> list[PendingShard]:
        """The shards not written yet, to be given to workers that open a `ShardWriter(path, number)` each."""
        self._finished |= {n for n in range(self.plan.num_shards) if (self.path / shard_name(n)).exists()}
        return [
            PendingShard(number, self.plan.ids[self.plan.shard_slice(number)])
            for number in range(self.plan.num_shards)
            if number not in self._finished
        ]

    def add(self, video_id: str, features: Mapping[str, ArrayLike], *, frames: int) -> str | None:
        """Take a video's features, `(V, *shape)` for every array, V alike in all; see `ShardWriter.add`.

        Returns:
            None, or the reason why they cannot be stored, recorded as the video's failure.
        """
        shard = self._shard(video_id)
        reason = shard.add(video_id, features, frames=frames)
        self._write_if_whole(shard)
        return reason

    def fail(self, video_id: str, reason: str) -> None:
        """Record that a video has no features, and why."""
        shard = self._shard(video_id)
        shard.fail(video_id, reason)
        self._write_if_whole(shard)

    def _shard(self, video_id: str) -> ShardWriter:
        if video_id not in self._shard_of:
            raise UsageError(f"{video_id}: not in the data set of {self.path}")
        number = self._shard_of[video_id]
        with self._threads:
            if number in self._finished:
                raise UsageError(f"{video_id}: its shard is written already (see StoreWriter.done)")
            if number not in self._open:
                self._open[number] = ShardWriter(self.path, number)
            return self._open[number]

    def _write_if_whole(self, shard: ShardWriter) -> None:
        with self._threads:
            if shard.missing or shard.number in self._finished:
                return
            self._finished.add(shard.number)
        try:
            shard.finish()
        except BaseException:
            self._finished.discard(shard.number)  # it stays open: `close` tries again
            raise
        del self._open[shard.number]

    def finish(self) -> None:
        """Build the index of a store whose shards are all there, whoever wrote them.

        Raises:
            WorkError: a shard is missing, damaged or another run's; the disk is full.
        """
        missing = self.pending_shards()
        if missing:
            raise WorkError(f"{self.path}: unfinished: {len(missing)} of {self.plan.num_shards} shards are missing")
        _, plan_sha256 = load_plan(self.path)
        shards = [read_shard(self.path / shard_name(number)) for number in range(self.plan.num_shards)]
        catalog = catalog_of_shards(self.plan, shards, plan_sha256=plan_sha256)
        write_file(self.path / INDEX_NAME, index_image(catalog))

    def close(self) -> None:
        """Build the index if all shards are there, else leave the store unfinished; give the lock back."""
        if self._closed:
            return
        self._closed = True
        try:
            for shard in list(self._open.values()):
                self._write_if_whole(shard)  # one that a full disk refused before
            if not self.pending_shards():
                self.finish()
        finally:
            self._lock.release()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._closed = True
            self._lock.release()


def default_shard_videos(arrays: Mapping[str, Sequence[int]]) -> int:
    """Videos a shard so that one of one view a video weighs about 64 MB: 1 to 64."""
    video_bytes = sum(2 * math.prod(shape) for shape in arrays.values())
    return max(1, min(64, SHARD_BYTES // max(1, video_bytes)))


def plan_image(plan: Plan) -> memoryview:
    """The bytes of a plan file."""

    def fill(file: h5py.File) -> list[tuple[int, int]]:
        write_plan(file, plan)
        return []

    return build("plan", fill)


def differences(old: Plan, new: Plan, *, keep_shard_videos: bool = False) -> list[str]:
    """What keeps a run with plan `new` from continuing one with plan `old`, as "name old → new"."""
    lines = _dict_differences(old.provenance.get("settings", {}), new.provenance.get("settings", {}))
    lines += _dict_differences(
        {name: list(shape) for name, shape in old.arrays.items()},
        {name: list(shape) for name, shape in new.arrays.items()},
    )
    for name in ("dataset", "compression", *(() if keep_shard_videos else ("shard_videos",))):
        if getattr(old, name) != getattr(new, name):
            lines.append(f"{name} {getattr(old, name)} → {getattr(new, name)}")
    for name in ("class_names", "split_names", "ids", "groups"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            lines.append(f"{name.replace('ids', 'videos')} ({_first_difference(before, after)})")
    if old.ids == new.ids:
        lines += [
            f"{name} differ"
            for name in ("labels", "splits")
            if getattr(old, name).tolist() != getattr(new, name).tolist()
        ]
    return lines


def _first_difference(old: Sequence[str], new: Sequence[str]) -> str:
    if len(old) != len(new):
        return f"{len(old)} → {len(new)}"
    first = next(index for index, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1])
    return f"number {first}: {old[first]} → {new[first]}"


def _dict_differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Entries that differ, nested dicts by dotted names, values as JSON."""
    lines = []
    for key in sorted(set(old) | set(new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += _dict_differences(before, after, f"{prefix}{key}.")
        elif before != after or (key in old) != (key in new):
            lines.append(f"{prefix}{key} {_shown(before)} → {_shown(after)}")
    return lines


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "…"
