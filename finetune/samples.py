"""Training samples out of the cache: random frames, one crop for all of them, the networks' input."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avr.datasets import Video
from avr.extract import Settings
from avr.extract.cache import ClipCache
from avr.extract.preprocess import crop_images, normalise
from avr.video import Answer, Decoded

from .augmentation import Crop, draw_crop
from .draws import generator_for

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Drawn:
    """One video as drawn for an epoch: its frames and pairs, and the box taken of all of them.

    The box is in pixels of the RGB frames where there are any, else of the flow images.
    """

    decoded: Decoded
    crop: Crop
    label: int


class VideoSamples:
    """Training videos: one random view and one random crop each, anew in each epoch.

    Args:
        videos: the training videos, all in the cache.
        cache: frames and flow pairs.
        settings: an extraction's, filled in: the plan whose random form is drawn, the crop's side, normalisation.
        augmentation: how crops are drawn; see `avr.finetune.augmentation`.
        mirror: whether half of the samples are mirrored.
        seed: of all draws.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        cache: ClipCache,
        *,
        settings: Settings,
        augmentation: str = "corners",
        mirror: bool = True,
        seed: int = 0,
    ) -> None:
        self.videos, self.cache = list(videos), cache
        self.names = [video.id for video in videos]
        view = "fixed" if settings.plan == "clips" else "random"  # one of the fixed clips is drawn
        self.settings = settings.change(view=view, views=settings.views if settings.plan == "clips" else 1)
        self.augmentation, self.mirror, self.seed = augmentation, mirror, seed

    def read(self, videos: Sequence[int], epoch: int) -> list[Drawn]:
        """Draw and read some videos for an epoch; a video's draws depend on seed, epoch and its number alone."""
        return [self._draw(index, epoch) for index in videos]

    def _draw(self, index: int, epoch: int) -> Drawn:
        generator = generator_for(self.seed, "sample", epoch, index)
        video = self.videos[index]
        decoded = self.cache.decoded(video, self.settings, generator=generator)
        tested = min(1.0, self.settings.crop / self.settings.resize)
        crop = draw_crop(self.augmentation, _drawn_size(decoded), generator, mirror=self.mirror, part=tested)
        return Drawn(decoded, crop, video.label)

    def prepare(self, raw: list[Drawn], device: torch.device) -> tuple[Inputs, Tensor]:
        """Crop, resize, mirror and normalise on the device.

        Returns:
            Stream -> `(B·N, 3 or 2L, crop, crop)` float32, the N frames of a video adjacent; labels `(B,)` int64.
        """
        inputs = {stream: self._stack(raw, stream, device) for stream in self.settings.streams}
        return inputs, torch.tensor([drawn.label for drawn in raw], device=device)

    def _stack(self, raw: list[Drawn], stream: str, device: torch.device) -> Tensor:
        parts = []
        for drawn in raw:
            answer, crop = drawn.decoded.answers[stream], drawn.crop
            images = torch.from_numpy(_images(answer)).to(device, non_blocking=True)
            mirror = None if answer.pairs is None else _mirror_pairs
            size, own = _drawn_size(drawn.decoded), tuple(images.shape[-2:])
            crop = crop if own == size else scale_crop(crop, size, own)
            cropped = apply_crop(images, crop, self.settings.crop, mirror=mirror)
            view = torch.as_tensor(drawn.decoded.steps.views[0], device=device)
            if answer.pairs is None:
                parts.append(cropped[view])  # (N, 3, crop, crop)
            else:
                stacks = torch.as_tensor(answer.pairs.stacks, device=device)[view]  # (N, L)
                parts.append(cropped[stacks].flatten(1, 2))  # (N, 2L, crop, crop): x1 y1 x2 y2 …
        return normalise(torch.cat(parts), self.settings, stream=stream)


def _drawn_size(decoded: Decoded) -> tuple[int, int]:
    """Height and width of the images that a crop is drawn in: RGB's, or flow's where it is alone."""
    height, width = _images(decoded.answers.get("rgb") or decoded.answers["flow"]).shape[-2:]
    return height, width


