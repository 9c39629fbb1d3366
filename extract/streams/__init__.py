"""What the networks look at: one file a stream, found by its name (`flow.py` = `--stream flow`).

A stream says which frames it needs of a video, the images they become, and how these become network input; its file
ends with `STREAM`, its class. A step's input is a stack of images, one of a single frame or L of the pairs about it,
its channels side by side.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from avr.core import load_item
from avr.extract.backbones import Preprocessing
from avr.extract.preprocess import to_device
from avr.extract.settings import Settings
from avr.video import Answer, Need

__all__ = ["Stream", "open_streams", "stack_images", "stream_class"]


class Stream(ABC):
    """One stream of an extraction on one device.

    Args:
        settings: of the extraction, filled in where images are normalised.
        device: where images are made.

    Attributes:
        image_channels: channels of one image.
    """

    image_channels: ClassVar[int] = 3

    def __init__(self, settings: Settings, device: str = "cpu") -> None:
        self.settings, self.device = settings, device

    @property
    def pairs(self) -> int:
        """L, pairs of frames about each step; 0: the step's own frame."""
        return 0

    @property
    def need(self) -> Need:
        """What it needs of a video."""
        return Need(pairs=self.pairs)

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return self.image_channels * max(1, self.pairs)

    @property
    def shaping(self) -> dict[str, Any]:
        """What shapes its images beside their size: the clip cache keeps them apart by it."""
        return {}

    @property
    def settled(self) -> dict[str, Any]:
        """Settings that the device fills in."""
        return {}

    @staticmethod
    def filled_in(settings: Settings, own: Preprocessing) -> dict[str, Any]:
        """Settings of the stream, asked for or not, that the backbone's own preprocessing fills in."""
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

    @abstractmethod
    def normalise(self, inputs: Tensor) -> Tensor:
        """Stacks of cropped images `(B, channels, h, w)`, uint8 or float32, 0…255, to network input, float32."""


def stack_images(images: Tensor, stacks: Tensor) -> Tensor:
    """Stacks of images: `(n, C, h, w)` or `(A, n, C, h, w)` at positions `(…, L)`: `(…, L·C, h, w)`, x1 y1 x2 y2 …."""
    return images[..., stacks, :, :, :].flatten(-4, -3)


def stream_class(name: str) -> type[Stream]:
    """A stream's class.

    Raises:
        UsageError: no such stream; the known ones are listed.
    """
    found: type[Stream] = load_item("avr.extract.streams", name, "stream").STREAM
    return found


def open_streams(settings: Settings, device: torch.device | str = "cpu") -> dict[str, Stream]:
    """The streams of an extraction by name."""
    return {name: stream_class(name)(settings, str(device)) for name in settings.streams}
