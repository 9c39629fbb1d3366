"""One frame of a video, made RGB or grey when somebody asks, as FFmpeg's own program shows it.

A decoded frame stays as the decoder left it, mostly luma and half-sized chroma, until it is asked for: most frames of a
video are decoded and never looked at. Conversion is by libswscale with the program's defaults, one converter a file.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from avr.core import WorkError

FULL_RANGE = 2  # of `av.VideoFrame.color_range`: luma is 0…255, not 16…235
# Limited range, 16…235, to 0…255.
_FROM_LIMITED = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)


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


class FileFrame(Frame):
    """A frame as the decoder left it."""

    def __init__(self, frame: av.VideoFrame, converter: "Converter", second: float) -> None:
        self._frame, self._converter = frame, converter
        self.shape, self.second = converter.shape, second
        self.nbytes = sum(plane.buffer_size for plane in frame.planes)

    def rgb(self) -> NDArray[np.uint8]:
        return self._converter.rgb(self._frame)

    def grey(self) -> NDArray[np.uint8]:
        return self._converter.grey(self._frame)


class Converter:
    """Makes images of one file's frames: of the size of the first one, turned as the file says.

    Attributes:
        shape: (H, W) of its images.
        odd_turn: the file asks for an angle that is none of 90, 180 and 270 degrees, and is shown as it is stored.
    """

    def __init__(self, first: av.VideoFrame) -> None:
        self._width, self._height = first.width, first.height
        self._transposed, self._flips, self.odd_turn = _turn(first)
        self.shape = (first.width, first.height) if self._transposed else (first.height, first.width)
        self._reformatter = VideoReformatter()
        self._graphs: dict[tuple[int, int, str], Any] = {}

    def fits(self, frame: av.VideoFrame) -> bool:
        """Whether a frame has the first one's size."""
        return (frame.width, frame.height) == (self._width, self._height)

    def rgb(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """`(H, W, 3)` RGB."""
        return self._turned(self._reformat(frame, "rgb24"))

    def grey(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """`(H, W)` grey: the luma plane that the decoder holds, stretched to 0…255 where its range is limited."""
        layout = frame.format
        luma = layout.components[0]
        planar = layout.is_planar and len(layout.components) > 1 and luma.is_luma and not layout.is_rgb
        if not (planar and luma.bits == 8 and self.fits(frame)) or layout.is_big_endian:
            return self._turned(self._reformat(frame, "gray"))
        plane = frame.planes[0]
        image = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
        full = frame.color_range == FULL_RANGE or layout.name.startswith("yuvj")
        return self._turned(image.copy() if full else _FROM_LIMITED[image])

    def _reformat(self, frame: av.VideoFrame, layout: str) -> NDArray[np.uint8]:
        made = self._reformatter.reformat(
            self._woven(frame),
            width=self._width,
            height=self._height,
            format=layout,
            interpolation=Interpolation.BICUBIC,
        )
        return np.asarray(made.to_ndarray(), np.uint8)

    def _woven(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame without the mark that it is interlaced: libswscale would convert its two fields apart."""
        if not frame.interlaced_frame:
            return frame
        kind = (frame.width, frame.height, frame.format.name)
        if kind not in self._graphs:
            graph = av.filter.Graph()
            ends = (
                graph.add_buffer(width=kind[0], height=kind[1], format=frame.format, time_base=frame.time_base),
                graph.add("setfield", "prog"),
                graph.add("buffersink"),
            )
            graph.link_nodes(*ends).configure()
            self._graphs[kind] = graph
        graph = self._graphs[kind]
        graph.push(frame)
        woven: av.VideoFrame = graph.pull()
        return woven

    def _turned(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._transposed:
            image = image.swapaxes(0, 1)
        if self._flips:
            image = np.flip(image, self._flips)
        return np.ascontiguousarray(image)


def _turn(frame: av.VideoFrame) -> tuple[bool, tuple[int, ...], bool]:
    """How a frame is turned to be shown: whether transposed, then the axes flipped, and whether the angle is odd.

    The display matrix sends pixel (x, y) to (a x + c y, b x + d y), in 16.16 fixed point.
    """
    side_data: Any = frame.side_data
    kept = side_data.get("DISPLAYMATRIX")
    if kept is None:
        return False, (), False
    a, b, _, c, d = np.frombuffer(bytes(kept), np.int32)[:5].astype(float)
    across, along = max(abs(a), abs(d)), max(abs(b), abs(c))
    if min(across, along) > 0.02 * max(across, along):  # FFmpeg takes a degree more or less for none
        return False, (), True
    transposed = along > across
    signs = (b, c) if transposed else (d, a)
    return transposed, tuple(axis for axis, sign in enumerate(signs) if sign < 0), False


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
