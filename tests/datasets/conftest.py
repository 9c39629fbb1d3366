"""Trees of files with given names, and small real clips."""

from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of empty files with the given relative names: indexing reads names, never contents."""

    def make(names: Iterable[str], folder: str = "videos") -> Path:
        root = tmp_path / folder
        made: set[Path] = set()
        for name in names:
            path = root / name
            if path.parent not in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.add(path.parent)
            path.touch()
        return root

    return make


@pytest.fixture
def write_clip() -> Callable[..., Path]:
    """Write a clip of seeded noise as Motion JPEG AVI."""

    def write(path: Path, num_frames: int = 12) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 12, (32, 24))
        for frame in np.random.default_rng(0).integers(0, 255, (num_frames, 24, 32, 3), dtype=np.uint8):
            writer.write(frame)
        writer.release()
        return path

    return write
