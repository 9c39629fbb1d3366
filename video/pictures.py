"""One frame of a video, whatever it is made of, and images on disk. Loads no decoder of videos."""

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avr.core import WorkError

USUAL_RATE = 25.0  # frames a second, where a file says nothing of use
MOST_FRAMES = 10**9  # that a file is believed to promise


class VideoError(WorkError):
    """A video gives no features. `reason` is what the store records, in plain words."""

    def __init__(self, reason: str, path: Path | None = None) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason = reason


class Frame(ABC):
    """One frame.

    Attributes:
        shape: (H, W) as it is shown.
        second: when it is shown, in seconds from its video's start; NaN where nothing tells.
        nbytes: that it holds in memory.
    """

    shape: tuple[int, int]
    second: float
    nbytes: int

    @abstractmethod
    def rgb(self) -> NDArray[np.uint8]:
        """The frame as `(H, W, 3)` RGB."""

    @abstractmethod
    def grey(self) -> NDArray[np.uint8]:
        """The frame as `(H, W)` grey, 0…255: its luma."""


class ArrayFrame(Frame):
    """A frame given as its pixels, `(H, W, 3)` uint8 RGB."""

    def __init__(self, image: NDArray[np.uint8], second: float = np.nan) -> None:
        self._image = image
        self.shape, self.second, self.nbytes = (image.shape[0], image.shape[1]), second, image.nbytes

    def rgb(self) -> NDArray[np.uint8]:
        return self._image

    def grey(self) -> NDArray[np.uint8]:
        """0.299 R + 0.587 G + 0.114 B."""
        return np.asarray(cv2.cvtColor(self._image, cv2.COLOR_RGB2GRAY), np.uint8)


def next_second(last: float | None, second: float, rate: float) -> float:
    """When a frame is shown: the second that is told of it; where that is not later than the `last` frame's, or NaN for
    none, one frame behind that, at `rate` a second (0: not known)."""
    if last is None:
        return 0.0 if math.isnan(second) else second
    return second if second > last else last + 1 / (rate or USUAL_RATE)


def read_image(path: Path) -> ArrayFrame:
    """An image file as a frame.

    Raises:
        VideoError: it is missing or damaged; the message names it, the reason by its name alone.
    """
    return ArrayFrame(np.asarray(cv2.cvtColor(_read(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8))


def read_grey(path: Path) -> NDArray[np.uint8]:
    """The grey values `(H, W)` of an image file, such as of a flow image. Raises as `read_image`."""
    return np.asarray(_read(path, cv2.IMREAD_GRAYSCALE), np.uint8)


def _read(path: Path, how: int) -> Any:
    try:
        image = cv2.imdecode(np.fromfile(path, np.uint8), how)
    except (OSError, cv2.error):  # OpenCV: an empty file
        image = None
    if image is None:
        raise VideoError(f"{path.name} is missing or cannot be read", path.parent)
    return image
