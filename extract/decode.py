"""Frames of a video, by OpenCV: what a plan needs, and no more than that held.

A container's own frame count is never trusted: the count is what decodes. A video small enough is decoded once, with
all frames held until the count is known; a longer one twice, first counting, then keeping the frames needed. Reasons
why a video gives nothing are in plain words, since they end up in the store.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avr.core import WorkError
from avr.datasets import Video

from .plan import Needs, needs_of, plan_frames
from .settings import Settings

HOLD_BYTES = 1 << 28  # frames held while the count is not known; beyond, the video is decoded a second time
Frame = NDArray[np.uint8]  # (H, W, 3) BGR, as OpenCV gives it


class VideoError(WorkError):
    """A video gives no features. `reason` is what the store records."""

    def __init__(self, reason: str, path: Path | None = None) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason = reason


@dataclass(frozen=True)
class Decoded:
    """What one video's plan needs, decoded; arrays are empty for a stream that is not asked for.

    Attributes:
        needs: the plan, and the positions in the arrays below.
        rgb: (R, H, W, 3) uint8 RGB, the frames `needs.frames`.
        flow_frames: (F, H, W) uint8 grey (or (F, H, W, 3) RGB), the frames `needs.flow_frames`.
        flow_images: (P, 2, H, W) uint8, the stored flow images of `needs.pairs`, or None: flow is to be computed.
        note: what a user should know though it is no failure, such as frames that the header promised.
    """

    needs: Needs
    rgb: NDArray[np.uint8]
    flow_frames: NDArray[np.uint8]
    flow_images: NDArray[np.uint8] | None
    note: str = ""


def decode_video(
    video: Video, settings: Settings, *, colour_flow: bool = False, generator: np.random.Generator | None = None
) -> Decoded:
    """Decode what a plan needs of one video.

    Args:
        video: a file, or a folder of raw frames.
        settings: the plan and the streams.
        colour_flow: keep RGB for the flow method, not grey.
        generator: draws random views (training); without it they come from the seed and the video's id.

    Raises:
        VideoError: the video gives nothing; says why.
    """
    needs: Needs | None = None

    def choose(num_frames: int) -> set[int]:
        nonlocal needs
        views = plan_frames(settings, num_frames, key=video.id, generator=generator)
        needs = needs_of(settings, views, num_frames)
        wanted = set(needs.frames.tolist()) if "rgb" in settings.streams else set()
        return wanted if _has_flow_images(video, needs) else wanted | set(needs.flow_frames.tolist())

    frames, note = collect(video, choose)
    assert needs is not None
    rgb = _stack(
        [cv2.cvtColor(frames[index], cv2.COLOR_BGR2RGB) for index in needs.frames if "rgb" in settings.streams]
    )
    flow_images = _read_flow_images(video, needs) if _has_flow_images(video, needs) else None
    flow_frames: list[Any] = []
    if flow_images is None:
        code = cv2.COLOR_BGR2RGB if colour_flow else cv2.COLOR_BGR2GRAY
        flow_frames = [
            resize_short_side(cv2.cvtColor(frames[index], code), settings.flow_size) for index in needs.flow_frames
        ]
    return Decoded(needs, rgb, _stack(flow_frames), flow_images, note)


def read_frames(video: Video, frames: Iterable[int]) -> NDArray[np.uint8]:
    """Given frames of one video, `(n, H, W, 3)` uint8 RGB; each must be below the number of frames decoded.

    Raises:
        VideoError: the video cannot be read, or is shorter.
    """
    wanted = list(frames)
    found, _ = collect(video, lambda count: {frame for frame in wanted if frame < count})
    if any(frame not in found for frame in wanted):
        raise VideoError(f"frame {max(wanted)} is asked for, the video is shorter", video.path)
    return _stack([cv2.cvtColor(found[frame], cv2.COLOR_BGR2RGB) for frame in wanted])


def count_frames(video: Video) -> int:
    """How many frames decode.

    Raises:
        VideoError: none does; says why.
    """
    count = 0

    def choose(num_frames: int) -> set[int]:
        nonlocal count
        count = num_frames
        return set()

    collect(video, choose)
    return count


def collect(video: Video, choose: Callable[[int], set[int]]) -> tuple[dict[int, Frame], str]:
    """Frames of one video by number.

    Args:
        video: a file or a folder of raw frames; only frames `start` to `end` count, from 0.
        choose: called once with the number of frames, at least 1; returns the numbers wanted.

    Returns:
        The frames wanted, BGR, all of one size, and a note (frames the header promised and that do not decode).

    Raises:
        VideoError: no frame decodes, or the size changes on the way.
    """
    if video.frames is not None:
        frames, note = _collect_raw(video, choose), ""
    else:
        frames, note = _collect_file(video, choose)
    sizes = {frame.shape for frame in frames.values()}
    if len(sizes) > 1:
        shown = " and ".join(sorted(f"{width}x{height}" for height, width, *_ in sizes))
        raise VideoError(f"its frames change size: {shown}", video.path)
    return frames, note


def resize_short_side(image: Any, size: int) -> Any:
    """An image with its short side at `size` pixels (0 leaves it), by area averaging or linear enlargement."""
    height, width = image.shape[:2]
    if not size or min(height, width) == size:
        return image
    scale = size / min(height, width)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=method)


def _stack(images: list[Any]) -> NDArray[np.uint8]:
    return np.stack(images) if images else np.zeros((0, 0, 0), np.uint8)


def _open(path: Path) -> Any:
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


def _collect_file(video: Video, choose: Callable[[int], set[int]]) -> tuple[dict[int, Frame], str]:
    start, end = video.start or 0, video.end
    capture = _open(video.path)
    promised = int(min(max(capture.get(cv2.CAP_PROP_FRAME_COUNT), 0), 1e9))
    held: dict[int, Frame] = {}
    held_bytes = total = 0
    try:
        while (end is None or total < end) and capture.grab():
            if total >= start and held_bytes <= HOLD_BYTES:
                whole, frame = capture.retrieve()
                if not whole:
                    break
                held[total - start] = frame
                held_bytes += frame.nbytes
            elif held:
                held.clear()  # too long to hold: count on, and decode again
            total += 1
    except cv2.error as error:
        raise VideoError(f"decoding failed at frame {total} ({error.err or error})", video.path) from error
    finally:
        capture.release()
    if total <= start:
        raise VideoError(
            f"only {total} frames decode, it starts at {start}" if total else "no frame decodes", video.path
        )
    wanted = choose(total - start)
    if held_bytes > HOLD_BYTES:
        held = _second_pass(video, wanted)
    short = end if end is not None else promised
    note = f"{total - start} frames decode of {short - start} promised" if short > total else ""
    return {index: held[index] for index in wanted}, note


def _second_pass(video: Video, wanted: set[int]) -> dict[int, Frame]:
    """Decode again, keeping the frames wanted."""
    start = video.start or 0
    capture = _open(video.path)
    found: dict[int, Frame] = {}
    try:
        for index in range(start + max(wanted, default=-1) + 1):
            if not capture.grab():
                break
            if index - start in wanted:
                whole, frame = capture.retrieve()
                if whole:
                    found[index - start] = frame
    finally:
        capture.release()
    if len(found) < len(wanted):
        raise VideoError("decodes differently each time", video.path)
    return found


def _collect_raw(video: Video, choose: Callable[[int], set[int]]) -> dict[int, Frame]:
    assert video.frames is not None
    start, end = video.start or 0, video.end if video.end is not None else video.frames.count
    if not video.path.is_dir():
        raise VideoError("no such folder of frames", video.path)
    there = set(os.listdir(video.path))
    first = video.frames.first + start
    # A folder may hold flow images alone; whoever asks for its RGB frames is told which is missing.
    known = [name for name in (video.frames.image, video.frames.flow_x) if name.format(first) in there]
    if start >= end or not known:
        raise VideoError(f"{video.frames.image.format(first)} is not there", video.path)
    count = 1
    while start + count < end and known[0].format(first + count) in there:
        count += 1
    found: dict[int, Frame] = {}
    for index in sorted(choose(count)):
        name = video.frames.image.format(first + index)
        image = cv2.imread(str(video.path / name), cv2.IMREAD_COLOR)
        if image is None:
            raise VideoError(f"{name} is missing or cannot be read", video.path)
        found[index] = np.asarray(image, np.uint8)
    return found


def _flow_names(video: Video, pair: int) -> tuple[str, str]:
    assert video.frames is not None
    number = video.frames.first + (video.start or 0) + pair
    return video.frames.flow_x.format(number), video.frames.flow_y.format(number)


def _has_flow_images(video: Video, needs: Needs) -> bool:
    """Whether flow images lie beside the raw frames: then they are taken, and nothing is computed."""
    return video.frames is not None and len(needs.pairs) > 0 and (video.path / _flow_names(video, 0)[0]).exists()


def _read_flow_images(video: Video, needs: Needs) -> NDArray[np.uint8]:
    pairs: list[Any] = []
    for pair in needs.pairs.tolist():
        images: list[Any] = []
        for name in _flow_names(video, pair):
            image = cv2.imread(str(video.path / name), cv2.IMREAD_GRAYSCALE)
            if image is None:
                raise VideoError(f"{name} is missing or cannot be read", video.path)
            images.append(image)
        pairs.append(np.stack(images))
    return np.stack(pairs)
