"""Clips that the tests make: a textured square that moves, in Motion JPEG, and a data set of them."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from avr.datasets import Dataset, Split, Video

sys.path.insert(0, str(Path(__file__).parent))

HEIGHT, WIDTH = 48, 64


def draw_frames(num_frames: int, *, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(T, H, W, 3) uint8 BGR: a smooth texture on which a square with a texture of its own moves."""
    generator = np.random.default_rng(seed)
    ground, square = (
        cv2.GaussianBlur(generator.integers(0, 256, (side_y, side_x, 3), dtype=np.uint8), (5, 5), 1.5)
        for side_y, side_x in ((height, width), (16, 16))
    )
    frames = np.repeat(ground[None], num_frames, axis=0)
    step_x, step_y = generator.integers(1, 4, 2)
    for index, frame in enumerate(frames):
        x, y = (step_x * index) % (width - 16), (step_y * index) % (height - 16)
        frame[y : y + 16, x : x + 16] = square
    return frames


def write_clip(path: Path, frames: np.ndarray) -> Path:
    """Encode BGR frames as Motion JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames.shape[1:3]
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture(autouse=True, scope="session")
def _one_commit():
    """Stores that are compared byte by byte say the same commit, though someone commits while the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avr.extract.run._commit", lambda folder: "")
        yield


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Dataset:
    """Six clips of two classes, 9 to 24 frames, two sizes."""
    root = tmp_path_factory.mktemp("videos")
    videos = []
    for index, num_frames in enumerate((20, 9, 24, 12, 15, 18)):
        label, name = index % 2, f"clip{index}"
        size = {"height": 40, "width": 72} if index == 3 else {}
        path = write_clip(root / f"class{label}" / f"{name}.avi", draw_frames(num_frames, seed=index, **size))
        videos.append(Video(f"class{label}/{name}", path, label, f"group{index // 2}"))
    ids = tuple(video.id for video in videos)
    return Dataset("tiny", root, ("class0", "class1"), tuple(videos), {"1": Split("1", ids[:4], ids[4:])})
