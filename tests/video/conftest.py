"""Small clips in Motion JPEG, and a folder of raw frames with flow images."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from avr.datasets import RawFrames, Video

HEIGHT, WIDTH = 48, 64


def draw_frames(num_frames: int) -> np.ndarray:
    """(T, H, W, 3) uint8 BGR: smooth noise, anew in each frame."""
    noise = np.random.default_rng(0).integers(0, 256, (num_frames, HEIGHT, WIDTH, 3), dtype=np.uint8)
    return np.stack([cv2.GaussianBlur(frame, (5, 5), 1.5) for frame in noise])


@pytest.fixture
def write_clip() -> Callable[..., Path]:
    """A function that writes a clip: `write_clip(path, num_frames)`."""

    def write(path: Path, num_frames: int = 12) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (WIDTH, HEIGHT))
        for frame in draw_frames(num_frames):
            writer.write(frame)
        writer.release()
        return path

    return write


@pytest.fixture
def clip(tmp_path, write_clip) -> Callable[..., Video]:
    """A function that makes a clip and gives it as a Video: `clip("name", num_frames)`."""

    def make(name: str = "clip", num_frames: int = 20) -> Video:
        return Video(name, write_clip(tmp_path / f"{name}.avi", num_frames), 0, "group")

    return make


@pytest.fixture
def folder(tmp_path) -> tuple[Video, np.ndarray]:
    """Raw frames counted from 1, with flow images, lossless so that they can be compared."""
    place = tmp_path / "raw"
    place.mkdir()
    frames = draw_frames(12)
    for number, frame in enumerate(frames, 1):
        cv2.imwrite(str(place / f"img_{number:05d}.png"), frame)
        if number < 12:
            for axis, value in (("x", number), ("y", 100 + number)):
                cv2.imwrite(str(place / f"flow_{axis}_{number:05d}.png"), np.full((30, 40), value, np.uint8))
    names = {"image": "img_{:05d}.png", "flow_x": "flow_x_{:05d}.png", "flow_y": "flow_y_{:05d}.png"}
    return Video("raw", place, 0, "g", frames=RawFrames(12, 1, **names)), frames


@pytest.fixture
def overstate() -> Callable[[Path, int], None]:
    """A function that makes an AVI's header promise more frames, in both places that say it."""

    def write(path: Path, num_frames: int) -> None:
        data, count = bytearray(path.read_bytes()), num_frames.to_bytes(4, "little")
        main, stream = data.index(b"avih") + 8, data.index(b"strh") + 8
        data[main + 16 : main + 20] = count  # dwTotalFrames
        data[stream + 32 : stream + 36] = count  # dwLength
        path.write_bytes(data)

    return write
