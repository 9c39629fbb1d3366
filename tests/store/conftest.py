"""A small data set without videos, its features, and ways to write them."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from avr.store import Scores, StoreWriter

ARRAYS = {"flow/map": (2, 4, 3, 3), "rgb/pooled": (3, 16)}


@dataclass
class Toy:
    """20 videos of 3 classes with 1 to 3 views each; features are float32, drawn from a fixed seed."""

    dataset: SimpleNamespace
    features: dict[str, dict[str, np.ndarray]]
    settings: dict = field(default_factory=lambda: {"backbone": "resnet18", "segments": 3})

    def options(self, **changed):
        given = {"arrays": ARRAYS, "provenance": {"settings": self.settings, "versions": {"torch": "2"}}}
        return {**given, "shard_videos": 6, **changed}

    def write(self, path, *, order=None, **changed):
        """A finished store; video 5 failed, and video 7 has a note."""
        with StoreWriter(path, self.dataset, **self.options(**changed)) as writer:
            for shard in writer.shards():
                self.fill(shard, order)
        return path

    def fill(self, shard, order=None):
        """Add the features of a shard's videos that are not added yet, in this order."""
        ids = [video.id for video in self.dataset.videos]
        for video in filter(set(shard.missing).__contains__, order or ids):
            if video == ids[5]:
                shard.fail(video, "cannot be decoded")
            else:
                note = "2 frames do not decode" if video == ids[7] else ""
                assert shard.add(video, self.features[video], frames=10 + ids.index(video), note=note) is None

    def expected(self, name, ids):
        """What a store must return for these videos: their fp16 rows, one after another."""
        return np.concatenate([self.features[video][name].astype(np.float16) for video in ids])


@pytest.fixture
def toy():
    draw = np.random.default_rng(3)
    videos = [
        SimpleNamespace(id=f"class{i % 3}/clip {i}é", path=f"/data/{i}.avi", label=i % 3, group=f"film{i // 4}")
        for i in range(20)
    ]
    ids = [video.id for video in videos]
    splits = {
        "1": SimpleNamespace(train=ids[:12], test=ids[12:]),
        "two": SimpleNamespace(train=ids[10:15], test=ids[:3]),
    }
    dataset = SimpleNamespace(name="toy", class_names=("walk", "run", "jump"), videos=videos, splits=splits)
    features = {
        video: {name: draw.normal(size=(1 + i % 3, *shape)).astype(np.float32) for name, shape in ARRAYS.items()}
        for i, video in enumerate(ids)
    }
    return Toy(dataset, features)


@pytest.fixture
def toy_store(toy, tmp_path):
    return toy.write(tmp_path / "store")


@pytest.fixture
def toy_scores():
    """Scores of 12 videos, 4 classes, two streams; fresh at each call, with any field changed."""

    def make(**changed):
        draw = np.random.default_rng(5)
        fields = {
            "ids": np.array([f"a/video{i}" for i in range(12)]),
            "labels": np.arange(12) % 4,
            "groups": np.array([f"g{i // 3}" for i in range(12)]),
            "class_names": ("a", "b", "c", "d"),
            "streams": {name: draw.normal(size=(12, 4)).astype(np.float32) for name in ("rgb", "flow")},
            "kind": "logits",
            "split": "1",
            "fold": np.full(12, -1, dtype=np.int32),
            "head": "linear",
            "dataset": "toy",
            "provenance": {"seed": 0},
        }
        return Scores(**{**fields, **changed})

    return make
