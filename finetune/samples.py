"""Training samples out of the cache: random frames, one crop for all of them, the networks' input."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avr.datasets import Video
from avr.extract import ClipCache, Settings, crop_images
from avr.video import Decoded

from .augmentation import Crop, draw_crop
from .draws import generator_for
from .tuning import Tuning

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Drawn:
    """One video as drawn for an epoch: its frames and pairs, and the box taken of all of them, in `_drawn_size`."""

    decoded: Decoded
    crop: Crop
    label: int


class VideoSamples:
    """Training videos: one random view and one random crop each, anew in each epoch; or every clip of each.

    Args:
        videos: the training videos, all in the cache.
        streams: an extraction's, filled in: the plan whose random form is drawn, the crop's side, normalisation. Sizes
            of crops are relative to what the first stream is tested with.
        every_clip: of plan clips, every clip of a video is a sample ("for expanding the scale of samples", GLKA); else,
            and of other plans always, a view is drawn.

    Attributes:
        names: of each sample, its video's id.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        cache: ClipCache,
        *,
        streams: Mapping[str, Settings],
        tuning: Tuning,
        seed: int = 0,
        every_clip: bool = False,
    ) -> None:
        self.cache = cache
        self.streams = {name: _random(settings) for name, settings in streams.items()}
        self.samples: list[tuple[Video, int | None]] = [(video, None) for video in videos]
        if every_clip and all(settings.plan == "clips" for settings in streams.values()):
            counted = [(video, cache.num_clips(video, self.streams)) for video in videos]
            self.samples = [(video, clip) for video, count in counted for clip in range(count)]
        self.names = [video.id for video, _ in self.samples]
        self.tuning, self.seed = tuning, seed

    def read(self, samples: Sequence[int], epoch: int) -> list[Drawn]:
        """Draw and read some samples for an epoch; a sample's draws depend on seed, epoch and its number alone."""
        return [self._draw(index, epoch) for index in samples]

    def _draw(self, index: int, epoch: int) -> Drawn:
        generator = generator_for(self.seed, "sample", epoch, index)
        video, clip = self.samples[index]
        decoded = self.cache.decoded(video, self.streams, generator=generator, clip=clip)
        first = next(iter(self.streams.values()))
        tested = min(1.0, first.crop / min(first.resize))
        how, size = self.tuning, _drawn_size(decoded)
        crop = draw_crop(how.augmentation, size, generator, mirror=how.mirror, part=tested)
        return Drawn(decoded, crop, video.label)

    def prepare(self, raw: list[Drawn], device: torch.device) -> tuple[Inputs, Tensor]:
        """Crop, resize, mirror and normalise on the device.

        Returns:
            Stream -> `(B·N, 3 or 2L …, crop, crop)` float32, of clips `(B·N, 3, T, crop, crop)`, the N steps of a video
            adjacent; labels `(B,)` int64.
        """
        inputs = {stream: self._stack(raw, stream, device) for stream in self.streams}
        return inputs, torch.tensor([drawn.label for drawn in raw], device=device)

    def _stack(self, raw: list[Drawn], stream: str, device: torch.device) -> Tensor:
        parts = []
        for drawn in raw:
            answer, crop = drawn.decoded.answers[stream], drawn.crop
            assert answer.ready is not None  # it comes from the cache
            images = torch.from_numpy(answer.ready).to(device, non_blocking=True)
            size, own = _drawn_size(drawn.decoded), tuple(images.shape[-2:])
            crop = crop if own == size else scale_crop(crop, size, own)
            cropped = apply_crop(images, crop, self.streams[stream].crop, mirror=self.cache.streams[stream].mirror)
            stacks = torch.as_tensor(answer.stacks)[torch.as_tensor(answer.steps.views[0])]
            parts.append(cropped[stacks.to(device)])  # (N, T or L, C, crop, crop)
        return self.cache.streams[stream].network_input(torch.cat(parts))


def _random(settings: Settings) -> Settings:
    """The sampling that training draws by: of plan clips one of the fixed ones."""
    clips = settings.plan == "clips"
    return settings.change(view="fixed" if clips else "random", views=settings.views if clips else 1)


def _drawn_size(decoded: Decoded) -> tuple[int, int]:
    """Height and width of the images that a crop is drawn in: of frames, or of pairs where they are alone."""
    answers = sorted(decoded.answers.values(), key=lambda answer: answer.pairs is not None)
    assert answers[0].ready is not None
    height, width = answers[0].ready.shape[-2:]
    return height, width


def scale_crop(crop: Crop, size: tuple[int, ...], other: tuple[int, ...]) -> Crop:
    """The same box of an image of another size: flow computed at `--flow-size` beside larger frames."""
    down, right = other[0] / size[0], other[1] / size[1]
    top, left = min(round(crop.top * down), other[0] - 1), min(round(crop.left * right), other[1] - 1)
    # Edges are rounded, not sides: each is off by half a pixel at most.
    bottom, end = round((crop.top + crop.height) * down), round((crop.left + crop.width) * right)
    return Crop(top, left, max(1, bottom - top), max(1, end - left), crop.mirrored)


def fixed_inputs(
    videos: Sequence[Video],
    cache: ClipCache,
    streams: Mapping[str, Settings],
    *,
    device: torch.device,
    at_once: int = 8,
) -> Iterator[Inputs]:
    """Network inputs of fixed views and crops, as extraction makes them: `(b·V·A·N, …, crop, crop)` by stream, of
    `at_once` videos (b) together, in order."""
    for start in range(0, len(videos), at_once):
        parts: dict[str, list[Tensor]] = {stream: [] for stream in streams}
        for video in videos[start : start + at_once]:
            decoded = cache.decoded(video, streams)
            for stream, settings in streams.items():
                answer = decoded.answers[stream]
                assert answer.ready is not None
                images = torch.from_numpy(answer.ready).to(device)
                crops = crop_images(images, settings, cache.streams[stream].mirror)  # (A, n, C, h, w)
                stacks = torch.as_tensor(answer.stacks)[torch.as_tensor(answer.steps.views)]  # (V, N, T or L)
                parts[stream].append(crops[:, stacks].transpose(0, 1).flatten(0, 2))
        yield {stream: cache.streams[stream].network_input(torch.cat(part)) for stream, part in parts.items()}


def apply_crop(images: Tensor, crop: Crop, side: int, *, mirror: Callable[[Tensor], Tensor]) -> Tensor:
    """Take a crop of all images of a sample and resize it: `(N, C, H, W)`, uint8 or floating point, to `(N, C, side,
    side)` floating point in the same range. Bilinear with anti-aliasing, as the weights' own preprocessing resizes.
    """
    part = images[..., crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    part = part if part.is_floating_point() else part.float()
    if crop.mirrored:
        part = mirror(part)
    if part.shape[-2:] == (side, side):
        return part
    return F.interpolate(part, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
