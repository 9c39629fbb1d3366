"""One shard: a fixed slice of the video list, gathered in memory and written whole."""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from avr.core import UsageError, WorkError, remove_leftovers
from avr.store.sealed import Rows, write_sealed
from avr.store.tables import PLACE, crc32_of, write_tables

from .catalog import Catalog, content_tables, num_steps, shard_name
from .facts import Facts
from .plan import Plan, load_plan

LARGEST_HALF = 65504.0
EXPONENT = np.uint16(0x7C00)  # its bits in a half: all are set in NaN and infinity alone


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
    if ((rows.view("<u2") & EXPONENT) == EXPONENT).any():  # six times as fast as isfinite of halves
        finite = given[np.isfinite(given)]
        if finite.size < given.size:
            raise WorkError(f"{name}: {given.size - finite.size} values are NaN or infinite")
        raise WorkError(f"{name}: a value of {np.abs(finite).max():g} is more than fp16 holds ({LARGEST_HALF:g})")
    return rows


class ShardWriter:
    """Writes one shard of a store whose plan lies there already.

    `StoreWriter.claim` makes one, so that no two workers make the same shard. The bytes depend on the plan and the
    features alone, not on who wrote them or in which order. `add` and `fail` may be called from several threads.

    Args:
        folder: the store.
        number: which shard.
        plan: the store's; read from the folder by default.
        closed: called once the shard is written or given up.
    """

    def __init__(
        self, folder: Path | str, number: int, *, plan: Plan | None = None, closed: Callable[[], None] | None = None
    ) -> None:
        self.folder, self.number = Path(folder), number
        self.plan = plan or load_plan(self.folder)
        self.video_ids = self.plan.shard(number).ids
        if not self.video_ids:
            raise UsageError(f"{folder}: no shard {number}; there are {self.plan.num_shards}")
        remove_leftovers(self.folder / shard_name(number), alone=True)
        self._members = frozenset(self.video_ids)
        self._features: dict[str, dict[str, NDArray[np.float16]]] = {}
        self._frames: dict[str, int] = {}
        self._facts: dict[str, Facts] = {}
        self._failures: dict[str, str] = {}
        self._notes: dict[str, str] = {}
        self._lock = threading.Lock()
        self._closed = closed
        self.written = False

    @property
    def missing(self) -> tuple[str, ...]:
        """Videos neither added nor failed so far, in order."""
        return tuple(video for video in self.video_ids if video not in self._frames and video not in self._failures)

    def add(
        self,
        video_id: str,
        features: Mapping[str, ArrayLike],
        *,
        frames: int,
        note: str = "",
        facts: Mapping[str, Any] | None = None,
        shown: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> str | None:
        """Take a video's features.

        Args:
            video_id: one of `video_ids`.
            features: for every array of the plan `(V, *shape)`, the same V in all.
            frames: how many frames were decoded.
            note: a remark to keep with them, "" for none (one line, 500 characters at most).
            facts: what is known of the video, such as rate, seconds, width, height, codec.
            shown: which frame and which second each step of each view shows, (V, N) each.

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
            views = len(next(iter(rows.values()), ()))
            known = Facts.of(facts or {}, shown, (views, num_steps(self.plan.arrays)))
        except WorkError as error:
            self.fail(video_id, str(error))
            return str(error)
        with self._lock:
            self._check_open(video_id)
            self._features[video_id] = rows
            self._frames[video_id] = int(frames)
            self._facts[video_id] = known
            if note:
                self._notes[video_id] = _one_line(note)
        return None

    def fail(self, video_id: str, reason: str) -> None:
        """Record that a video has no features, and why (one line, 500 characters at most)."""
        with self._lock:
            self._check_open(video_id)
            self._failures[video_id] = _one_line(reason)

    def _check_open(self, video_id: str) -> None:
        if video_id not in self._members:
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
        path = write_sealed(self.folder / shard_name(self.number), "shard", self._fill)
        self.written = True
        self.release()
        return path

    def release(self) -> None:
        """Give the shard up, written or not, so that another worker may claim it."""
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()

    def _fill(self, file: h5py.File) -> dict[str, Rows]:
        there = self.plan.shard(self.number, but=self._failures)
        counts = [len(next(iter(self._features[video].values()))) for video in there.ids]
        places, arrays = {}, {}
        for name, shape in self.plan.arrays.items():
            rows = [row for video in there.ids for row in self._features[video][name]]
            places[name] = place_rows(file, name, shape, crc32=[crc32_of(row.data) for row in rows])
            arrays[name] = Rows(places[name], rows)
        catalog = Catalog(
            plan=there,
            whole=self.plan,
            rows=np.array(counts, dtype="<i4"),
            frames=np.array([self._frames[video] for video in there.ids], dtype="<i4"),
            facts=Facts.join([self._facts[video] for video in there.ids], num_steps(self.plan.arrays)),
            failures=tuple((video, self._failures[video]) for video in self.video_ids if video in self._failures),
            notes=tuple((video, self._notes[video]) for video in there.ids if video in self._notes),
            places=places,
            files=(),
            file_first_row=np.zeros(1, dtype="<i8"),
        )
        about = {"number": self.number, "plan": self.plan.identity}
        write_tables(file, {"index/videos/id": there.ids, **content_tables(catalog), "index/about": about})
        return arrays


def _one_line(text: str) -> str:
    return " ".join(str(text).replace("\0", " ").split())[:500]


def place_rows(file: h5py.File, name: str, shape: tuple[int, ...], *, crc32: NDArray | Sequence[int]) -> NDArray:
    """Make one array, contiguous and with no values yet; where each row is to lie, (R,) PLACE, of R checksums.

    The rows themselves are not written through the library, which takes longer for each than all else together.
    """
    place = np.zeros(len(crc32), dtype=PLACE)
    stored = 2 * math.prod(shape)
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)
    stream, layer = name.split("/")
    space = h5py.h5s.create_simple((len(place), *shape))
    dataset = h5py.h5d.create(file.require_group(stream).id, layer.encode(), h5py.h5t.IEEE_F16LE, space, dcpl=layout)
    if len(place):
        place["offset"] = dataset.get_offset() + stored * np.arange(len(place), dtype=np.uint64)
        place["stored"], place["crc32"] = stored, crc32
    return place
