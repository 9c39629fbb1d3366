"""Frames as the decoder left them, made RGB or grey when somebody asks, as FFmpeg's own program shows them.

A decoded frame stays mostly luma and half-sized chroma until it is asked for: most frames of a video are decoded and
never looked at. Conversion is by the filters that the program itself puts there, one chain for all files alike.
"""

import threading
from typing import Any

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from numpy.typing import NDArray

from .pictures import Frame

FULL_RANGE = 2  # of `av.VideoFrame.color_range`: luma is 0…255, not 16…235
MOST_GRAPHS = 16  # kept by a thread, each for frames of one kind: files of a data set are mostly alike
_kept = threading.local()
BLACK, WHITE = 16, 235  # luma of limited range


class FileFrame(Frame):
    """A frame as the decoder left it."""

    def __init__(self, frame: av.VideoFrame, converter: "Converter", second: float) -> None:
        self._frame, self._converter = frame, converter
        self.shape, self.second, self.nbytes = converter.shape, second, converter.frame_bytes

    def rgb(self) -> NDArray[np.uint8]:
        return self._converter.rgb(self._frame)

    def grey(self) -> NDArray[np.uint8]:
        return self._converter.grey(self._frame)


class Converter:
    """Makes images of one file's frames: of the size of the first one, turned as the file says.

    Attributes:
        shape: (H, W) of its images.
        frame_bytes: that a frame of the first one's size holds.
        odd_turn: the file asks for an angle that is none of 90, 180 and 270 degrees, and is shown as it is stored.
    """

    def __init__(self, first: av.VideoFrame) -> None:
        self._width, self._height = first.width, first.height
        self._transposed, self._flips, self.odd_turn = _turn(first)
        self.shape = (first.width, first.height) if self._transposed else (first.height, first.width)
        self.frame_bytes = sum(plane.buffer_size for plane in first.planes)

    def fits(self, frame: av.VideoFrame) -> bool:
        """Whether a frame has the first one's size."""
        return (frame.width, frame.height) == (self._width, self._height)

    def rgb(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """`(H, W, 3)` RGB."""
        return self._turned(self._convert(frame, "rgb24"))

    def grey(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """`(H, W)` grey: the luma plane that the decoder holds, stretched to 0…255 where its range is limited."""
        layout = frame.format
        luma = layout.components[0]
        planar = layout.is_planar and len(layout.components) > 1 and luma.is_luma and not layout.is_rgb
        if not (planar and luma.bits == 8 and self.fits(frame)):
            return self._turned(self._convert(frame, "gray"))
        plane = frame.planes[0]
        image = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
        full = frame.color_range == FULL_RANGE or layout.name.startswith("yuvj")
        if full:
            return self._turned(image.copy())
        above: Any = cv2.subtract(image, BLACK)  # type: ignore[call-overload] # a number does as well
        # Beyond black and white it saturates.
        return self._turned(np.asarray(cv2.convertScaleAbs(above, alpha=255 / (WHITE - BLACK)), np.uint8))

    def _convert(self, frame: av.VideoFrame, pixels: str) -> NDArray[np.uint8]:
        """A frame as its pixels, by the filters that FFmpeg's program puts there."""
        size = (self._width, self._height)
        kind = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range, pixels, size)
        graphs = vars(_kept).setdefault("graphs", {})
        if kind not in graphs:
            if len(graphs) >= MOST_GRAPHS:
                graphs.clear()
            graphs[kind] = _graph(frame, pixels, size)
        graph = graphs[kind]
        graph.push(frame)
        return np.asarray(graph.pull().to_ndarray(), np.uint8)

    def _turned(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._transposed:
            image = image.swapaxes(0, 1)
        if self._flips:
            image = np.flip(image, self._flips)
        return np.ascontiguousarray(image)


def _graph(frame: av.VideoFrame, pixels: str, size: tuple[int, int]) -> Any:
    """The filters from frames such as this one to pixels of a size (width, height)."""
    # Not marked as interlaced: libswscale would convert the two fields apart. Grey is luma whatever the matrix.
    marks = "field_mode=prog"
    if pixels == "gray" and frame.format.name.startswith("yuv"):
        marks += ":colorspace=unknown"
    graph = av.filter.Graph()
    graph.threads = 1  # several videos decode at once
    graph.link_nodes(
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base),
        graph.add("setparams", marks),
        graph.add("scale", f"{size[0]}:{size[1]}:flags=bicubic"),
        graph.add("format", f"pix_fmts={pixels}"),
        graph.add("buffersink"),
    ).configure()
    return graph


def _turn(frame: av.VideoFrame) -> tuple[bool, tuple[int, ...], bool]:
    """How a frame is turned to be shown: whether transposed, then the axes flipped, and whether the angle is odd.

    The display matrix sends pixel (x, y) to (a x + c y, b x + d y), in 16.16 fixed point.
    """
    # Not `frame.side_data`, which holds the frame and is held by it: a cycle, and with the frame its file's pool of
    # pictures would stay until Python looks for cycles, which it seldom does where few objects are made.
    kept: Any = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg] # its stub has no __init__
    if kept is None:
        return False, (), False
    a, b, _, c, d = np.frombuffer(bytes(kept), np.int32)[:5].astype(float)
    across, along = max(abs(a), abs(d)), max(abs(b), abs(c))
    if min(across, along) > 0.02 * max(across, along):  # FFmpeg takes a degree more or less for none
        return False, (), True
    transposed = along > across
    signs = (b, c) if transposed else (d, a)
    return transposed, tuple(axis for axis, sign in enumerate(signs) if sign < 0), False
