"""One shard: a fixed slice of the video list, gathered in memory and written whole."""

import os
import socket
import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from avr.core import UsageError, WorkError
from avr.store.building import build
from avr.store.directory import PLACE, utf8
from avr.store.disk import write_file
from avr.store.sealed import Seal, open_sealed

from .tables import RESERVED, Plan, read_plan, write_json

LARGEST_HALF = 65504.0


def shard_name(number: int) -> str:
    """File name of a shard: "shard-00007.h5"."""
    return f"shard-{number:05d}.h5"


def as_rows(name: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float16]:
    """A video's features `(V, *shape)` as fp16 in the store's byte order.

    Raises:
        WorkError: another shape, no view, NaN or infinity, or a value that fp16 cannot hold (beyond ±65504).
    """
    given = np.asarray(values)
    if given.shape[1:] != shape or given.ndim != len(shape) + 1 or not len(given):
        raise WorkError(f"{name}: shape {given.shape}, expected (views, {', '.join(map(str, shape))})")
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(given, dtype="<f2")
    if not np.isfinite(rows).all():
        finite = given[np.isfinite(given)]
        if finite.size < given.size:
            raise WorkError(f"{name}: {given.size - finite.size} values are NaN or infinite")
        raise WorkError(f"{name}: a value of {np.abs(finite).max():g} is more than fp16 holds ({LARGEST_HALF:g})")
    return rows


@lru_cache(maxsize=4)
def _read_plan_file(path: Path, stamp: tuple[int, int, int]) -> tuple[Plan, str]:
    with open_sealed(path, "plan") as (seal, tables):
        return read_plan(tables), seal.sha256


def load_plan(folder: Path) -> tuple[Plan, str]:
    """A store's plan and its SHA-256, which every shard carries."""
    path = Path(folder) / "plan.h5"
    try:
        status = os.stat(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be opened ({error.strerror})") from error
    return _read_plan_file(path.absolute(), (status.st_mtime_ns, status.st_ino, status.st_size))


class ShardWriter:
    """Writes one shard of a store whose plan lies there already. Any process may: it needs no lock.

    A worker opens it with two picklable values; the process that holds the `StoreWriter` gives out numbers
    (`StoreWriter.pending_shards`) and ends the run (`StoreWriter.finish`). The bytes depend on the plan and the
    features alone, not on who wrote them or in which order. `add` and `fail` may be called from several threads.

    Args:
        folder: the store.
        number: which shard.
    """

    def __init__(self, folder: Path | str, number: int) -> None:
        self.folder, self.number = Path(folder), number
        self.plan, self._plan_sha256 = load_plan(self.folder)
        if not 0 <= number < self.plan.num_shards:
            raise UsageError(f"{folder}: no shard {number}; there are {self.plan.num_shards}")
        self.video_ids = self.plan.ids[self.plan.shard_slice(number)]
        self._features: dict[str, dict[str, NDArray[np.float16]]] = {}
        self._frames: dict[str, int] = {}
        self._failures: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def missing(self) -> tuple[str, ...]:
        """Videos neither added nor failed so far, in order."""
        return tuple(video for video in self.video_ids if video not in self._frames and video not in self._failures)

    def add(self, video_id: str, features: Mapping[str, ArrayLike], *, frames: int) -> str | None:
        """Take a video's features: for every array of the plan `(V, *shape)`, the same V in all.

        Returns:
            None; or, where the features cannot be stored (NaN, beyond fp16, no or unequal views), the reason,
            which has then been recorded as this video's failure.

        Raises:
            UsageError: a video of another shard, or one that was added before, or arrays the plan does not name.
        """
        if set(features) != set(self.plan.arrays):
            raise UsageError(f"{video_id}: arrays {sorted(features)}, expected {sorted(self.plan.arrays)}")
        try:
            rows = {name: as_rows(name, features[name], shape) for name, shape in self.plan.arrays.items()}
            if len({len(values) for values in rows.values()}) > 1:
                raise WorkError(f"unequal views: { {name: len(values) for name, values in rows.items()} }")
        except WorkError as error:
            self.fail(video_id, str(error))
            return str(error)
        with self._lock:
            self._check_open(video_id)
            self._features[video_id] = rows
            self._frames[video_id] = int(frames)
        return None

    def fail(self, video_id: str, reason: str) -> None:
        """Record that a video has no features, and why (one line, 500 characters at most)."""
        with self._lock:
            self._check_open(video_id)
            self._failures[video_id] = " ".join(str(reason).replace("\0", " ").split())[:500]

    def _check_open(self, video_id: str) -> None:
        if video_id not in self.video_ids:
            raise UsageError(f"{video_id}: not in shard {self.number}")
        if video_id in self._frames or video_id in self._failures:
            raise UsageError(f"{video_id}: added twice")

    def finish(self) -> Path:
        """Write the shard; return its path.

        Raises:
            UsageError: videos are missing.
            WorkError: the disk is full or cannot be written; what was added stays, so `finish` can be tried again.
        """
        if self.missing:
            raise UsageError(f"{shard_name(self.number)}: {len(self.missing)} videos missing, first {self.missing[0]}")
        path = self.folder / shard_name(self.number)
        image = self._image()
        write_file(path, image, writer=f"{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}")
        return path

    def _image(self) -> memoryview:
        """The bytes of the shard, built in memory, so that a full disk meets one plain write and not the library."""
        stored = [video for video in self.video_ids if video in self._frames]
        counts = np.array([len(next(iter(self._features[video].values()))) for video in stored], dtype="<i4")
        places: dict[str, NDArray] = {}

        def fill(file: h5py.File) -> list[tuple[int, int]]:
            for name, shape in self.plan.arrays.items():
                rows = [row for video in stored for row in self._features[video][name]]
                places[name] = write_rows(file, name, rows, shape, self.plan.compression)
            group = file.create_group(RESERVED)
            group.create_dataset("videos/id", **utf8(stored), track_times=False)
            group.create_dataset("videos/rows", data=counts, track_times=False)
            frames = np.array([self._frames[video] for video in stored], dtype="<i4")
            group.create_dataset("videos/frames", data=frames, track_times=False)
            group.create_dataset("failures/id", **utf8(list(self._sorted_failures())), track_times=False)
            group.create_dataset("failures/reason", **utf8(list(self._sorted_failures().values())), track_times=False)
            for name, place in places.items():
                group.create_dataset(f"rows/{name}", data=place, track_times=False)
            write_json(group, "about", {"number": self.number, "plan": self._plan_sha256})
            return [pair for place in places.values() for pair in row_ranges(place)]

        ranges = len(self.plan.arrays) * (int(counts.sum()) if self.plan.compression else 1)
        image = build("shard", fill, num_ranges=ranges)
        check_places(image, places)
        return image

    def _sorted_failures(self) -> dict[str, str]:
        return {video: self._failures[video] for video in self.video_ids if video in self._failures}


def write_rows(
    file: h5py.File, name: str, rows: Sequence[NDArray[np.float16]], shape: tuple[int, ...], compression: str | None
) -> NDArray:
    """Write one array, a chunk a row; return where each row lies (dtype PLACE), in the file's bytes."""
    place = np.zeros(len(rows), dtype=PLACE)
    if not rows:
        file.create_dataset(name, shape=(0, *shape), dtype="<f2", track_times=False)
        return place
    dataset = create_array(file, name, (len(rows), *shape), compression)
    origin = (0,) * len(shape)
    for index, row in enumerate(rows):
        if compression:
            dataset[index] = row
        else:
            dataset.id.write_direct_chunk((index, *origin), row)
    file.flush()
    for index, row in enumerate(rows):
        info = dataset.id.get_chunk_info_by_coord((index, *origin))
        stored = dataset.id.read_direct_chunk((index, *origin))[1] if compression else row.data
        place[index] = (info.byte_offset, info.size, zlib.crc32(stored), info.filter_mask)
    return place


def create_array(file: h5py.File, name: str, shape: tuple[int, ...], compression: str | None) -> h5py.Dataset:
    """An empty fp16 array with a chunk a row, its space taken at once where it is not compressed."""
    if compression:
        return file.create_dataset(
            name, shape=shape, dtype="<f2", chunks=(1, *shape[1:]), track_times=False, **filter_arguments(compression)
        )
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk((1, *shape[1:]))
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # all rows in one stretch of the file
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)
    stream, layer = name.split("/")
    group = file.require_group(stream)
    space = h5py.h5s.create_simple(shape)
    return h5py.Dataset(h5py.h5d.create(group.id, layer.encode(), h5py.h5t.IEEE_F16LE, space, dcpl=layout))


