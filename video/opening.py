"""The one way to open a video file or an image, by OpenCV.

No other file knows which library decodes, nor in which order it has the channels of a frame (OpenCV: blue, green, red).
Reasons why a video gives nothing are in plain words, since they end up in the store.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avr.core import WorkError

Frame = NDArray[np.uint8]  # (H, W, 3), channels in the library's own order


class VideoError(WorkError):
    """A video gives no features. `reason` is what the store records."""

    def __init__(self, reason: str, path: Path | None = None) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason = reason


class VideoFile:
    """A video file, read from its start to its end; a context manager.

    Attributes:
        path: of the file.
        promised: frames that the header promises, 0 when it says nothing; often wrong.
        rate: frames a second, as the header says; 0.0 when it says nothing of use.
        position: how many frames have been read or skipped.

    Raises:
        VideoError: no such file, or it cannot be opened as a video; says why.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.position = path, 0
        self._capture = _open(path)
        self.promised = int(min(max(self._capture.get(cv2.CAP_PROP_FRAME_COUNT), 0), 1e9))
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = rate if 1 <= rate <= 1000 else 0.0

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

    def skip(self) -> bool:
        """Decode the next frame without looking at it; False at the end.

        Raises:
            VideoError: decoding fails.
        """
        with self._saying_where():
            there = self._capture.grab()
        self.position += there
        return there

    def read(self) -> Frame | None:
        """The next frame; None at the end.

        Raises:
            VideoError: decoding fails.
        """
        with self._saying_where():
            there, frame = self._capture.read()
        self.position += there
        return np.asarray(frame, np.uint8) if there else None

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    @contextmanager
    def _saying_where(self) -> Iterator[None]:
        try:
            yield
        except cv2.error as error:
            raise VideoError(f"decoding failed at frame {self.position} ({error.err or error})", self.path) from error


def to_rgb(frame: Frame) -> NDArray[np.uint8]:
    """A frame as `(H, W, 3)` RGB."""
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)


def to_grey(frame: Frame) -> NDArray[np.uint8]:
    """A frame as `(H, W)` grey: 0.299 R + 0.587 G + 0.114 B."""
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), np.uint8)


def read_image(path: Path, *, grey: bool = False) -> Frame:
    """An image file as a frame, or its grey values `(H, W)`, such as of a flow image.

    Raises:
        VideoError: it is missing or damaged; the message names it, the reason by its name alone.
    """
    image: Any = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
    if image is None:
        raise VideoError(f"{path.name} is missing or cannot be read", path.parent)
    return np.asarray(image, np.uint8)


def _open(path: Path) -> cv2.VideoCapture:
    if not path.exists():
        raise VideoError("no such file", path)
    if path.is_dir():
        raise VideoError("is a folder, not a video", path)
    # One thread a video: several videos decode at once. FFmpeg first, then the Motion JPEG reader of builds without it.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        capture = cv2.VideoCapture(str(path), cv2.CAP_OPENCV_MJPEG)
    if not capture.isOpened():
        raise VideoError(_why_not(path), path)
    return capture


def _why_not(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not head:
        return "the file is empty"
    try:
        text = head.decode().isprintable() or b"\0" not in head
    except UnicodeDecodeError as error:
        text = error.start > len(head) - 4 and b"\0" not in head  # a letter cut by the 512 bytes
    return "is a text file, not a video" if text else "cannot be opened as a video (damaged, or an unknown codec)"
