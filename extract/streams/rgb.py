"""Appearance: the frame itself, in RGB."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from avr.extract.preprocess import to_device
from avr.video import Answer

from . import Stream


class Rgb(Stream):
    """RGB frames, with the weights' own mean and deviation of each channel."""

    @property
    def shaping(self) -> dict[str, Any]:
        return {"images": "frames"}

    def make(self, answers: Sequence[Answer]) -> list[Tensor]:
        return [to_device(answer.images.transpose(0, 3, 1, 2), self.device) for answer in answers]


STREAM = Rgb
