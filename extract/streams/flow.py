"""Motion: a stack of L optical flow images centred on the frame, x and y each (Simonyan and Zisserman, NIPS 2014)."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from avr.extract import flow
from avr.extract.backbones import Backbone, Preprocessing
from avr.extract.settings import Settings
from avr.video import Answer, Need

from . import Stream


class Flow(Stream):
    """Flow by a method of `avr.extract.flow`, or flow images that lie beside raw frames; one mean and deviation for all
    channels."""

    image_channels = 2

    @cached_property
    def method(self) -> flow.FlowMethod:
        """The flow method on the device."""
        return flow.load(self.settings.flow, self.device)

    @property
    def need(self) -> Need:
        kept = self.settings
        colour, size = self.method.needs_colour, kept.flow_size
        return Need(kept.sampling, pairs=kept.stack, colour=colour, size=size, flow_images=True)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (2 * self.settings.stack, self.settings.crop, self.settings.crop)  # without opening the method

    @property
    def shaping(self) -> dict[str, Any]:
        kept = self.settings
        own = {"flow": kept.flow, "backend": self.method.backend, "size": kept.flow_size, "quantise": kept.quantise}
        return super().shaping | own

    @property
    def settled(self) -> dict[str, Any]:
        return {"flow_backend": self.method.backend}

    @staticmethod
    def filled_in(settings: Settings, backbone: Backbone, own: Preprocessing) -> dict[str, Any]:
        """0.5 and the mean of RGB's deviations, as TSN has them; ±1 for networks that scale RGB so themselves."""
        std = 0.5 if own.rescaled else round(sum(own.std) / len(own.std), 6)
        values: dict[str, Any] = {"mean": settings.mean or (0.5,), "std": settings.std or (std,)}
        values |= {"flow": settings.flow, "flow_size": settings.flow_size, "quantise": settings.quantise}
        return {"stack": settings.stack or 10, **values}

    def make(self, answers: Sequence[Answer]) -> list[Tensor]:
        return flow.encoded_flows(self.method, answers, quantise=self.settings.quantise)

    @staticmethod
    def mirror(images: Tensor) -> Tensor:
        """x changes its sign as well: 255 − x."""
        mirrored = images.flip(-1)
        mirrored[..., 0, :, :] = 255 - mirrored[..., 0, :, :]
        return mirrored


STREAM = Flow