def filter_arguments(compression: str) -> dict[str, Any]:
    """`create_dataset` arguments of a compression: "gzip" and "lzf" are h5py's own, others hdf5plugin's.

    Raises:
        UsageError: unknown, or hdf5plugin is not installed.
    """
    if compression in ("gzip", "lzf"):
        return {"compression": compression, "shuffle": True}
    plugins = {"zstd": "Zstd", "lz4": "LZ4", "blosc": "Blosc", "bitshuffle": "Bitshuffle"}
    if compression not in plugins:
        raise UsageError(f"unknown compression '{compression}'; known: gzip, lzf, {', '.join(plugins)}")
    try:
        import hdf5plugin
    except ImportError as error:
        raise UsageError(f"compression '{compression}' needs hdf5plugin: pip install 'avr[compression]'") from error
    return dict(getattr(hdf5plugin, plugins[compression])())


def check_places(image: memoryview, places: Mapping[str, NDArray]) -> None:
    """Raise WorkError unless rows lie where their places say (a guard against libraries that count otherwise)."""
    for name, place in places.items():
        for offset, stored, crc32, _ in place[[0, -1]].tolist() if len(place) else ():
            if zlib.crc32(image[offset : offset + stored]) != crc32:
                raise WorkError(f"{name}: this HDF5 library counts chunk offsets in a way avr does not know")


def row_ranges(place: NDArray) -> list[tuple[int, int]]:
    """Byte ranges of rows."""
    starts = place["offset"].astype(np.int64)
    return list(zip(starts.tolist(), (starts + place["stored"]).tolist(), strict=True))


@dataclass(frozen=True)
class ShardTable:
    """What a finished shard holds, without its features."""

    number: int
    seal: Seal
    plan_sha256: str
    ids: tuple[str, ...]
    rows: NDArray[np.int32]
    frames: NDArray[np.int32]
    failures: tuple[tuple[str, str], ...]
    places: dict[str, NDArray]


def read_shard(path: Path) -> ShardTable:
    """Read a shard's tables, its structure checked (its rows are not).

    Raises:
        WorkError: damaged.
    """
    with open_sealed(path, "shard") as (seal, tables):
        about = tables.json("index/about")
        ids = tables.text("index/videos/id")
        rows = tables.numbers("index/videos/rows", (len(ids),), "i4")
        total = int(rows.astype(np.int64).sum())
        places = {name: tables.places(name, total, seal.size) for name in tables.row_arrays()}
        failures = zip(tables.text("index/failures/id"), tables.text("index/failures/reason"), strict=True)
        frames = tables.numbers("index/videos/frames", (len(ids),), "i4")
        return ShardTable(int(about["number"]), seal, str(about["plan"]), ids, rows, frames, tuple(failures), places)
