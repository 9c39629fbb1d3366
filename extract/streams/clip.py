"""Appearance and motion at once: T RGB frames about the step, for networks over space and time."""

from typing import Any

from avr.extract.backbones import Backbone, Preprocessing
from avr.extract.settings import Settings
from avr.video import Need

from .rgb import Rgb

USUAL_RATE = 30  # frames a second of most videos, by which the weights' own rate becomes a stride


class Clip(Rgb):
    """Clips of T frames, a stride apart, centred on the step; T and the rate are those the weights were trained at."""

    backbone = "r3d_18"
    clips = True

    @property
    def need(self) -> Need:
        return Need(self.settings.sampling, frames=self.settings.clip_frames, stride=self.settings.frame_stride)

    @staticmethod
    def filled_in(settings: Settings, backbone: Backbone, own: Preprocessing) -> dict[str, Any]:
        stride = round((settings.fps or USUAL_RATE) / backbone.frame_rate) if backbone.frame_rate else 1
        return {
            "clip_frames": settings.clip_frames or backbone.frames,
            "frame_stride": settings.frame_stride or max(1, stride),
        }


STREAM = Clip
