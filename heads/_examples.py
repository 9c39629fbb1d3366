"""Features of a store as batches: whole in memory where they fit, else streamed from disk by whole videos.

Both kinds have the same three calls: `epoch` (training batches, of one view a video or of every view), `views` (every
view, in order) and `labels`. In-memory arrays lie on the training's device and batches are gathered there, so an epoch
costs no transfer and needs no loader processes.
"""

import itertools
import os
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avr.core import note
from avr.store import FeatureStore

VALUE_BYTES = 2  # stores hold fp16
BLOCK = 8  # streamed training: adjacent videos read together
BLOCKS = 16  # streamed training: blocks mixed with one another before batches are cut
# Features that statistics and prediction look at together, in bytes; what they make of them is many times that.
VIEWS_BYTES = 1 << 26


class Batch(NamedTuple):
    """Features by stream `(B, N, …)` fp16 on the device, labels `(B,)` int64 there, and the videos `(B,)`."""

    features: dict[str, Tensor]
    labels: Tensor
    videos: NDArray[np.int64]


class MemoryExamples:
    """Features of all videos of a store, held on the device.

    Args:
        arrays: stream -> `(R, N, …)` rows (views), one video's rows adjacent.
        rows: `(M,)` rows of each video.
        labels: `(M,)` class numbers.
        device: where to hold them.
    """

    def __init__(
        self, arrays: Mapping[str, NDArray | Tensor], rows: NDArray, labels: NDArray, *, device: torch.device
    ) -> None:
        self.arrays = {stream: torch.as_tensor(array).to(device) for stream, array in arrays.items()}
        self.rows = np.asarray(rows, dtype=np.int64)
        self.first_row = np.concatenate([[0], np.cumsum(self.rows)[:-1]])
        self.labels = np.asarray(labels, dtype=np.int64)
        self.device = device

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one view by stream."""
        return {stream: tuple(array.shape[1:]) for stream, array in self.arrays.items()}

    def only(self, stream: str) -> "MemoryExamples":
        """The same videos with one stream; nothing is copied."""
        return MemoryExamples({stream: self.arrays[stream]}, self.rows, self.labels, device=self.device)

    def epoch(
        self, videos: NDArray, *, batch_size: int, generator: np.random.Generator, every_view: bool = False
    ) -> Iterator[Batch]:
        """Every video once, in random order, one random view each; or every view of each."""
        if every_view:
            order, rows = rows_of(self, videos)
            mixed = generator.permutation(len(rows))
            order, rows = order[mixed], rows[mixed]
        else:
            order = generator.permutation(videos)
            rows = draw_rows(self, order, generator)
        # One transfer an epoch: a batch then is a gather on the device, which the CPU never waits for.
        rows_there = torch.as_tensor(rows).to(self.device)
        labels_there = torch.as_tensor(self.labels[order]).to(self.device)
        for part in even_parts(len(order), batch_size):
            features = {stream: array.index_select(0, rows_there[part]) for stream, array in self.arrays.items()}
            yield Batch(features, labels_there[part], order[part])

    def views(self, videos: NDArray, *, batch_size: int = 256) -> Iterator[tuple[dict[str, Tensor], NDArray]]:
        """Every view of the videos, in their order: features `(R, N, …)` and the place in `videos` of each row.

        At most `batch_size` views at once, and of large maps no more than `VIEWS_BYTES`.
        """
        owner, rows, at_once = view_batches(self, videos, batch_size)
        for start in range(0, len(rows), at_once):
            part = torch.as_tensor(rows[start : start + at_once]).to(self.device)
            features = {stream: array.index_select(0, part) for stream, array in self.arrays.items()}
            yield features, owner[start : start + at_once]


class StreamedExamples:
    """Features read from disk as they are needed, by whole videos and with read-ahead.

    Shuffling: an epoch cuts the training videos, in the store's order, into blocks of 8 adjacent ones, which lie side
    by side on disk; reads the blocks in random order; and mixes the videos of 16 blocks with one another before it cuts
    batches. Videos 128 apart on disk meet in a batch, and the disk still reads in long runs.
    """

    def __init__(self, store: FeatureStore, layers: Mapping[str, str], *, device: torch.device) -> None:
        self.store, self.layers, self.device = store, dict(layers), device
        self.rows = store.views.astype(np.int64)
        self.first_row = store.first_row.astype(np.int64)
        self.labels = np.asarray(store.labels, dtype=np.int64)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one view by stream."""
        return {s: tuple(self.store.arrays[f"{s}/{layer}"].shape) for s, layer in self.layers.items()}

    def only(self, stream: str) -> "StreamedExamples":
        """The same videos with one stream."""
        return StreamedExamples(self.store, {stream: self.layers[stream]}, device=self.device)

    def epoch(
        self, videos: NDArray, *, batch_size: int, generator: np.random.Generator, every_view: bool = False
    ) -> Iterator[Batch]:
        """Every video once, shuffled as the class says, one random view each; or every view of each.

        Of a video with many views only those drawn are read. A pool holds as many samples either way.
        """
        ordered = np.sort(videos)
        blocks = np.array_split(ordered, -(-len(ordered) // BLOCK))
        order = generator.permutation(len(blocks))
        samples = num_samples(self, videos, every_view=every_view)
        together = max(1, round(BLOCKS * len(videos) / samples))
        pools, numbers = [], []
        for chosen in np.array_split(order, -(-len(blocks) // together)):
            pool = np.concatenate([blocks[index] for index in chosen])
            if every_view:
                pool, rows = rows_of(self, pool)
            else:
                rows = draw_rows(self, pool, generator)
            pools.append(pool)
            numbers.append(rows)
        read = self._one_by_one(np.concatenate(numbers))
        for pool in pools:
            held: dict[str, list[NDArray]] = {stream: [] for stream in self.layers}
            for row in itertools.islice(read, len(pool)):
                for stream, array in row.items():
                    held[stream].append(array)  # (N, …)
            mixed = generator.permutation(len(pool))
            for part in even_parts(len(pool), batch_size):
                picked = mixed[part]
                features = {
                    stream: torch.as_tensor(np.stack([arrays[place] for place in picked])).to(self.device)
                    for stream, arrays in held.items()
                }
                yield Batch(features, torch.as_tensor(self.labels[pool[picked]]).to(self.device), pool[picked])

    def views(self, videos: NDArray, *, batch_size: int = 256) -> Iterator[tuple[dict[str, Tensor], NDArray]]:
        """Every view of the videos, as `MemoryExamples.views` gives them."""
        owner, rows, at_once = view_batches(self, videos, batch_size)
        for start, arrays in zip(range(0, len(rows), at_once), self._read(rows, at_once), strict=True):
            features = {stream: torch.as_tensor(array).to(self.device) for stream, array in arrays.items()}
            yield features, owner[start : start + at_once]

    def _one_by_one(self, rows: NDArray) -> Iterator[dict[str, NDArray]]:
        """Features `(N, …)` by stream of one row after another."""
        for arrays in self._read(rows, BLOCK):
            for place in range(len(next(iter(arrays.values())))):
                yield {stream: array[place] for stream, array in arrays.items()}

    def _read(self, rows: NDArray, at_once: int) -> Iterator[dict[str, NDArray]]:
        """Features `(at_once, N, …)` by stream of so many rows (views) after another, read ahead."""
        keys = {stream: f"{stream}/{layer}" for stream, layer in self.layers.items()}
        for arrays in self.store.iterate_rows(list(keys.values()), rows, batch_rows=at_once):
            yield {stream: arrays[key] for stream, key in keys.items()}


Examples = MemoryExamples | StreamedExamples


def rows_of(examples: Examples, videos: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All rows (views) of the videos, video after video: whose each is, and its number."""
    counts = examples.rows[videos]
    ends = np.cumsum(counts)
    numbers = np.arange(ends[-1] if len(ends) else 0) + np.repeat(examples.first_row[videos] - (ends - counts), counts)
    return np.repeat(videos, counts), numbers


def view_batches(examples: Examples, videos: NDArray, batch_size: int) -> tuple[NDArray[np.int64], NDArray, int]:
    """All views of the videos: the place in `videos` of each, its row, and how many are looked at together."""
    whose = np.repeat(np.arange(len(videos)), examples.rows[videos])
    _, rows = rows_of(examples, videos)
    return whose, rows, max(1, min(batch_size, VIEWS_BYTES // bytes_per_view(examples.shapes)))


def draw_rows(examples: Examples, videos: NDArray, generator: np.random.Generator) -> NDArray[np.int64]:
    """The number of one random row (view) of each video."""
    drawn = (generator.random(len(videos)) * examples.rows[videos]).astype(np.int64)
    return examples.first_row[videos] + drawn


def num_samples(examples: Examples, videos: NDArray, *, every_view: bool) -> int:
    """Samples of an epoch: one a video, or one a view."""
    return int(examples.rows[videos].sum()) if every_view else len(videos)


def open_examples(
    store: FeatureStore, layers: Mapping[str, str], *, device: torch.device, memory_gb: float | None = None
) -> Examples:
    """Features of a store, in memory where they fit and streamed where they do not.

    Args:
        store: an open store.
        layers: stream -> layer.
        device: where batches are wanted.
        memory_gb: most that may be held, in 10⁹ bytes; None is half of what the device has free.

    Raises:
        UsageError: the store has no such stream or layer.
    """
    size = sum(store.nbytes(stream, layer) for stream, layer in layers.items())
    limit = free_bytes(device) / 2 if memory_gb is None else memory_gb * 1e9
    if size > limit:
        note(f"features of {size / 1e9:.2f} GB do not fit in {limit / 1e9:.2f} GB: streaming them by whole videos")
        return StreamedExamples(store, layers, device=device)
    arrays = {stream: store.read_whole(stream, layer) for stream, layer in layers.items()}
    return MemoryExamples(arrays, store.views, store.labels, device=device)


def free_bytes(device: torch.device) -> int:
    """Memory that can be had on a device, in bytes; on the CPU what Linux calls available, elsewhere half of all."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if Path("/proc/meminfo").exists():
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
        if available:
            return available[0]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def even_parts(count: int, size: int) -> list[slice]:
    """Slices of at most `size` that cover `count` and differ by at most one; size 0 is one slice.

    A remainder is spread over all batches: a last batch of one video would break batch norm, and weigh its video most.
    Example: (7, 3) gives 0:3, 3:5, 5:7.
    """
    parts = -(-count // size) if size else 1
    edges = [count * part // parts for part in range(parts + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(edges)]


def bytes_per_view(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Bytes of one view of one video, without the store's small overhead.

    Args:
        shapes: any name -> `(N, D)` or `(N, C, H, W)`.

    Example: temporal-pyramid's paper shapes, (24, 512, 14, 14) and (24, 512, 28, 28), take 24 084 480 bytes.
    """
    return VALUE_BYTES * sum(prod(shape) for shape in shapes.values())


def store_bytes(shapes: Mapping[str, tuple[int, ...]], *, videos: int, views: int = 1) -> int:
    """Bytes of a store of so many videos with so many views each."""
    return bytes_per_view(shapes) * views * videos
