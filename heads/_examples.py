"""Features of a store as batches: whole in memory where they fit, else streamed from disk by whole videos.

Both kinds have the same calls: `epoch` (training batches, of one view a video or of every view), `views` (every view,
in order), `read_moments` (of their channels) and `labels`. In-memory arrays lie on the training's device and batches
are gathered there, so an epoch costs no transfer and needs no loader processes. A head's first steps, in which no
weight takes part, are taken there once for all trainings (`kept`).
"""

import itertools
from collections.abc import Iterator, Mapping
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avr.core import free_memory, note
from avr.store import FeatureStore

from ._base import Head
from ._features import Moments, moments_of

VALUE_BYTES = 2  # stores hold fp16
BLOCK = 8  # streamed training: adjacent videos read together
BLOCKS = 16  # streamed training: blocks mixed with one another before batches are cut
# Features that statistics and prediction look at together, in bytes; what they make of them is many times that.
VIEWS_BYTES = 1 << 26


class Batch(NamedTuple):
    """Features by stream `(B, N, …)` on the device, labels `(B,)` int64 there, and the videos `(B,)`."""

    features: dict[str, Tensor]
    labels: Tensor
    videos: NDArray[np.int64]


class Examples:
    """Features and labels of M videos, whose rows (views) lie side by side: what both kinds do alike.

    Attributes:
        shapes: stream -> shape of one view, `(N, D)`, `(N, P, D)` or `(N, C, H, W)`, as the examples hold it.
        rows: `(M,)` rows of each video.
        first_row: `(M,)` number of the first one.
        labels: `(M,)` class numbers.
        device: where batches are.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], rows: NDArray, labels: NDArray, *, device: torch.device
    ) -> None:
        self.shapes, self.device = dict(shapes), device
        self.rows = np.asarray(rows, dtype=np.int64)
        self.first_row = np.concatenate([[0], np.cumsum(self.rows)[:-1]])
        self.labels = np.asarray(labels, dtype=np.int64)

    def only(self, stream: str) -> "Examples":
        """The same videos with one stream; nothing is copied."""
        raise NotImplementedError

    def epoch(
        self, videos: NDArray, *, batch_size: int, generator: np.random.Generator, every_view: bool = False
    ) -> Iterator[Batch]:
        """Every video once, in random order, one random view each; or every view of each."""
        raise NotImplementedError

    def read(self, rows: NDArray, at_once: int) -> Iterator[Mapping[str, NDArray | Tensor]]:
        """Features `(at_once, N, …)` by stream of so many rows after another."""
        raise NotImplementedError

    def views(self, videos: NDArray) -> Iterator[tuple[dict[str, Tensor], NDArray]]:
        """Every view of the videos, in their order: features `(R, N, …)` and the place in `videos` of each row.

        At most 256 views at once, and of large maps no more than `VIEWS_BYTES`.
        """
        places = np.repeat(np.arange(len(videos)), self.rows[videos])
        _, rows = self.all_rows(videos)
        at_once = self.views_at_once
        for start, arrays in zip(range(0, len(rows), at_once), self.read(rows, at_once), strict=True):
            features = {stream: torch.as_tensor(array).to(self.device) for stream, array in arrays.items()}
            yield features, places[start : start + at_once]

    def kept(self, head: Head) -> "Examples":
        """The same videos as far as a head takes features without its weights (`Head.keep`), where they can be held."""
        return self

    def read_moments(self, stream: str, videos: NDArray) -> Iterator[tuple[Moments, NDArray]]:
        """Moments of the stored features of every view of the videos, in order, and the place in `videos` of each."""
        for features, owner in self.only(stream).views(videos):
            yield moments_of(features[stream]), owner

    @property
    def views_at_once(self) -> int:
        """Views that are looked at together."""
        return max(1, min(256, VIEWS_BYTES // store_bytes(self.shapes)))

    def num_samples(self, videos: NDArray, *, every_view: bool) -> int:
        """Samples of an epoch: one a video, or one a view."""
        return int(self.rows[videos].sum()) if every_view else len(videos)

    def all_rows(self, videos: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All rows of the videos, video after video: whose each is, and its number."""
        counts = self.rows[videos]
        ends = np.cumsum(counts)
        numbers = np.arange(ends[-1] if len(ends) else 0) + np.repeat(self.first_row[videos] - (ends - counts), counts)
        return np.repeat(videos, counts), numbers

    def draw_rows(self, videos: NDArray, generator: np.random.Generator) -> NDArray[np.int64]:
        """The number of one random row of each video."""
        return self.first_row[videos] + (generator.random(len(videos)) * self.rows[videos]).astype(np.int64)


