"""What is known of a video once it has been decoded: kept in the store with its features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .pictures import MOST_FRAMES, USUAL_RATE

if TYPE_CHECKING:
    from .opening import VideoFile

SLACK = 0.1  # what a header may promise beyond what decodes before that counts: its duration is often the sound's

FEW = 0.04  # share of the steps between frames


@dataclass(frozen=True)
class Facts:
    """Of one video, or of the stretch of it that belongs to the data set.

    Attributes:
        frames: how many decoded.
        promised: how many its header or its list promises, 0 when nothing does; often wrong. Where a header counts
            none, what its duration promises, if that is far more than decodes.
        rate: frames a second, the mean over what decoded; 0.0 is not known.
        varies: the time from frame to frame changes.
        start: second of its file at which it begins; of raw frames the first one's number.
        end: second of its file at which it is cut off; 0.0 at the file's own end.
        seconds: duration; 0.0 is not known.
        width, height: pixels, as it is shown.
        codec: as FFmpeg calls it; "" of images.
    """

    frames: int
    promised: int = 0
    rate: float = 0.0
    varies: bool = False
    start: float = 0.0
    end: float = 0.0
    seconds: float = 0.0
    width: int = 0
    height: int = 0
    codec: str = ""


def timing(seconds: Sequence[float], header_rate: float) -> tuple[float, bool, float]:
    """Rate, whether it varies, and duration of frames shown at so many seconds, ascending.

    Containers round time stamps, to a millisecond in many: a step that differs by no more than that is no change; and
    where frames are missing, a few steps in a hundred are longer.
    """
    if len(seconds) < 2:
        return header_rate or USUAL_RATE, False, len(seconds) / (header_rate or USUAL_RATE)
    steps = np.diff(seconds)
    step = float(np.median(steps))
    varies = float((np.abs(steps - step) > max(0.25 * step, 0.0025)).mean()) > FEW
    length = float(seconds[-1] - seconds[0]) + step
    mean = len(seconds) / length
    kept = header_rate and not varies and abs(1 / step - header_rate) < 0.05 * header_rate
    return header_rate if kept else round(mean, 6), varies, round(length, 6)


def promised(file: "VideoFile", decoded: int, rate: float) -> int:
    """Frames that a file's header promises, or that its duration does; 0 when that says nothing of use."""
    by_duration = round(min(file.duration * rate, MOST_FRAMES))
    return file.promised or (by_duration if decoded < (1 - SLACK) * by_duration else 0)


def notes(file: "VideoFile", facts: Facts) -> list[str]:
    """What a user should know of a file that was read, though it is no failure; the gravest first."""
    found = []
    if file.damaged:
        where = "" if np.isnan(file.damaged_at) else f", the first at {file.damaged_at:.1f} s"
        found.append(f"{file.damaged} of {file.packets} packets do not decode{where}")
    if file.marred:
        found.append(f"{file.marred} frame{'s' * (file.marred > 1)} decode{'s' * (file.marred == 1)} in part")
    if facts.promised > facts.frames:
        found.append(f"{facts.frames} frames decode of {facts.promised} promised")
    if file.words:
        found.append(f"FFmpeg says {file.words}")
    if facts.varies:
        found.append(f"its frame rate varies, {facts.rate:.4g} a second in the mean")
    if file.untimed and not file.rate:
        found.append(f"frames without time stamps: seconds are counted at {facts.rate:.4g} frames a second")
    if file.interlaced:
        found.append("interlaced: each frame holds two fields, woven")
    if file.resized:
        found.append(f"its frames change size: all are scaled to the first one's, {facts.width}x{facts.height}")
    if file.odd_turn:
        found.append("it is to be turned by no multiple of 90 degrees, and is shown as it is stored")
    if file.streams > 1:
        found.append(f"{file.streams} video streams: FFmpeg's choice is read, {facts.width}x{facts.height}")
    return found
