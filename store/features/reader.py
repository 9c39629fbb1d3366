"""Reading a feature store: a folder of shards with its index, or one packed file."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avr.core import UsageError, ahead, warn

from .catalog import open_catalog
from .plan import TEST, TRAIN
from .rows import RowReader


@dataclass(frozen=True)
class StreamLayer:
    """One array of a store: `shape` is that of one view, (N, D) or (N, C, H, W); the dtype is float16."""

    stream: str
    layer: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def name(self) -> str:
        return f"{self.stream}/{self.layer}"


class FeatureStore(AbstractContextManager["FeatureStore"]):
    """A store, read only. Rows are checked against their checksum when they are first read.

    Several threads may read one `FeatureStore` at once, and it may be pickled or forked.

    Args:
        path: the store's folder, or a packed file.
        cache_bytes: memory that `read` may keep rows in, all arrays together; an array is kept if it fits whole.

    Attributes:
        ids, paths, groups: (M,) str, of the videos that have features; labels: (M,) int64.
        frames: (M,) int32 decoded frames; views: (M,) int32 rows of each video; first_row: (M,) int64.
        facts: name to (M,): promised (frames), rate, varies, start, end, seconds, width, height, codec of each video; 0
            and "" are not known.
        row_frames: (R, N) int32 which frame of its video each step of each row shows, −1 where it is not known.
        row_seconds: (R, N) float64 when, in seconds from its file's start; NaN where it is not known.
        class_names, split_names, dataset: as the data set has them.
        arrays: "stream/layer" to StreamLayer.
        failures: [{"id": …, "reason": …}] of the videos that have no features.
        notes: [{"id": …, "note": …}] of videos that have, such as frames that do not decode.
        provenance: how the features were made; its "settings" are the extraction's.
        digest: identity of the content, equal for a folder and its packed file.
        complete: False when shards are missing; what is there can be read.

    Raises:
        UsageError: no store, or one of another format version.
        WorkError: damaged.
    """

    def __init__(self, path: Path | str, *, cache_bytes: int = 1 << 30) -> None:
        self.path = Path(path)
        self.catalog = catalog = open_catalog(self.path)
        plan = catalog.plan
        self.dataset, self.class_names, self.split_names = plan.dataset, plan.class_names, plan.split_names
        self.ids: NDArray[np.str_] = np.array(plan.ids, dtype=str)
        self.paths: NDArray[np.str_] = np.array(plan.paths, dtype=str)
        self.groups: NDArray[np.str_] = np.array(plan.groups, dtype=str)
        self.labels: NDArray[np.int64] = plan.labels
        self.frames, self.views, self.first_row = catalog.frames, catalog.rows, catalog.first_row
        self.facts = dict(catalog.facts.videos)
        self.row_frames, self.row_seconds = catalog.facts.frame, catalog.facts.second
        self.arrays = {
            name: StreamLayer(name.split("/")[0], name.split("/")[1], shape, np.dtype(np.float16))
            for name, shape in plan.arrays.items()
        }
        self.streams = tuple(sorted({array.stream for array in self.arrays.values()}))
        self.failures = [{"id": video, "reason": reason} for video, reason in catalog.failures]
        self.notes = [{"id": video, "note": text} for video, text in catalog.notes]
        self.provenance: dict[str, Any] = plan.provenance
        self.digest = catalog.digest
        self.complete = not catalog.missing_shards
        self._cache_bytes = cache_bytes
        if not self.complete:
            warn(
                f"{self.path}: unfinished, {len(catalog.missing_shards)} of "
                f"{len(catalog.files) + len(catalog.missing_shards)} shards are missing; "
                "run `avr extract` again with the same settings to finish it"
            )

    @cached_property
    def _rows(self) -> RowReader:
        return RowReader(self.catalog, self.path, cache_bytes=self._cache_bytes)

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

    def layers(self, stream: str) -> tuple[str, ...]:
        """Names of a stream's layers."""
        return tuple(array.layer for array in self.arrays.values() if array.stream == stream)

    def split(self, name: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which videos are a split's training and test videos: two masks (M,).

        Raises:
            UsageError: no such split; the known ones are listed.
        """
        if name not in self.split_names:
            raise UsageError(f"{self.path}: no split '{name}'; known: {', '.join(self.split_names)}")
        parts = self.catalog.plan.splits[:, self.split_names.index(name)]
        return parts == TRAIN, parts == TEST

    def array(self, stream: str, layer: str) -> StreamLayer:
        """One array's description. Raises UsageError naming the arrays there are."""
        try:
            return self.arrays[f"{stream}/{layer}"]
        except KeyError:
            known = ", ".join(self.arrays)
            raise UsageError(f"{self.path}: no array '{stream}/{layer}'; it holds {known}") from None

    def nbytes(self, stream: str, layer: str) -> int:
        """Bytes of an array in memory."""
        return int(self.views.sum()) * int(np.prod(self.array(stream, layer).shape)) * 2

    def _row_numbers(self, chosen: NDArray[np.intp]) -> NDArray[np.int64]:
        """Row numbers of the videos at these positions, video after video."""
        counts = self.views[chosen].astype(np.int64)
        if counts.sum() == len(chosen):
            return self.first_row[chosen]
        ends = np.cumsum(counts)
        return np.arange(counts.sum()) + np.repeat(self.first_row[chosen] - (ends - counts), counts)

    def read(self, stream: str, layer: str, videos: ArrayLike) -> NDArray[np.float16]:
        """Features of the videos at these positions (any order, repeats allowed): all their rows, video after video.

        Returns:
            float16 (rows, *shape); `views[videos]` says how many are whose.

        Raises:
            UsageError: no such array, or a position outside 0 … M − 1.
            WorkError: damaged, naming file and array.
        """
        return self._rows.read(self.array(stream, layer).name, self._row_numbers(self._positions(videos)))

    def read_whole(self, stream: str, layer: str) -> NDArray[np.float16]:
        """A whole array `(R, *shape)`, R all rows of all videos."""
        array = self.array(stream, layer)
        return self._rows.read(array.name, np.arange(int(self.views.sum())), keep=False)

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
        names = [self.array(*name.split("/", 1)).name for name in stream_layers]
        steps = [rows[start : start + batch_rows] for start in range(0, len(rows), batch_rows)]
        return ahead(lambda step: {name: self._rows.read(name, step) for name in names}, steps, depth=2)

    def _positions(self, videos: ArrayLike) -> NDArray[np.intp]:
        """Positions of videos, checked."""
        chosen = np.atleast_1d(np.asarray(videos))
        if chosen.dtype.kind not in "iu" and chosen.size:
            raise UsageError(f"videos are given by position (integers), not by {chosen.dtype}")
        if chosen.size and not (chosen.min() >= 0 and chosen.max() < len(self.ids)):
            raise UsageError(f"{self.path}: video positions must lie in 0 … {len(self.ids) - 1}")
        return chosen.astype(np.intp)
