"""A small store that stands for an extracted data set: appearance tells two halves of the classes apart, motion the
other two, so that only both together tell all four."""

from pathlib import Path

import numpy as np
import pytest

from avr.datasets import Dataset, Split, Video
from avr.store import StoreWriter

SEGMENTS, WIDTH = 4, 12


def write_store(folder: Path, *, views: int = 1, class_of_person: bool = False, **made: str) -> Path:
    """Write a store of 80 videos and 4 classes; a group ("person", of 8) has a look of its own in both streams.

    With `class_of_person` a video's class is its person's and shows in nothing but the person's look. `made` are more
    of the settings that the store was made with, such as its backbone.
    """
    videos, people, noise = 80, 8, 0.5
    random = np.random.default_rng(0)
    labels = np.arange(videos) % 4
    person = (np.arange(videos) // 4) % people
    labels = person % 4 if class_of_person else labels
    looks = {stream: random.normal(size=(people, WIDTH)) * 0.3 for stream in ("rgb", "flow")}
    meaning = {"rgb": labels // 2, "flow": labels % 2}
    centres = {stream: random.normal(size=(2, WIDTH)) for stream in looks}
    listed = tuple(
        Video(id=f"class{label}/v{i:03d}", path=Path(f"v{i:03d}.avi"), label=int(label), group=f"p{person[i]}")
        for i, label in enumerate(labels)
    )
    left_out = {"1": ("p0", "p1"), "2": ("p2", "p3")}
    splits = {
        name: Split(
            name=name,
            train=tuple(v.id for v in listed if v.group not in out),
            test=tuple(v.id for v in listed if v.group in out),
        )
        for name, out in left_out.items()
    }
    dataset = Dataset("toy", folder, ("a", "b", "c", "d"), listed, splits)
    arrays = {"rgb/pooled": (SEGMENTS, WIDTH), "flow/pooled": (SEGMENTS, WIDTH), "rgb/map": (SEGMENTS, WIDTH, 2, 2)}
    provenance = {"settings": {"made": "by the tests", **made}}
    features = {}
    for i, video in enumerate(listed):
        made = features[video.id] = {}
        for stream in ("rgb", "flow"):
            base = centres[stream][meaning[stream][i]] + looks[stream][person[i]]
            base = 5 * looks[stream][person[i]] if class_of_person else base
            made[f"{stream}/pooled"] = base + noise * random.normal(size=(views, SEGMENTS, WIDTH))
        made["rgb/map"] = np.repeat(made["rgb/pooled"], 4, axis=-1).reshape(views, SEGMENTS, WIDTH, 2, 2)
    with StoreWriter(folder, dataset, arrays=arrays, provenance=provenance, shard_videos=16) as writer:
        for shard in writer.shards():
            for video in shard.video_ids:
                shard.add(video, features[video], frames=30)
    return folder


@pytest.fixture(scope="session")
def make_store():
    """`write_store`, for tests that want one of their own."""
    return write_store


@pytest.fixture(scope="session")
def toy_store(tmp_path_factory) -> Path:
    """80 videos, 8 persons, one view; splits "1" and "2"."""
    return write_store(tmp_path_factory.mktemp("store") / "toy")


@pytest.fixture(scope="session")
def toy_store_of_views(tmp_path_factory) -> Path:
    """The same with three views a video."""
    return write_store(tmp_path_factory.mktemp("store") / "views", views=3)
