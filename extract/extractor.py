"""Groups of videos to features on one device: images, resizing and cropping, networks. No files, no threads of its own.

A group's network calls are full but for its last one; which rows share a call depends on the group's videos alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avr.core import UsageError
from avr.datasets import Video
from avr.training import choose_device
from avr.video import Answer, Decoded, Need, Steps, decode

from .cache import ClipCache
from .networks import Networks, load_networks
from .preprocess import crop_images
from .settings import Running, Settings
from .streams import open_streams

Features = dict[str, NDArray[np.float32]]  # {"rgb/pooled": (V, N, D), …}
GROUP_PIXELS = 1 << 27  # of the pairs of a group, whose images lie on the device: 268 MB of two channels


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
        self.device = choose_device(self.running.device)
        cuda = self.device.type == "cuda"
        self.networks = networks or load_networks(settings, cuda=cuda)
        self.batch_size = self.running.batch_size or (128 if cuda else 8)
        self.streams = open_streams(self.networks.settings, self.device)
        settled = (stream.settled for stream in self.streams.values())
        self.settings = self.networks.settings.change(**{name: value for own in settled for name, value in own.items()})
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
        return ClipCache(Path(self.running.cache), self.settings, streams=self.streams)

    def cached(self, video: Video) -> Decoded | None:
        """A video's frames and encoded flow from the cache; None where they are not there.

        Raises:
            WorkError: a damaged file; it is named.
        """
        return self.cache.decoded(video, self.settings) if self.cache and self.cache.has(video) else None

    @property
    def needs(self) -> dict[str, Need]:
        """What each stream needs of a video's frames."""
        return {name: stream.need for name, stream in self.streams.items()}

    def features(self, video: Video) -> tuple[Features, int]:
        """One video's features, decoded in this process.

        Returns:
            {"rgb/pooled": (V, N, D), …} and the number of frames decoded.

        Raises:
            VideoError: the video gives none.
        """
        decoded = decode(video, self.settings.sampling, self.needs)
        return self.features_of(decoded), decoded.facts.frames

    def features_of(self, decoded: Decoded) -> Features:
        """Features of a video decoded already: {"rgb/pooled": (V, N, D), …}."""
        group = self.prepare([decoded])
        return group.features([self.forward(group, call) for call in group.calls(self.batch_size)])[0]

    def fits(self, videos: Sequence[Decoded]) -> bool:
        """Whether videos make one group: they fill at most one network call, and their pairs the device's memory."""
        items = sum(len(video.steps.frames) for video in videos) * self.settings.crops_a_view
        pixels = sum(_pair_pixels(answer) for video in videos for answer in video.answers.values())
        return items <= self.batch_size and pixels <= GROUP_PIXELS

    def images(self, videos: Sequence[Decoded]) -> dict[str, list[Tensor]]:
        """Each stream's images of each video, `(n, C, H, W)`, on the device."""
        return {name: stream.images([video.answers[name] for video in videos]) for name, stream in self.streams.items()}

    def prepare(self, videos: Sequence[Decoded]) -> "Group":
        """Make the images of videos, resize and crop them."""
        crops = {
            name: [crop_images(images, self.settings, self.streams[name].mirror) for images in several]
            for name, several in self.images(videos).items()
        }
        stacks = {name: [video.answers[name].stacks for video in videos] for name in self.streams}
        return Group([video.steps for video in videos], crops, stacks)

    def forward(self, group: "Group", call: "Call") -> Features:
        """Layers of one network call, `{"rgb/pooled": (rows, D), …}`."""
        inputs = group.inputs(call)
        rows = len(inputs)
        if self.running.compile and rows < self.batch_size:  # zeros, for one shape
            inputs = torch.cat([inputs, inputs.new_zeros(self.batch_size - rows, *inputs.shape[1:])])
        half = self.settings.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half):
            images = self.streams[call.stream].normalise(inputs)
            outputs = self.readers[call.stream](images.contiguous(memory_format=torch.channels_last))
            return {f"{call.stream}/{name}": rest[:rows].float().cpu().numpy() for name, rest in outputs.items()}


def _pair_pixels(answer: Answer) -> int:
    if answer.pairs is None:
        return 0
    height, width = answer.images.shape[1:3] if answer.ready is None else answer.ready.shape[2:]
    return len(answer.pairs.firsts) * height * width


class Call(NamedTuple):
    """One network call: which items of a group's stream it takes."""

    stream: str
    start: int
    stop: int


@dataclass(frozen=True)
class Group:
    """Videos on their way through the networks.

    A video's items are every crop of every different frame, item = crop · R + frame; a group's are its videos', in
    order.

    Attributes:
        steps: of each video.
        images: stream to each video's crops of its different frames or pairs, `(A, n, C, h, w)`.
        stacks: stream to each video's stacks, `(R, L)` positions in its images.
    """

    steps: list[Steps]
    images: dict[str, list[Tensor]]
    stacks: dict[str, list[NDArray[np.intp]]]

    @property
    def counts(self) -> list[int]:
        """Items of each video."""
        crops = next(iter(self.images.values()))
        return [len(own) * len(steps.frames) for own, steps in zip(crops, self.steps, strict=True)]

    def calls(self, batch_size: int) -> list[Call]:
        """The network calls, full but for each stream's last."""
        total = sum(self.counts)
        starts = range(0, total, batch_size)
        return [Call(stream, start, min(total, start + batch_size)) for stream in self.images for start in starts]

    def inputs(self, call: Call) -> Tensor:
        """Network inputs of a call, `(b, L·C, h, w)`."""
        parts, offset = [], 0
        for video, count in enumerate(self.counts):
            start, stop = max(0, call.start - offset), min(count, call.stop - offset)
            if start < stop:
                crops, num_frames = self.images[call.stream][video], len(self.steps[video].frames)
                items = torch.arange(start, stop, device=crops.device)
                stacks = torch.as_tensor(self.stacks[call.stream][video], device=crops.device)[items % num_frames]
                # (b, L, C, h, w) to (b, L·C, h, w): x1 y1 x2 y2 …
                parts.append(crops[(items // num_frames)[:, None], stacks].flatten(1, 2))
            offset += count
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def features(self, outputs: Iterable[Features]) -> list[Features]:
        """Of each video {"rgb/pooled": (V · A, N, D), …}; all crops of a view stand together.

        Args:
            outputs: what each of `calls` gave, in their order.
        """
        parts: dict[str, list[NDArray[np.float32]]] = {}
        for output in outputs:
            for name, rows in output.items():
                parts.setdefault(name, []).append(rows)
        ends = np.cumsum(self.counts)[:-1]
        several: list[Features] = [{} for _ in self.steps]
        for name, blocks in parts.items():
            for features, steps, own in zip(several, self.steps, np.split(np.concatenate(blocks), ends), strict=True):
                by_crop = own.reshape(-1, len(steps.frames), *own.shape[1:])[:, steps.views]  # (A, V, N, …)
                features[name] = by_crop.swapaxes(0, 1).reshape(-1, steps.views.shape[1], *own.shape[1:])
        return several
