"""The stages' work, without threads or files: one video or one batch at a time."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avr.core import UsageError
from avr.datasets import Video
from avr.training import choose_device
from avr.video import Decoded, Steps, decode

from . import flow as flow_room
from .backbones import Networks, load_networks
from .cache import ClipCache
from .encoding import encode_flow
from .preprocess import crop_images, normalise
from .settings import Settings

# Flow in pixels is held for so many pairs, encoded flow for all of a video. A GPU works best on many at once.
PAIRS_AT_ONCE = {"cpu": 16, "cuda": 256}


@dataclass(frozen=True)
class Running:
    """How an extraction runs: nothing here changes a feature beyond the last bits of float32 (fp16 rounding hides
    nearly all of that; the batch size is why it is not all).

    Attributes:
        device: "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1".
        batch_size: images a network call; 0 is 8 on a CPU, 128 on CUDA. A shard's last call has what is left.
        decoders: child processes that decode; 0 is half the cores, 1 to 8.
        time_limit: seconds that decoding one video may take.
        compile: torch.compile the networks (CUDA; needs a C compiler).
        cache: folder that fine-tuning stored whole videos' frames and flow in (`extract.cache`): videos that lie there
            are neither decoded nor is their flow computed again. "" is none.
        shard_videos: videos a shard of a new store; 0 is as many as make about 64 MB. Fewer lose less in a crash and
            share out better among workers.
    """

    device: str = "auto"
    batch_size: int = 0
    decoders: int = 0
    time_limit: float = 120.0
    compile: bool = False
    cache: str = ""
    shard_videos: int = 0

    def __post_init__(self) -> None:
        if min(self.batch_size, self.decoders, self.shard_videos) < 0 or self.time_limit <= 0:
            raise UsageError("batch size, decoders and shard videos must be at least 0, the time limit above 0")

    def torch_device(self) -> torch.device:
        """The device, checked.

        Raises:
            UsageError: no such device here.
        """
        return choose_device(self.device)


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class Prepared:
    """One video, ready for the networks: crops of its different frames and pairs, `(A, n, C, h, w)` each."""

    steps: Steps
    images: dict[str, Tensor]
    stacks: dict[str, NDArray[np.intp]]  # of streams of pairs: (R, L) positions in their images
    note: str = ""

    def num_items(self) -> int:
        """Network inputs a stream: every crop of every different frame."""
        return next(iter(self.images.values())).shape[0] * len(self.steps.frames)

    def inputs(self, stream: str, items: slice) -> Tensor:
        """Some of the network inputs of a stream, `(b, 3 or 2L, h, w)`; item = crop · R + frame."""
        crops = self.images[stream]
        index = torch.arange(self.num_items(), device=crops.device)[items]
        crop, frame = index // len(self.steps.frames), index % len(self.steps.frames)
        if stream not in self.stacks:
            return crops[crop, frame]
        stacks = torch.as_tensor(self.stacks[stream], device=crops.device)[frame]  # (b, L)
        return crops[crop[:, None], stacks].flatten(1, 2)  # (b, L, 2, h, w) to (b, 2L, h, w): x1 y1 x2 y2 …


@dataclass
class Batch:
    """Network inputs of one stream, and whose they are.

    Attributes:
        stream: whose network.
        inputs: (batch size or fewer, C, h, w); rows behind the last part are padding.
        parts: (key of the video, its first item, how many), in the rows' order.
    """

    stream: str
    inputs: Tensor
    parts: list[tuple[Any, int, int]] = field(default_factory=list)


class Extractor:
    """Features of videos, by one set of settings on one device.

    Args:
        settings: as asked; `settings` holds them filled in.
        running: device and sizes.
        networks: already loaded ones, else they are loaded.

    Example:
        extractor = Extractor(Settings(backbone="resnet18", weights=("random",)))
        features, frames = extractor.features(video)
    """

    def __init__(self, settings: Settings, *, running: Running | None = None, networks: Networks | None = None) -> None:
        self.running = running or Running()
        self.device = self.running.torch_device()
        cuda = self.device.type == "cuda"
        self.networks = networks or load_networks(settings, cuda=cuda)
        self.settings = self.networks.settings
        self.batch_size = self.running.batch_size or (128 if cuda else 8)
        self.flow: Any = None
        if "flow" in self.settings.streams:
            self.flow = flow_room.load(self.settings.flow, str(self.device))
        self.cache = self._open_cache()
        self.readers: dict[str, Any] = {}
        for stream, reader in self.networks.readers.items():
            moved: Any = reader.to(self.device).to(memory_format=torch.channels_last).eval()
            self.readers[stream] = torch.compile(moved) if self.running.compile else moved

    def _open_cache(self) -> ClipCache | None:
        if not self.running.cache:
            return None
        if not self.settings.quantise:
            raise UsageError("cache: it holds unquantised flow in float16, which would change features; leave it out")
        return ClipCache(Path(self.running.cache), self.settings, device=str(self.device), method=self.flow)

    def cached(self, video: Video) -> Decoded | None:
        """A video's frames and encoded flow from the cache; None where they are not there.

        Raises:
            WorkError: a damaged file; it is named.
        """
        return self.cache.decoded(video, self.settings) if self.cache and self.cache.has(video) else None

    @property
    def colour_flow(self) -> bool:
        """Whether the flow method reads RGB."""
        return bool(self.flow is not None and self.flow.needs_colour)

    def features(self, video: Video) -> tuple[dict[str, NDArray[np.float32]], int]:
        """One video's features, decoded in this process.

        Returns:
            {"rgb/pooled": (V, N, D), …} and the number of frames decoded.

        Raises:
            VideoError: the video gives none.
        """
        decoded = decode(video, self.settings.sampling, self.settings.needs(colour_flow=self.colour_flow))
        return self.features_of(decoded), decoded.steps.num_frames

    def features_of(self, decoded: Decoded) -> dict[str, NDArray[np.float32]]:
        """Features of a video decoded already: {"rgb/pooled": (V, N, D), …}."""
        prepared = self.prepare(decoded, self.compute_flow(decoded))
        gathered = Gathered(prepared, self.settings)
        for stream in self.settings.streams:
            for start in range(0, prepared.num_items(), self.batch_size):
                inputs = prepared.inputs(stream, slice(start, start + self.batch_size))
                batch = Batch(stream, self.pad(inputs), [(None, start, len(inputs))])
                gathered.take(stream, start, len(inputs), self.forward(batch), 0)
        return gathered.features()

    def compute_flow(self, decoded: Decoded) -> NDArray | None:
        """Encoded flow of a video's pairs, `(P, 2, H, W)`: uint8, or float32 unquantised; None without flow."""
        if self.flow is None:
            return None
        answer = decoded.answers["flow"]
        if answer.flow_images is not None:
            return answer.flow_images
        assert answer.pairs is not None
        first, second = answer.pairs.ends
        parts = []
        at_once = PAIRS_AT_ONCE.get(self.device.type, 16)
        for start in range(0, len(first), at_once):
            chunk = slice(start, start + at_once)
            pixels = self.flow(answer.images[first[chunk]], answer.images[second[chunk]])
            parts.append(encode_flow(pixels, quantise=self.settings.quantise))
        return np.concatenate(parts)

    def prepare(self, decoded: Decoded, flow: NDArray | None) -> Prepared:
        """Resize and crop a video's frames and pairs on the device."""
        images, stacks = {}, {}
        for stream, answer in decoded.answers.items():
            array = answer.images.transpose(0, 3, 1, 2) if answer.pairs is None else flow
            images[stream] = crop_images(self.to_device(array), self.settings, stream=stream)
            if answer.pairs is not None:
                stacks[stream] = answer.pairs.stacks
        return Prepared(decoded.steps, images, stacks, decoded.note)

    def to_device(self, array: Any) -> Tensor:
        """An array, through pinned memory, or a tensor that may be there already, on the device."""
        if isinstance(array, Tensor):
            return array.to(self.device)
        tensor = torch.from_numpy(array)
        if self.device.type != "cuda":
            return tensor
        return tensor.contiguous().pin_memory().to(self.device, non_blocking=True)

    def pad(self, inputs: Tensor) -> Tensor:
        """Inputs filled up to the batch size with zeros where the networks are compiled, for one shape."""
        missing = self.batch_size - len(inputs) if self.running.compile else 0
        return torch.cat([inputs, inputs.new_zeros(missing, *inputs.shape[1:])]) if missing else inputs

    def forward(self, batch: Batch) -> dict[str, NDArray]:
        """Layers of a batch, `{layer: (rows, …)}`, without the padding."""
        rows = sum(count for _, _, count in batch.parts)
        half = self.settings.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half):
            images = normalise(batch.inputs, self.settings, stream=batch.stream)
            outputs = self.readers[batch.stream](images.contiguous(memory_format=torch.channels_last))
            return {layer: output[:rows].float().cpu().numpy() for layer, output in outputs.items()}


