"""The frames of one video: counted once, then taken by number.

A container's own frame count is never trusted: the count is what decodes. A video small enough is decoded once, with
all frames held, as the decoder left them, until it is known which are wanted; a longer one twice, first counting, then
keeping those.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from avr.datasets import RawFrames, Video

from .facts import Facts, notes, promised, timing
from .pictures import Frame, VideoError, next_second, read_grey, read_image

if TYPE_CHECKING:
    from .opening import VideoFile

HOLD_BYTES = 1 << 28  # frames held while it is not known which are wanted


class Frames(ABC):
    """The frames of one video.

    Attributes:
        facts: what is known of it.
        seconds: (count,) when each frame is shown, in seconds from its file's start; NaN where nothing tells.
        numbers: (count,) which of the frames that decode each is: every one, or those of a grid in time.
        damage: share of its packets that do not decode, 0…1, one of them aside.
        note: what a user should know though it is no failure, such as frames that were promised.
        has_images: whether there are frames, and not their flow images alone.
        has_flow_images: whether flow images lie beside raw frames.
    """

    facts: Facts
    seconds: NDArray[np.float64]
    numbers: NDArray[np.intp]
    damage = 0.0
    note = ""
    has_images = True
    has_flow_images = False

    @property
    def count(self) -> int:
        """How many there are, at least 1."""
        return len(self.numbers)

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
    """Frames in memory, of one size: a window of a longer video, or one that never was a file.

    Args:
        frames: at least one.
        fps: as of `open_frames`.
    """

    def __init__(self, frames: Sequence[Frame], *, fps: float = 0.0) -> None:
        self._frames = frames
        height, width = frames[0].shape
        self.facts = Facts(len(frames), width=width, height=height)
        seconds: list[float] = []
        for frame in frames:
            seconds.append(next_second(seconds[-1] if seconds else None, frame.second, 0.0))
        grid = on_grid(np.array(seconds), timing(seconds, 0.0)[2], fps) if fps else None
        self.numbers = np.arange(len(frames)) if grid is None else grid
        self.seconds = np.array(seconds)[self.numbers]

    def take(self, numbers: Iterable[int]) -> dict[int, Frame]:
        return {number: self._frames[int(self.numbers[number])] for number in numbers}


def open_frames(video: Video, *, hold: int = HOLD_BYTES, fps: float = 0.0) -> Frames:
    """Count a video's frames, ready to be taken.

    Args:
        video: a file, of which only the stretch from `start` to `end` counts, or a folder of raw frames.
        hold: bytes of frames held while it is not known which are wanted.
        fps: in place of all its frames, those shown at a grid of so many a second; 0: all.

    Raises:
        VideoError: no frame decodes; says why.
    """
    if video.frames is None:
        return _FileFrames(video, hold, fps)
    if fps:
        raise VideoError("raw frames tell no time: leave out --fps", video.path)
    return _FolderFrames(video, video.frames)


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
    return stack((found[number].rgb() for number in wanted), len(wanted))


def stack(images: Iterable[NDArray[np.uint8]], count: int) -> NDArray[np.uint8]:
    """So many images of one size as one array; of none, an empty one. Of an iterator only one is held beside it."""
    stacked = np.zeros((0, 0, 0), np.uint8)
    for number, image in enumerate(images):
        if not number:
            stacked = np.empty((count, *image.shape), np.uint8)
        stacked[number] = image
    return stacked


def same_size(shapes: Iterable[tuple[int, ...]], path: Path) -> None:
    """Raise VideoError where frames of several shapes `(H, W, …)` are in one video."""
    sizes = sorted({f"{width}x{height}" for height, width, *_ in shapes})
    if len(sizes) > 1:
        raise VideoError(f"its frames change size: {' and '.join(sizes)}", path)


class _FileFrames(Frames):
    """Those of a video file; the decoder is loaded here: raw frames do without."""

    def __init__(self, video: Video, hold: int, fps: float) -> None:
        self._path, self._start = video.path, video.start or 0.0
        self._held: dict[int, Frame] | None = {}
        from .opening import VideoFile

        seconds: list[float] = []
        frame, whole = None, True
        with VideoFile(video.path, start=self._start) as file:
            for frame in file:
                whole = video.end is None or frame.second < video.end
                if not whole:
                    break
                hold -= frame.nbytes
                if hold < 0:
                    self._held = None  # too long to hold: count on, and decode again
                if self._held is not None:
                    self._held[len(seconds)] = frame
                seconds.append(frame.second)
        if frame is None or not seconds:
            raise VideoError(_nothing(file, self._start, None if whole else video.end), video.path)
        rate, varies, length = timing(seconds, file.rate)
        count, (height, width) = len(seconds), frame.shape
        due = promised(file, count, rate) if whole and not self._start else 0
        stretch = self._start, video.end or 0.0
        self.facts = Facts(count, due, rate, varies, *stretch, length, width, height, file.codec)
        found = notes(file, self.facts)
        if video.end is not None and whole and self._start + length < video.end - 1 / rate:
            found.append(f"it ends at {self._start + length:.2f} s, its stretch was to end at {video.end:g} s")
        self.note = "; ".join(found)
        self.damage = file.damage
        self.seconds = np.array(seconds)
        self.numbers = on_grid(self.seconds, length, fps) if fps else np.arange(len(seconds))
        self.seconds = self.seconds[self.numbers]

    def take(self, numbers: Iterable[int]) -> dict[int, Frame]:
        wanted = {number: int(self.numbers[number]) for number in numbers}
        found = self._decode_again({*wanted.values()}) if self._held is None else self._held
        return {number: found[decoded] for number, decoded in wanted.items()}

    def _decode_again(self, wanted: set[int]) -> dict[int, Frame]:
        from .opening import VideoFile

        found: dict[int, Frame] = {}
        with VideoFile(self._path, start=self._start) as file:
            for number, frame in enumerate(file):
                if number in wanted:
                    found[number] = frame
                if len(found) == len(wanted):
                    return found
        raise VideoError("decodes differently each time", self._path)


def _nothing(file: "VideoFile", start: float, end: float | None) -> str:
    """Why there is no frame; `end` where one behind the stretch was met."""
    if end is not None:
        return f"no frame is shown from second {start:g} to {end:g}"
    if file.decoded:
        return f"it ends before second {start:g}, at which its stretch starts"
    words = f" (FFmpeg says {file.words})" if file.words else ""
    return f"no frame decodes{words}"


def on_grid(seconds: NDArray[np.float64], length: float, fps: float) -> NDArray[np.intp]:
    """Of frames shown at so many seconds, over `length` seconds in all, those nearest to each point of a grid in time.

        frames at 0, 40, 80, 120, 160 ms, 20 a second:   grid 0, 50, 100, 150 ms, frames 0 1 2 4

    A grid finer than the frames repeats some. Of two frames equally near the earlier is taken.
    """
    points = seconds[0] + np.arange(max(1, round(length * fps))) / fps
    behind = np.searchsorted(seconds, points).clip(1, max(1, len(seconds) - 1))
    if len(seconds) == 1:
        return np.zeros(len(points), np.intp)
    earlier = points - seconds[behind - 1] <= seconds[behind] - points
    return np.asarray(behind - earlier, np.intp)


class _FolderFrames(Frames):
    """Those of a folder with an image a frame, and perhaps two flow images a pair.

    Every frame that is listed must be there: what is told twice is held against one another.
    """

    def __init__(self, video: Video, names: RawFrames) -> None:
        self._path, self._names = video.path, names
        if not video.path.is_dir():
            raise VideoError("no such folder of frames", video.path)
        there = set(os.listdir(video.path))
        flow = (names.flow_x, names.flow_y)
        self.has_flow_images = all(template.format(names.first) in there for template in flow)
        # A folder may hold flow images alone; whoever asks for its RGB frames is told which is missing.
        known = [names.image] if names.image.format(names.first) in there else []
        known += flow if self.has_flow_images else ()
        if names.count <= 0 or not known:
            raise VideoError(f"{names.image.format(names.first)} is not there", video.path)
        for template in known:
            gone = _gap(there, template, names)
            if gone:
                raise VideoError(f"{gone} is missing, {names.count} frames are listed", video.path)
        self.has_images = names.image in known
        height, width = read_grey(video.path / known[0].format(names.first)).shape
        self.facts = Facts(names.count, names.count, start=names.first, width=width, height=height)
        self.numbers = np.arange(names.count)
        self.seconds = np.full(names.count, np.nan)

    def take(self, numbers: Iterable[int]) -> dict[int, Frame]:
        names = {number: self._names.image.format(self._names.first + number) for number in sorted(numbers)}
        frames: dict[int, Frame] = {number: read_image(self._path / name) for number, name in names.items()}
        same_size((frame.shape for frame in frames.values()), self._path)
        return frames

    def flow_images(self, pairs: Sequence[int]) -> NDArray[np.uint8]:
        templates = (self._names.flow_x, self._names.flow_y)
        names = [[template.format(self._names.first + pair) for template in templates] for pair in pairs]
        return np.stack([np.stack([read_grey(self._path / name) for name in two]) for two in names])


def _gap(there: Container[str], template: str, names: RawFrames) -> str:
    """The first image of a kind that is not there; the last frame has no flow to a next one."""
    numbers = range(names.first, names.first + names.count - (template != names.image))
    return next((name for number in numbers if (name := template.format(number)) not in there), "")
