"""The frames of one video: counted once, then taken by number.

A container's own frame count is never trusted: the count is what decodes. A video small enough is decoded once, with
all frames held until it is known which are wanted; a longer one twice, first counting, then keeping those.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.datasets import Video

from .opening import Frame, VideoError, VideoFile, read_image, to_rgb

HOLD_BYTES = 1 << 28  # frames held while it is not known which are wanted


class Frames(ABC):
    """The frames of one video.

    Attributes:
        count: how many there are, at least 1.
        promised: how many there should be, as the container or the data set says; 0 when nothing does.
        note: what a user should know though it is no failure, such as frames that were promised.
        has_flow_images: whether flow images lie beside raw frames.
    """

    count: int
    promised: int
    note = ""
    has_flow_images = False

    @abstractmethod
    def take(self, numbers: Iterable[int]) -> dict[int, Frame]:
        """Frames by number, all of one size; each must be below `count`.

        Raises:
            VideoError: one cannot be read, or their size changes on the way.
        """

    def flow_images(self, pairs: Sequence[int]) -> NDArray[np.uint8]:
        """Stored flow images `(P, 2, H, W)` of pairs, by their first frames.

        Raises:
            VideoError: one cannot be read.
        """
        raise NotImplementedError


class HeldFrames(Frames):
    """Frames in memory, of one size: a window of a longer video."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = frames
        self.count = self.promised = len(frames)

    def take(self, numbers: Iterable[int]) -> dict[int, Frame]:
        return {number: self._frames[number] for number in numbers}


def open_frames(video: Video, *, hold: int = HOLD_BYTES) -> Frames:
    """Count a video's frames, ready to be taken.

    Args:
        video: a file or a folder of raw frames; only frames `start` to `end` count, from 0.
        hold: bytes of frames held while it is not known which are wanted.

    Raises:
        VideoError: no frame decodes; says why.
    """
    return _FolderFrames(video) if video.frames is not None else _FileFrames(video, hold)


def read_frames(video: Video, numbers: Iterable[int]) -> NDArray[np.uint8]:
    """Given frames of one video, `(n, H, W, 3)` uint8 RGB.

    Raises:
        VideoError: the video cannot be read, or is shorter.
    """
    wanted = list(numbers)
    frames = open_frames(video)
    if max(wanted, default=-1) >= frames.count:
        raise VideoError(f"frame {max(wanted)} is asked for, the video is shorter", video.path)
    found = frames.take(set(wanted))
    return stack([to_rgb(found[number]) for number in wanted])


def stack(images: Sequence[Any]) -> NDArray[np.uint8]:
    """Images of one size as one array; of none, an empty one."""
    return np.stack(images) if images else np.zeros((0, 0, 0), np.uint8)


def same_size(shapes: Iterable[tuple[int, ...]], path: Path) -> None:
    """Raise VideoError where frames of several shapes `(H, W, …)` are in one video."""
    sizes = sorted({f"{width}x{height}" for height, width, *_ in shapes})
    if len(sizes) > 1:
        raise VideoError(f"its frames change size: {' and '.join(sizes)}", path)


class _FileFrames(Frames):
    """Those of a video file."""

    def __init__(self, video: Video, hold: int) -> None:
        self._path, self._start = video.path, video.start or 0
        self._held: dict[int, Frame] | None = {}
        room = hold
        with VideoFile(video.path) as file:
            while video.end is None or file.position < video.end:
                number = file.position - self._start
                if number < 0 or self._held is None:
                    if not file.skip():
                        break
                    continue
                frame = file.read()
                if frame is None:
                    break
                self._held[number] = frame
                room -= frame.nbytes
                if room < 0:
                    self._held = None  # too long to hold: count on, and decode again
            total, promised = file.position, file.promised
        if total <= self._start:
            short = f"only {total} frames decode, it starts at {self._start}"
            raise VideoError(short if total else "no frame decodes", video.path)
        self.count = total - self._start
        self.promised = max(0, (video.end if video.end is not None else promised) - self._start)
        self.note = f"{self.count} frames decode of {self.promised} promised" if self.promised > self.count else ""

    def take(self, numbers: Iterable[int]) -> dict[int, Frame]:
        wanted = set(numbers)
        found = self._decode_again(wanted) if self._held is None else self._held
        frames = {number: found[number] for number in wanted}
        same_size((frame.shape for frame in frames.values()), self._path)
        return frames

    def _decode_again(self, wanted: set[int]) -> dict[int, Frame]:
        found: dict[int, Frame] = {}
        with VideoFile(self._path) as file:
            while len(found) < len(wanted):
                number = file.position - self._start
                frame = file.read() if number in wanted else None
                if frame is not None:
                    found[number] = frame
                elif number in wanted or not file.skip():
                    raise VideoError("decodes differently each time", self._path)
        return found


class _FolderFrames(Frames):
    """Those of a folder with an image a frame, and perhaps two flow images a pair."""

    def __init__(self, video: Video) -> None:
        assert video.frames is not None
        self._path, self._names = video.path, video.frames
        self._first = video.frames.first + (video.start or 0)
        end = video.end if video.end is not None else video.frames.count
        if not video.path.is_dir():
            raise VideoError("no such folder of frames", video.path)
        there = set(os.listdir(video.path))
        self.has_flow_images = (video.path / self._names.flow_x.format(self._first)).exists()
        # A folder may hold flow images alone; whoever asks for its RGB frames is told which is missing.
        known = [name for name in (self._names.image, self._names.flow_x) if name.format(self._first) in there]
        self.promised = end - (video.start or 0)
        if self.promised <= 0 or not known:
            raise VideoError(f"{self._names.image.format(self._first)} is not there", video.path)
        self.count = 1
        while self.count < self.promised and known[0].format(self._first + self.count) in there:
            self.count += 1

    def take(self, numbers: Iterable[int]) -> dict[int, Frame]:
        names = {number: self._names.image.format(self._first + number) for number in sorted(numbers)}
        frames = {number: read_image(self._path / name) for number, name in names.items()}
        same_size((frame.shape for frame in frames.values()), self._path)
        return frames

    def flow_images(self, pairs: Sequence[int]) -> NDArray[np.uint8]:
        templates = (self._names.flow_x, self._names.flow_y)
        names = [[template.format(self._first + pair) for template in templates] for pair in pairs]
        return np.stack([np.stack([read_image(self._path / name, grey=True) for name in two]) for two in names])