class Gathered:
    """Rows of one video coming back from the networks, until all are there."""

    def __init__(self, prepared: Prepared, settings: Settings) -> None:
        self.views, self.num_frames, self.note = prepared.steps.views, prepared.steps.num_frames, prepared.note
        self.num_crops = settings.crops_a_view
        self.num_items = prepared.num_items()
        self.missing = self.num_items * len(settings.streams)
        self._rows: dict[str, NDArray[np.float32]] = {}

    def take(self, stream: str, item: int, count: int, outputs: dict[str, NDArray], row: int) -> None:
        """Keep rows `row` to `row + count` of a batch's outputs as this video's items from `item`."""
        for layer, output in outputs.items():
            name = f"{stream}/{layer}"
            if name not in self._rows:
                self._rows[name] = np.empty((self.num_items, *output.shape[1:]), np.float32)
            self._rows[name][item : item + count] = output[row : row + count]
        self.missing -= count

    def features(self) -> dict[str, NDArray[np.float32]]:
        """{"rgb/pooled": (V · A, N, D), …}: all crops of a view stand together."""
        result = {}
        views, steps = self.views.shape
        for name, rows in self._rows.items():
            by_crop = rows.reshape(self.num_crops, -1, *rows.shape[1:])[:, self.views]  # (A, V, N, …)
            result[name] = by_crop.swapaxes(0, 1).reshape(views * self.num_crops, steps, *rows.shape[1:])
        return result


