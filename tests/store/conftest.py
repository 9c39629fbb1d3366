"""A small data set without videos, its features, and ways to write them."""

import hashlib
import json
import shutil
import zlib
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

    def write_part(self, store, stream, **changed):
        """The part of one stream, with settings of its own."""
        arrays = {name: rows.shape[1:] for name, rows in self.features["class0/clip 0é"].items() if stream in name}
        options = {"arrays": arrays, "provenance": {"settings": {"kind": stream, "of": stream}}, **changed}
        self.write(store / stream, **options)

    def fill(self, shard, order=None):
        """Add the features of a shard's videos that are not added yet, in this order."""
        ids = [video.id for video in self.dataset.videos]
        for video in filter(set(shard.missing).__contains__, order or ids):
            if video == ids[5]:
                shard.fail(video, "cannot be decoded")
            else:
                note = "2 frames do not decode" if video == ids[7] else ""
                features = {name: self.features[video][name] for name in shard.plan.arrays}
                assert shard.add(video, features, frames=10 + ids.index(video), note=note) is None

    def expected(self, name, ids):
        """What a store must return for these videos: their fp16 rows, one after another."""
        return np.concatenate([self.features[video][name].astype(np.float16) for video in ids])


def make_toy():
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
def toy():
    return make_toy()


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A finished store, written once, for all tests that only read it."""
    return make_toy().write(tmp_path_factory.mktemp("written") / "store")


@pytest.fixture(scope="session")
def written_parts(tmp_path_factory):
    """A finished store of two parts, for all tests that only read it."""
    store = tmp_path_factory.mktemp("written") / "parts"
    for stream in ("flow", "rgb"):
        make_toy().write_part(store, stream)
    return store


@pytest.fixture
def toy_parts(written_parts, tmp_path):
    """A copy of it that a test may change."""
    return shutil.copytree(written_parts, tmp_path / "parts", ignore=shutil.ignore_patterns(".lock"))


@pytest.fixture
def toy_store(written, tmp_path):
    """A copy of it that a test may damage."""
    return shutil.copytree(written, tmp_path / "store", ignore=shutil.ignore_patterns(".lock"))


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


def sealed(fields, content, block):
    """A file's bytes with a seal of these fields, as store/README.md tells it."""
    text = b"avr-store 1\n" + json.dumps(fields).encode() + b"\n"
    text += b"%08x\n" % zlib.crc32(text)
    assert len(text) <= block
    return text.ljust(block, b"\0") + content


def sealed_again(content, change):
    """Change what lies behind the seal of a file and seal it again, so that every hash fits."""
    fields = json.loads(content.split(b"\n", 2)[1])
    block = content.index(b"\x89HDF\r\n\x1a\n")
    made = change(content[block:])
    fields["size"] = block + len(made)
    fields["rows"] = [[start, stop] for start, stop in fields["rows"] if stop <= fields["size"]]
    edges = [block, *(edge for pair in fields["rows"] for edge in pair), fields["size"]]
    structure = b"".join(
        made[start - block : stop - block] for start, stop in zip(edges[::2], edges[1::2], strict=True)
    )
    fields["sha256"] = hashlib.sha256(made).hexdigest()
    fields["structure_sha256"] = hashlib.sha256(structure).hexdigest()
    return sealed(fields, made, block)


@pytest.fixture
def with_seal():
    """A file made of the fields of a seal, what lies behind it, and where that begins."""
    return sealed


@pytest.fixture
def reseal():
    """A file sealed again after a change of what lies behind its seal, as a liar would."""
    return sealed_again
