"""Reading feature stores: folders or packed files, their parts joined to one table of videos."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avr.core import UsageError, ahead, check_known, warn

from .catalog import first_rows
from .joining import join, row_numbers
from .opening import Opened, open_parts
from .plan import TEST, TRAIN
from .rows import RowReader
from .showing import Shown

IMPORTED = "imported"  # the kind of a stream that other tools made


@dataclass(frozen=True)
class StreamLayer:
    """One array of a store: `shape` is that of one view, (N, D), (N, P, D) or (N, C, H, W); the dtype is float16."""

    stream: str
    layer: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def name(self) -> str:
        return f"{self.stream}/{self.layer}"


class FeatureStore(Shown, AbstractContextManager["FeatureStore"]):
    """A store, or several joined by their videos' ids, read only. Rows are checked when they are first read.

    Videos are named by id, by position 0 … M − 1 or by a mask (M,): `store["run/clip1"]` gives all arrays of one,
    `store.read("rgb", "pooled", store.split("1")[0])` one array of many. `for video in store` goes through the ids;
    `store.to_frame()` is a pandas DataFrame of a row a video.

    The videos are those that have features in every stream that is read; of those left out one note tells. Where
    several stores have a stream of one name, all of these are called `<store's name>-<stream>`.

    Several threads may read one `FeatureStore` at once, and it may be pickled or forked.

    Args:
        path: the store's folder, or a packed file; several are read together.
        streams: read these alone; all by default.
        cache_bytes: memory that `read` may keep rows in, all arrays together; an array is kept if it fits whole.

    Attributes:
        path: the first one; places: all of them, resolved.
        streams: names, sorted.
        ids, paths, groups: (M,) str, of the videos; labels: (M,) int64.
        frames: (M,) int32 decoded frames; views: (M,) int32 rows of each video; first_row: (M,) int64.
        facts: name to (M,): promised (frames), rate, varies, start, end, seconds, width, height, codec of each video; 0
            and "" are not known.
        class_names, split_names, dataset: as the data set has them.
        arrays: "stream/layer" to StreamLayer.
        failures: [{"id": …, "reason": …}] of the videos that have no features in some stream; the reason names the
            streams where others have them.
        notes: [{"id": …, "note": …}] of videos that have, such as frames that do not decode.
        parts: of what is read, each with its tables.
        provenance: how the features were made; of several parts {"streams": {name: provenance}}.
        digest: identity of the content, equal for a folder and its packed file; of streams read alone it does not
            change when the store gets others.
        digests: of each stream the identity of its part.
        complete: False when shards are missing; what is there can be read.
        lacking: which are, "rgb: 3 of 12 shards", or what the store lacked that it was made of; "" of a whole store.

    Raises:
        UsageError: no store, one of another format version, an unknown stream, or parts that disagree on a video.
        WorkError: damaged.
    """

    def __init__(
        self, path: Path | str | Sequence[Path | str], *, streams: Sequence[str] = (), cache_bytes: int = 1 << 30
    ) -> None:
        stores = [Path(one) for one in ([path] if isinstance(path, Path | str) else path)]
        if not stores:
            raise UsageError("no store is named")
        self.path, self.places = stores[0], tuple(store.resolve() for store in stores)
        self._named = " and ".join(map(str, stores))
        self.parts = open_parts(stores, streams)
        joined = join(self.parts)
        plan = joined.plan
        self.dataset, self.class_names, self.split_names = plan.dataset, plan.class_names, plan.split_names
        self.ids: NDArray[np.str_] = np.array(plan.ids, dtype=str)
        self.paths: NDArray[np.str_] = np.array(plan.paths, dtype=str)
        self.groups: NDArray[np.str_] = np.array(plan.groups, dtype=str)
        self.labels: NDArray[np.int64] = plan.labels
        self.frames, self.views, self.first_row = joined.frames, joined.rows, first_rows(joined.rows)
        self.facts = joined.facts
        self.failures = [{"id": video, "reason": reason} for video, reason in joined.failures]
        self.notes = [{"id": video, "note": text} for video, text in joined.notes]
        self._splits, self._cache_bytes = plan.splits, cache_bytes
        self._part_of = {
            stream: (part, numbers)
            for part, numbers in zip(self.parts, joined.numbers, strict=True)
            for stream in part.streams
        }
        self.streams = tuple(sorted(self._part_of))
        self.arrays = {
            name: StreamLayer(name.split("/")[0], name.split("/")[1], shape, np.dtype(np.float16))
            for part in self.parts
            for name, shape in part.catalog.plan.arrays.items()
        }
        self.provenance: dict[str, Any] = self.parts[0].provenance
        self.digest = self.parts[0].digest
        self.digests = {stream: part.digest for stream, (part, _) in self._part_of.items()}
        if len(self.parts) > 1:
            self.provenance = {"streams": {name: self._part_of[name][0].provenance for name in self.streams}}
            digests = sorted([sorted(part.streams), part.digest] for part in self.parts)
            self.digest = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
        lacking = []
        for part in self.parts:
            missing = len(part.catalog.missing_shards)
            if missing:
                lacking.append(f"{', '.join(part.streams)}: {missing} of {len(part.catalog.files) + missing} shards")
                warn(
                    f"{part.label}: unfinished, {missing} of {len(part.catalog.files) + missing} shards are missing; "
                    "run `avr extract` again with the same settings to finish it"
                )
        self.complete = not lacking
        before = (str(part.provenance.get("lacking") or "") for part in self.parts)
        self.lacking = "; ".join(dict.fromkeys(filter(None, (*lacking, *before))))

    @cached_property
    def _rows(self) -> RowReader:
        return RowReader(*((part.catalog, part.path) for part in self.parts), cache_bytes=self._cache_bytes)

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process starts with no file open and nothing kept."""
        return {name: value for name, value in vars(self).items() if name != "_rows"}

    def close(self) -> None:
        """Close the files and forget the rows that were kept; reading opens them again."""
        vars(self).pop("_rows", None)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids.tolist())

    def __getitem__(self, video: str | int) -> dict[str, NDArray[np.float16]]:
        """All arrays of one video, named by its id or position: "stream/layer" to (V, *shape).

        Raises:
            UsageError, WorkError: as `read`.
        """
        return {name: self.read(array.stream, array.layer, video) for name, array in self.arrays.items()}

    def _of(self, stream: str) -> tuple[Opened, NDArray[np.int64] | None]:
        """A stream's part, and which of its rows are read (None: all, in order)."""
        check_known("stream", stream, self.streams, where=f"{self._named}: ")
        return self._part_of[stream]

    def settings(self, stream: str) -> dict[str, Any]:
        """The settings that a stream was made with, as they were kept; a store of before has one record for all."""
        return self._of(stream)[0].catalog.plan.settings

    def kind(self, stream: str) -> str:
        """What kind of stream it is, such as "flow": by its settings; of an imported one, its name in its store."""
        kind = str(self.settings(stream).get("kind") or IMPORTED)
        return self._part_of[stream][0].streams[stream] if kind == IMPORTED else kind

    def shown(self, stream: str) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Which frames and seconds a stream's steps show.

        Returns:
            (R, N) int32 which frame of its video each step of each row shows, −1 where it is not known;
            (R, N) float64 when, in seconds from its file's start, NaN where it is not known.
        """
        part, numbers = self._of(stream)
        facts = part.catalog.facts
        return (facts.frame, facts.second) if numbers is None else (facts.frame[numbers], facts.second[numbers])

    def layers(self, stream: str) -> tuple[str, ...]:
        """Names of a stream's layers."""
        return tuple(array.layer for array in self.arrays.values() if array.stream == stream)

    def split(self, name: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which videos are a split's training and test videos: two masks (M,).

        Raises:
            UsageError: no such split; the known ones are listed.
        """
        if name not in self.split_names:
            raise UsageError(f"{self._named}: no split '{name}'; known: {', '.join(self.split_names)}")
        parts = self._splits[:, self.split_names.index(name)]
        return parts == TRAIN, parts == TEST

    def array(self, stream: str, layer: str) -> StreamLayer:
        """One array's description. Raises UsageError naming the arrays there are."""
        try:
            return self.arrays[f"{stream}/{layer}"]
        except KeyError:
            known = ", ".join(self.arrays)
            raise UsageError(f"{self._named}: no array '{stream}/{layer}'; it holds {known}") from None

    def nbytes(self, stream: str, layer: str) -> int:
        """Bytes of an array in memory."""
        return int(self.views.sum()) * int(np.prod(self.array(stream, layer).shape)) * 2

    def read_rows(self, stream: str, layer: str, rows: NDArray[np.int64], *, keep: bool = True) -> NDArray[np.float16]:
        """Rows (views) of an array by their numbers 0 … R − 1, float16 (rows, *shape).

        Args:
            stream, layer: of the array.
            rows: their numbers; those of video v are first_row[v] … first_row[v] + views[v] − 1.
            keep: whether the array may be kept in memory (`cache_bytes`).
        """
        array, numbers = self.array(stream, layer), self._part_of[stream][1]
        return self._rows.read(array.name, rows if numbers is None else numbers[rows], keep=keep)

    def read(self, stream: str, layer: str, videos: ArrayLike) -> NDArray[np.float16]:
        """Features of videos: all their rows, video after video.

        Args:
            stream, layer: of the array.
            videos: ids or positions, one or many, in any order and as often as wanted; or a mask (M,).

        Returns:
            float16 (rows, *shape); `views[videos]` says how many are whose.

        Raises:
            UsageError: no such array or video.
            WorkError: damaged, naming file and array.
        """
        return self.read_rows(stream, layer, row_numbers(self.first_row, self.views, self.positions(videos)))

    def read_whole(self, stream: str, layer: str) -> NDArray[np.float16]:
        """A whole array `(R, *shape)`, R all rows of all videos."""
        return self.read_rows(stream, layer, np.arange(int(self.views.sum())), keep=False)

    def iterate_rows(
        self, stream_layers: Sequence[str], rows: NDArray[np.int64], *, batch_rows: int = 16
    ) -> Iterator[Mapping[str, NDArray[np.float16]]]:
        """Rows (views) streamed from disk by their numbers 0 … R − 1, in the order given, while a thread reads ahead.

        Args:
            stream_layers: arrays to read, such as ["rgb/map", "flow/map"].
            rows: their numbers; those of video v are first_row[v] … first_row[v] + views[v] − 1.
            batch_rows: rows a step.

        Returns:
            for each step every array's rows (rows of this step, *shape).
        """
        arrays = [self.array(*name.split("/", 1)) for name in stream_layers]
        steps = [rows[start : start + batch_rows] for start in range(0, len(rows), batch_rows)]
        return ahead(lambda step: {a.name: self.read_rows(a.stream, a.layer, step) for a in arrays}, steps, depth=2)

    @cached_property
    def _position_of(self) -> dict[str, int]:
        return {video: position for position, video in enumerate(self)}

    def positions(self, videos: ArrayLike) -> NDArray[np.intp]:
        """Positions 0 … M − 1 of videos that are named by id, by position or by a mask (M,).

        Raises:
            UsageError: no such video, or a mask of another length.
        """
        chosen = np.atleast_1d(np.asarray(videos))
        if chosen.dtype.kind in "UOT":
            unknown = [str(video) for video in chosen if str(video) not in self._position_of]
            if unknown:
                known = ", ".join(self.ids[:3].tolist())
                raise UsageError(f"{self._named}: no video '{unknown[0]}' with features; there are {known}, …")
            chosen = np.array([self._position_of[str(video)] for video in chosen], np.intp)
        if chosen.dtype.kind == "b":
            if chosen.shape != self.ids.shape:
                raise UsageError(f"{self._named}: a mask of shape {chosen.shape} for {len(self.ids)} videos")
            chosen = np.flatnonzero(chosen)
        if chosen.dtype.kind not in "iu" and chosen.size:
            raise UsageError(f"videos are given by id, position or mask, not by {chosen.dtype}")
        if chosen.size and not (chosen.min() >= 0 and chosen.max() < len(self.ids)):
            raise UsageError(f"{self._named}: video positions must lie in 0 … {len(self.ids) - 1}")
        return chosen.astype(np.intp)
