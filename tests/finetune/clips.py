"""Tiny clips whose class is a colour and a direction, a store of them, and a trained run: made in seconds."""

from pathlib import Path

import cv2
import numpy as np

from avr.datasets import Dataset, Split, Video
from avr.extract import extract, read_streams
from avr.heads import train_run

CLASSES = ("blue-left", "blue-right", "red-left", "red-right")
SCENES = 6  # four of them train
SETTINGS = read_streams(
    ["rgb,flow"],
    {
        "backbone": "squeezenet1_1",
        "weights": "random",
        "layers": ("pooled",),
        "segments": 3,
        "stack": 2,
        "resize": 40,
        "crop": 36,
        "seed": 3,
    },
)


def write_clip(path, label, seed, *, num_frames=14, size=(40, 52)):
    """A textured square that moves 2 pixels a frame."""
    generator = np.random.default_rng([label, seed])
    texture = generator.integers(60, 200, (8, 8, 1), dtype=np.uint8).repeat(2, 0).repeat(2, 1).repeat(3, 2).copy()
    texture[..., 0 if label < 2 else 2] = 250
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, size[::-1])
    for index in range(num_frames):
        frame = np.full((*size, 3), 90, np.uint8)
        left = 4 + 2 * index if label % 2 else size[1] - 20 - 2 * index
        top = 6 + seed % 12
        left = int(np.clip(left, 0, size[1] - 16))
        frame[top : top + 16, left : left + 16] = texture
        writer.write(frame)
    writer.release()


def make_dataset(root: Path) -> Dataset:
    videos = []
    for label, name in enumerate(CLASSES):
        for scene in range(SCENES):
            path = root / name / f"scene{scene}.avi"
            write_clip(path, label, scene)
            videos.append(Video(f"{name}/scene{scene}", path, label, f"scene{scene}"))
    parts = {
        name: Split(
            name,
            tuple(v.id for v in videos if int(v.group[-1]) % 3 != number),
            tuple(v.id for v in videos if int(v.group[-1]) % 3 == number),
        )
        for number, name in enumerate(["1", "2"])
    }
    return Dataset("tiny", root, CLASSES, tuple(videos), parts)


def make_run(folder: Path, dataset: Dataset, head: str, *, folds: int = 0, name: str = "", **options) -> Path:
    """A store of the clips and a head trained on it for a moment."""
    if not (folder / "store").exists():
        extract(dataset, folder / "store", streams=SETTINGS)
    options = {"training": {"epochs": 2, "min_steps": 0, "batch_size": 8, "optimizer": "adam"}, **options}
    return train_run(folder / "store", head, folds=folds, out=folder / (name or head), device="cpu", **options).folder