class BatchMaker:
    """Full batches that mix videos: a stream's items in the videos' order, cut at the batch size.

    Which item stands in which row depends on the videos given between two flushes alone: a shard's bytes therefore do
    not depend on where a run was interrupted or which worker had it.
    """

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor
        self._waiting: dict[str, list[tuple[Tensor, Any, int]]] = {s: [] for s in extractor.settings.streams}

    def add(self, key: Any, video: Prepared) -> Iterator[Batch]:
        """Take a video; yield the batches that are full."""
        for stream, waiting in self._waiting.items():
            start = 0
            while start < video.num_items():
                room = self._extractor.batch_size - sum(len(inputs) for inputs, _, _ in waiting)
                inputs = video.inputs(stream, slice(start, start + room))
                waiting.append((inputs, key, start))
                start += len(inputs)
                if len(inputs) == room:
                    yield self._batch(stream, waiting)

    def flush(self) -> Iterator[Batch]:
        """Yield what is left."""
        for stream, waiting in self._waiting.items():
            if waiting:
                yield self._batch(stream, waiting)

    def _batch(self, stream: str, waiting: list[tuple[Tensor, Any, int]]) -> Batch:
        inputs = self._extractor.pad(torch.cat([inputs for inputs, _, _ in waiting]))
        batch = Batch(stream, inputs, [(key, start, len(rows)) for rows, key, start in waiting])
        waiting.clear()
        return batch
