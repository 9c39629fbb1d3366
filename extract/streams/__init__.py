"""What the networks look at: one file a kind of stream, found by its name (`flow.py` = `--stream flow`).

A kind says which frames it needs of a video, the images they become, and how these become network input; its file ends
with `STREAM`, its class. A step's images are a frame's one, the L of the pairs about it, or the T of a clip's frames.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from avr.core import load_item
from avr.extract.backbones import Backbone, Preprocessing
from avr.extract.preprocess import to_device
from avr.extract.settings import Settings
from avr.video import Answer, Need


class Stream(ABC):
    """One stream of an extraction on one device.

    Args:
        settings: the stream's own, filled in where images are normalised.
        device: where images are made.

    Attributes:
        backbone: the network, where none is asked for.
        clips: whether it reads clips, with a network over space and time; else images.
        image_channels: channels of one image.
    """

    backbone: ClassVar[str] = "resnet50"
    clips: ClassVar[bool] = False
    image_channels: ClassVar[int] = 3

    def __init__(self, settings: Settings, device: str = "cpu") -> None:
        self.settings, self.device = settings, device

    @property
    def need(self) -> Need:
        """What it needs of a video."""
        return Need(self.settings.sampling)

    @property
    def images_a_step(self) -> int:
        """T or L, or 1."""
        return self.need.pairs or self.need.frames

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one network input: (T or L times an image's channels, crop, crop), of clips (3, T, crop, crop)."""
        sides = (self.settings.crop, self.settings.crop)
        if self.clips:
            return (self.image_channels, self.images_a_step, *sides)
        return (self.image_channels * self.images_a_step, *sides)

    @property
    def shaping(self) -> dict[str, Any]:
        """What shapes its images beside their size: the clip cache keeps them apart by it."""
        return {"images": self.settings.kind}

    @property
    def settled(self) -> dict[str, Any]:
        """Settings that the device fills in."""
        return {}

    @staticmethod
    def filled_in(settings: Settings, backbone: Backbone, own: Preprocessing) -> dict[str, Any]:
        """Settings that only such streams read, as the network and its weights' preprocessing fill them in."""
        return {}

    def images(self, answers: Sequence[Answer]) -> list[Tensor]:
        """The images of several videos, `(n, C, H, W)` each on the device, uint8 or float32, 0…255."""
        made = iter(self.make([answer for answer in answers if answer.ready is None]))
        return [to_device(next(made) if one.ready is None else one.ready, self.device) for one in answers]

    @abstractmethod
    def make(self, answers: Sequence[Answer]) -> Sequence[Tensor]:
        """Images out of frames, on whatever device; a video's do not depend on the videos beside it."""

    @staticmethod
    def mirror(images: Tensor) -> Tensor:
        """Images `(…, C, H, W)` with left and right exchanged."""
        return images.flip(-1)

    def network_input(self, stacks: Tensor) -> Tensor:
        """Steps' cropped images `(B, T or L, C, h, w)`, uint8 or float32, 0…255, as the network reads them, float32.

        Their channels side by side, x1 y1 x2 y2 …, or of clips `(B, 3, T, h, w)`; normalised, (value / 255 − mean) /
        deviation.
        """
        inputs = stacks.transpose(1, 2) if self.clips else stacks.flatten(1, 2)
        sides = (1,) * (inputs.dim() - 2)
        mean, std = (
            torch.tensor(own, device=inputs.device).view(-1, *sides) for own in (self.settings.mean, self.settings.std)
        )
        return torch.addcmul(-mean / std, inputs.float(), 1 / (255 * std))


def stream_class(kind: str) -> type[Stream]:
    """The class of a kind of stream.

    Raises:
        UsageError: no such kind; the known ones are listed.
    """
    found: type[Stream] = load_item("avr.extract.streams", kind, "kind of stream").STREAM
    return found


def open_streams(streams: Mapping[str, Settings], device: torch.device | str = "cpu") -> dict[str, Stream]:
    """The streams of an extraction by name."""
    return {name: stream_class(settings.kind)(settings, str(device)) for name, settings in streams.items()}
