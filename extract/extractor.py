"""Groups of videos to features on one device: images, resizing and cropping, networks. No files, no threads of its own.

A group's network calls are full but for its last one; which rows share a call depends on the group's videos alone.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
from avr.video import Answer, Decoded, Need, decode

from .cache import ClipCache
from .networks import Networks, load_networks
from .openvino import openvino_reader
from .preprocess import channels_last, crop_images, lay_out
from .running import Running, num_cores
from .settings import Settings
from .streams import open_streams

Features = dict[str, NDArray[np.float32]]  # {"rgb/pooled": (V, N, D), …}
GROUP_PIXELS = 1 << 27  # of the pairs of a group, whose images lie on the device: 268 MB of two channels


class Extractor:
    """Features of videos, by the settings of each stream, on one device.

    Args:
        streams: stream -> its settings as asked; `settings` holds them filled in.
        running: device and sizes.
        networks: already loaded ones, else they are loaded.

    Example:
        extractor = Extractor({"rgb": Settings(backbone="resnet18", weights="random")})
        features, frames = extractor.features(video)
    """

    def __init__(
        self,
        streams: Mapping[str, Settings],
        *,
        running: Running | None = None,
        networks: Networks | None = None,
    ) -> None:
        self.running = running or Running()
        self.device = choose_device(self.running.device)
        cuda = self.device.type == "cuda"
        self.networks = networks or load_networks(streams, cuda=cuda)
        self.batch_size = self.running.batch_size or (128 if cuda else 8)
        self.streams = open_streams(self.networks.settings, self.device)
        self.settings = {
            name: self.networks.settings[name].change(**stream.settled) for name, stream in self.streams.items()
        }
        self.cache = self._open_cache()
        self.readers: dict[str, Any] = {}
        for name, reader in self.networks.readers.items():
            if self.settings[name].runtime == "openvino":
                self.readers[name] = self._on_openvino(name)
                continue
            moved: Any = reader.to(self.device).eval()
            lay_out(moved)
            self.readers[name] = torch.compile(moved) if self.running.compile else moved

    def _on_openvino(self, stream: str) -> Callable[[Tensor], dict[str, Tensor]]:
        if self.device.type != "cpu" or self.running.compile:
            told = "is told to compile" if self.running.compile else f"runs on {self.device}"
            raise UsageError(f"--runtime openvino is for a CPU, and this extraction {told}: leave one of them out")
        shape = self.streams[stream].input_shape
        return openvino_reader(self.networks.readers[stream], shape, stream=stream, calls=num_cores())

    def _open_cache(self) -> ClipCache | None:
        if not self.running.cache:
            return None
        if not all(settings.quantise for settings in self.settings.values()):
            raise UsageError("cache: it holds unquantised flow in float16, which would change features; leave it out")
        return ClipCache(Path(self.running.cache), self.settings, opened=self.streams)

    def cached(self, video: Video, streams: Collection[str]) -> Decoded | None:
        """A video's images for some streams from the cache; None where they are not there.

        Raises:
            WorkError: a damaged file; it is named.
        """
        there = self.cache is not None and self.cache.has(video, streams)
        return (
            self.cache.decoded(video, {name: self.settings[name] for name in streams}) if there and self.cache else None
        )

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
        decoded = decode(video, self.needs)
        return self.features_of(decoded), decoded.facts.frames

    def features_of(self, decoded: Decoded) -> Features:
        """Features of a video decoded already for some streams: {"rgb/pooled": (V, N, D), …}."""
        group = self.prepare([decoded])
        return group.features([self.forward(group, call) for call in self.calls(group)])[0]

    def fits(self, videos: Sequence[Decoded]) -> bool:
        """Whether videos make one group: they fill at most one network call, and their pairs the device's memory."""
        items: Counter[str] = Counter()
        pixels = 0
        for name, answer in ((name, answer) for video in videos for name, answer in video.answers.items()):
            items[name] += len(answer.steps.frames) * self.settings[name].crops_a_view
            pixels += _pair_pixels(answer)
        return pixels <= GROUP_PIXELS and all(count <= self.call_size(name) for name, count in items.items())

    def call_size(self, stream: str) -> int:
        """Items of a full network call: so many images, or clips of as many frames together."""
        return (
            max(1, self.batch_size // self.streams[stream].images_a_step)
            if self.streams[stream].clips
            else self.batch_size
        )

    def images(self, videos: Sequence[Decoded]) -> dict[str, list[Tensor]]:
        """Each stream's images of each video, `(n, C, H, W)`, on the device."""
        names = videos[0].answers if videos else ()
        return {name: self.streams[name].images([video.answers[name] for video in videos]) for name in names}

    def prepare(self, videos: Sequence[Decoded]) -> "Group":
        """Make the images of videos, resize and crop them."""
        several = {}
        for name, images in self.images(videos).items():
            settings, mirror = self.settings[name], self.streams[name].mirror
            crops = [crop_images(own, settings, mirror) for own in images]
            answers = [video.answers[name] for video in videos]
            several[name] = [
                Items(own, answer.stacks, answer.steps.views) for own, answer in zip(crops, answers, strict=True)
            ]
        return Group(len(videos), several)

    def calls(self, group: "Group") -> list["Call"]:
        """The network calls of a group, full but for each stream's last."""
        calls = []
        for name, videos in group.streams.items():
            total, size = sum(own.count for own in videos), self.call_size(name)
            calls += [Call(name, start, min(total, start + size)) for start in range(0, total, size)]
        return calls

    def forward(self, group: "Group", call: "Call") -> Features:
        """Layers of one network call, `{"rgb/pooled": (rows, D), …}`."""
        stacks, stream = group.stacks(call), self.streams[call.stream]
        rows, size = len(stacks), self.call_size(call.stream)
        if self.running.compile and rows < size:  # zeros, for one shape
            stacks = torch.cat([stacks, stacks.new_zeros(size - rows, *stacks.shape[1:])])
        half = self.settings[call.stream].precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half):
            outputs = self.readers[call.stream](channels_last(stream.network_input(stacks)))
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
class Items:
    """One stream of a video on its way through the network: every crop of every different step is an item, item = crop
    · R + step.

    Attributes:
        images: crops of its different frames or pairs, `(A, n, C, h, w)`.
        stacks: `(R, T or L)` positions in its images.
        views: `(V, N)` steps.
    """

    images: Tensor
    stacks: NDArray[np.intp]
    views: NDArray[np.intp]

    @property
    def count(self) -> int:
        """A · R."""
        return len(self.images) * len(self.stacks)

    def take(self, start: int, stop: int) -> Tensor:
        """Of so many items the images of each, `(b, T or L, C, h, w)`."""
        items = torch.arange(start, stop, device=self.images.device)
        stacks = torch.as_tensor(self.stacks, device=items.device)[items % len(self.stacks)]
        return self.images[(items // len(self.stacks))[:, None], stacks]

    def rows(self, items: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the network gave of all items, `(A · R, …)`, as rows `(V · A, N, …)`; a view's crops stand together."""
        by_crop = items.reshape(-1, len(self.stacks), *items.shape[1:])[:, self.views]  # (A, V, N, …)
        return by_crop.swapaxes(0, 1).reshape(-1, self.views.shape[1], *items.shape[1:])


@dataclass(frozen=True)
class Group:
    """Videos on their way through the networks; a stream's items are its videos', in order.

    Attributes:
        count: of videos.
        streams: stream -> the items of each video.
    """

    count: int
    streams: dict[str, list[Items]]

    def stacks(self, call: Call) -> Tensor:
        """What a call takes, `(b, T or L, C, h, w)`."""
        parts, offset = [], 0
        for own in self.streams[call.stream]:
            start, stop = max(0, call.start - offset), min(own.count, call.stop - offset)
            if start < stop:
                parts.append(own.take(start, stop))
            offset += own.count
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def features(self, outputs: Iterable[Features]) -> list[Features]:
        """Of each video {"rgb/pooled": (V · A, N, D), …}.

        Args:
            outputs: what each of the group's calls gave, in their order.
        """
        parts: dict[str, list[NDArray[np.float32]]] = {}
        for output in outputs:
            for name, items in output.items():
                parts.setdefault(name, []).append(items)
        several: list[Features] = [{} for _ in range(self.count)]
        for name, blocks in parts.items():
            videos = self.streams[name.split("/")[0]]
            ends = np.cumsum([own.count for own in videos])[:-1]
            for features, own, items in zip(several, videos, np.split(np.concatenate(blocks), ends), strict=True):
                features[name] = own.rows(items)
        return several