def _images(answer: Answer) -> NDArray:
    """The images of a stream, `(n, C, H, W)`: frames, or flow pairs."""
    images = answer.images.transpose(0, 3, 1, 2) if answer.flow_images is None else answer.flow_images
    return np.ascontiguousarray(images)


def _mirror_pairs(pairs: Tensor) -> Tensor:
    return mirror_flow(pairs, zero=127.5)


def scale_crop(crop: Crop, size: tuple[int, ...], other: tuple[int, ...]) -> Crop:
    """The same box of an image of another size: flow computed at `--flow-size` beside larger frames."""
    down, right = other[0] / size[0], other[1] / size[1]
    top, left = min(round(crop.top * down), other[0] - 1), min(round(crop.left * right), other[1] - 1)
    # Edges are rounded, not sides: each is off by half a pixel at most.
    bottom, end = round((crop.top + crop.height) * down), round((crop.left + crop.width) * right)
    return Crop(top, left, max(1, bottom - top), max(1, end - left), crop.mirrored)


def fixed_inputs(
    videos: Sequence[Video], cache: ClipCache, settings: Settings, *, device: torch.device, at_once: int = 8
) -> Iterator[Inputs]:
    """Network inputs of fixed views and crops, as extraction makes them: `(b·V·A·N, C, crop, crop)` by stream.

    Args:
        videos: in the order wanted; a few at a time come together.
        cache: holds them.
        settings: the plan and the crops.
        device: where the inputs are wanted.
        at_once: videos a batch.
    """
    for start in range(0, len(videos), at_once):
        parts: dict[str, list[Tensor]] = {stream: [] for stream in settings.streams}
        for video in videos[start : start + at_once]:
            decoded = cache.decoded(video, settings)
            positions = torch.as_tensor(decoded.steps.views)  # (V, N)
            for stream in settings.streams:
                answer = decoded.answers[stream]
                images = torch.from_numpy(_images(answer)).to(device)
                crops = crop_images(images, settings, stream=stream)  # (A, n, C, h, w)
                if answer.pairs is not None:
                    views = torch.as_tensor(answer.pairs.stacks)[positions]  # (V, N, L)
                    chosen = crops[:, views].flatten(3, 4)  # (A, V, N, 2L, h, w)
                else:
                    chosen = crops[:, positions]  # (A, V, N, 3, h, w)
                parts[stream].append(chosen.transpose(0, 1).flatten(0, 2))
        yield {s: normalise(torch.cat(part), settings, stream=s) for s, part in parts.items()}


def apply_crop(images: Tensor, crop: Crop, side: int, *, mirror: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Take a crop of all images of a sample and resize it.

    Args:
        images: `(N, C, H, W)`, uint8 or floating point.
        crop: the box.
        side: height and width of the result, pixels.
        mirror: how such images are mirrored; None: the columns are reversed. Flow images need more: their x changes
            sign (`mirror_flow`).

    Returns:
        `(N, C, side, side)` floating point, in the images' own range (float32 for uint8). Bilinear with
        anti-aliasing, as the weights' own preprocessing resizes.
    """
    part = images[..., crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    part = part if part.is_floating_point() else part.float()
    if crop.mirrored:
        part = mirror(part) if mirror is not None else part.flip(-1)
    if part.shape[-2:] == (side, side):
        return part
    return F.interpolate(part, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


def mirror_flow(stack: Tensor, *, zero: float = 0.0) -> Tensor:
    """Mirror flow stacks `(…, 2L, H, W)` ordered x1 y1 x2 y2 …: columns reversed and x's sign changed.

    Args:
        stack: flow in pixels, or as values in which `zero` stands for no motion.
        zero: 0 for pixels; 127.5 for values quantised to 0…255, so that q becomes 255 - q.
    """
    mirrored = stack.flip(-1).clone()
    mirrored[..., 0::2, :, :] = 2 * zero - mirrored[..., 0::2, :, :]
    return mirrored
