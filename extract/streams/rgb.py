"""Appearance: the frame itself, in RGB."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from avr.extract.backbones import Preprocessing
from avr.extract.preprocess import to_device
from avr.extract.settings import Settings
from avr.video import Answer

from . import Stream


class Rgb(Stream):
    """RGB frames, (value / 255 − mean) / deviation a channel."""

    @staticmethod
    def filled_in(settings: Settings, own: Preprocessing) -> dict[str, Any]:
        return {"mean": settings.mean or own.mean, "std": settings.std or own.std}

    def make(self, answers: Sequence[Answer]) -> list[Tensor]:
        return [to_device(answer.images.transpose(0, 3, 1, 2), self.device) for answer in answers]

    def normalise(self, inputs: Tensor) -> Tensor:
        mean = torch.tensor(self.settings.mean, device=inputs.device).view(-1, 1, 1)
        std = torch.tensor(self.settings.std, device=inputs.device).view(-1, 1, 1)
        return torch.addcmul(-mean / std, inputs.float(), 1 / (255 * std))


STREAM = Rgb
