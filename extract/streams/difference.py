"""Change: a stack of L differences of consecutive RGB frames about the step (TSN, Wang et al., ECCV 2016, section 3.2).

Motion for a fraction of the cost of optical flow.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from avr.extract.backbones import Backbone, Preprocessing
from avr.extract.preprocess import to_device
from avr.extract.settings import Settings
from avr.video import Answer, Need

from . import Stream

ZERO = 128  # the value of no change


class Difference(Stream):
    """Differences of RGB frames, next − this, as images of 0…255 in which 128 is no change.

    The network sees the difference of frames as it would be normalised: one deviation for all channels, the mean of
    RGB's. Quantised, differences past ±127, which only the hardest edges make, are cut off; TSN keeps them.
    """

    @property
    def need(self) -> Need:
        return Need(self.settings.sampling, pairs=self.settings.stack)

    @property
    def shaping(self) -> dict[str, Any]:
        return super().shaping | {"quantise": self.settings.quantise}

    @staticmethod
    def filled_in(settings: Settings, backbone: Backbone, own: Preprocessing) -> dict[str, Any]:
        """TSN's 5 differences."""
        std = settings.std or (round(sum(own.std) / len(own.std), 6),)
        values = {"stack": settings.stack or 5, "quantise": settings.quantise}
        return values | {"mean": settings.mean or (ZERO / 255,), "std": std}

    def make(self, answers: Sequence[Answer]) -> list[Tensor]:
        return [self._differences(answer) for answer in answers]

    def _differences(self, answer: Answer) -> Tensor:
        assert answer.pairs is not None
        frames = to_device(answer.images.transpose(0, 3, 1, 2), self.device)
        this, following = torch.from_numpy(answer.pairs.ends).to(frames.device)
        change = frames[following].to(torch.int16) - frames[this] + ZERO
        return change.clamp_(0, 255).to(torch.uint8) if self.settings.quantise else change.float()


STREAM = Difference