class MemoryExamples(Examples):
    """Features of all videos of a store, held on the device.

    Args:
        arrays: stream -> `(R, N, …)` rows (views), one video's rows adjacent.
        rows: `(M,)` rows of each video.
        labels: `(M,)` class numbers.
        device: where to hold them.
        moments: stream -> mean (None: it is the array) and variance `(R, C)` of stored features that a head changed.
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray | Tensor],
        rows: NDArray,
        labels: NDArray,
        *,
        device: torch.device,
        moments: Mapping[str, tuple[Tensor | None, Tensor]] | None = None,
    ) -> None:
        self.arrays = {stream: torch.as_tensor(array).to(device) for stream, array in arrays.items()}
        self.moments = dict(moments or {})
        shapes = {stream: tuple(array.shape[1:]) for stream, array in self.arrays.items()}
        super().__init__(shapes, rows, labels, device=device)

    def only(self, stream: str) -> "MemoryExamples":
        moments = {name: held for name, held in self.moments.items() if name == stream}
        arrays = {stream: self.arrays[stream]}
        return MemoryExamples(arrays, self.rows, self.labels, device=self.device, moments=moments)

    @torch.no_grad()
    def kept(self, head: Head) -> "MemoryExamples":
        """Of each stream what the head keeps and the moments, where that takes no more memory; else the same array."""
        arrays, moments = dict(self.arrays), dict(self.moments)
        for stream, array in self.arrays.items():
            one = array[:1]
            first, (mean, variance) = head.keep({stream: one})[stream], moments_of(one)
            is_mean = first.numel() == mean.numel()  # which is then held once
            held = first.nbytes + variance.nbytes + (0 if is_mean else mean.nbytes)
            if first.shape != one.shape and held <= one.nbytes:
                parts = torch.split(array, self.views_at_once)
                arrays[stream] = torch.cat([head.keep({stream: part})[stream] for part in parts])
                means, variances = (torch.cat(made) for made in zip(*map(moments_of, parts), strict=True))
                moments[stream] = None if is_mean else means, variances
        return MemoryExamples(arrays, self.rows, self.labels, device=self.device, moments=moments)

    def read_moments(self, stream: str, videos: NDArray) -> Iterator[tuple[Moments, NDArray]]:
        if stream not in self.moments:
            yield from super().read_moments(stream, videos)
            return
        mean, variance = self.moments[stream]
        arrays = {"mean": self.arrays[stream].flatten(1) if mean is None else mean, "variance": variance}
        for made, owner in MemoryExamples(arrays, self.rows, self.labels, device=self.device).views(videos):
            yield (made["mean"], made["variance"]), owner

    def epoch(
        self, videos: NDArray, *, batch_size: int, generator: np.random.Generator, every_view: bool = False
    ) -> Iterator[Batch]:
        if every_view:
            order, rows = self.all_rows(videos)
            mixed = generator.permutation(len(rows))
            order, rows = order[mixed], rows[mixed]
        else:
            order = generator.permutation(videos)
            rows = self.draw_rows(order, generator)
        # One transfer an epoch: a batch then is a gather on the device, which the CPU never waits for.
        rows_there = torch.as_tensor(rows).to(self.device)
        labels_there = torch.as_tensor(self.labels[order]).to(self.device)
        for part in even_parts(len(order), batch_size):
            features = {stream: array.index_select(0, rows_there[part]) for stream, array in self.arrays.items()}
            yield Batch(features, labels_there[part], order[part])

    def read(self, rows: NDArray, at_once: int) -> Iterator[dict[str, Tensor]]:
        for start in range(0, len(rows), at_once):
            part = torch.as_tensor(rows[start : start + at_once]).to(self.device)
            yield {stream: array.index_select(0, part) for stream, array in self.arrays.items()}


class StreamedExamples(Examples):
    """Features read from disk as they are needed, by whole videos and with read-ahead.

    Shuffling: an epoch cuts the training videos, in the store's order, into blocks of 8 adjacent ones, which lie side
    by side on disk; reads the blocks in random order; and mixes the videos of 16 blocks with one another before it cuts
    batches. Videos 128 apart on disk meet in a batch, and the disk still reads in long runs. Of a video with many views
    only those drawn are read; a pool holds as many samples either way.
    """

    def __init__(self, store: FeatureStore, layers: Mapping[str, str], *, device: torch.device) -> None:
        self.store, self.layers = store, dict(layers)
        shapes = {stream: tuple(store.array(stream, layer).shape) for stream, layer in layers.items()}
        super().__init__(shapes, store.views, store.labels, device=device)

    def only(self, stream: str) -> "StreamedExamples":
        made = StreamedExamples(self.store, {stream: self.layers[stream]}, device=self.device)
        made.labels = self.labels  # which may be fewer than the store's
        return made

    def epoch(
        self, videos: NDArray, *, batch_size: int, generator: np.random.Generator, every_view: bool = False
    ) -> Iterator[Batch]:
        blocks = np.array_split(np.sort(videos), -(-len(videos) // BLOCK))
        order = generator.permutation(len(blocks))
        together = max(1, round(BLOCKS * len(videos) / self.num_samples(videos, every_view=every_view)))
        pools, numbers = [], []
        for chosen in np.array_split(order, -(-len(blocks) // together)):
            pool = np.concatenate([blocks[index] for index in chosen])
            pool, rows = self.all_rows(pool) if every_view else (pool, self.draw_rows(pool, generator))
            pools.append(pool)
            numbers.append(rows)
        read = (
            {stream: array[place] for stream, array in arrays.items()}  # (N, …)
            for arrays in self.read(np.concatenate(numbers), BLOCK)
            for place in range(len(next(iter(arrays.values()))))
        )
        for pool in pools:
            held = list(itertools.islice(read, len(pool)))
            mixed = generator.permutation(len(pool))
            for part in even_parts(len(pool), batch_size):
                picked = mixed[part]
                features = {
                    stream: torch.as_tensor(np.stack([held[place][stream] for place in picked])).to(self.device)
                    for stream in self.layers
                }
                yield Batch(features, torch.as_tensor(self.labels[pool[picked]]).to(self.device), pool[picked])

    def read(self, rows: NDArray, at_once: int) -> Iterator[dict[str, NDArray]]:
        keys = {stream: f"{stream}/{layer}" for stream, layer in self.layers.items()}
        for arrays in self.store.iterate_rows(list(keys.values()), rows, batch_rows=at_once):
            yield {stream: arrays[key] for stream, key in keys.items()}


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
    """Memory that can be had on a device, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_memory()


def even_parts(count: int, size: int) -> list[slice]:
    """Slices of at most `size` that cover `count` and differ by at most one; size 0 is one slice.

    A remainder is spread over all batches: a last batch of one video would break batch norm, and weigh its video most.
    Example: (7, 3) gives 0:3, 3:5, 5:7.
    """
    parts = -(-count // size) if size else 1
    edges = [count * part // parts for part in range(parts + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(edges)]


def store_bytes(shapes: Mapping[str, tuple[int, ...]], *, videos: int = 1, views: int = 1) -> int:
    """Bytes of a store of so many videos with so many views each, without the store's small overhead.

    Args:
        shapes: any name -> `(N, D)`, `(N, P, D)` or `(N, C, H, W)` of a view.

    Example: temporal-pyramid's paper shapes, (24, 512, 14, 14) and (24, 512, 28, 28), take 24 084 480 bytes a view.
    """
    return VALUE_BYTES * sum(prod(shape) for shape in shapes.values()) * views * videos
