"""Stores and scores of every format there has been stay readable. Adding a version is adding a folder.

Each `tests/data/store-v<n>` holds a store's folder, its packed file and perhaps a score file, made by `make` below at
that version and never again. Their numbers follow a rule, so that this test needs no other copy of them. v1 has two
arrays, v1-2 four (with versions in its provenance), v1-3 also notes and a plan that its index can tell.
"""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from avr.store import FeatureStore, Scores, StoreWriter, pack, read_scores, repair, verify, write_scores

DATA = Path(__file__).parents[1] / "data"
ARRAYS = {"flow/map": (2, 3, 2, 2), "flow/pooled": (2, 5), "rgb/map": (2, 3, 2, 2), "rgb/pooled": (2, 5)}
PROVENANCE = {"settings": {"backbone": "resnet18"}, "versions": {"avr": "0.1", "torch": "2.0"}, "commit": "4da5a31"}
DIGESTS = {  # as the code of before gave them
    "store-v1": "029f3506d5a1714e5f68714c33a1e74f8924efecb56946e859906e40a39e72dd",
    "store-v1-2": "0ee761b6800ce5fe80de05860262f6c77a4d8c094a33b5f8b203f3dbe7607633",
    "store-v1-3": "0ee761b6800ce5fe80de05860262f6c77a4d8c094a33b5f8b203f3dbe7607633",
}


def features(number, shape):
    """Video `number` has 1 + number % 2 views; value j of view v is 8·number + 4·v + j / 8, exact in fp16."""
    views = 1 + number % 2
    values = np.arange(int(np.prod(shape))) / 8
    return np.stack([8 * number + 4 * view + values for view in range(views)]).reshape(views, *shape)


def dataset():
    videos = [
        SimpleNamespace(id=f"{'ab'[i % 2]}/v{i} é!", path=f"/v{i}.avi", label=i % 2, group=f"g{i}") for i in range(7)
    ]
    ids = [video.id for video in videos]
    splits = {"1": SimpleNamespace(train=ids[:4], test=ids[4:]), "two": SimpleNamespace(train=ids[2:5], test=ids[:2])}
    return SimpleNamespace(name="old", class_names=("a", "b"), videos=videos, splits=splits)


def write(folder, provenance=PROVENANCE):
    """The store of this version, or what is missing of it; returns the numbers of the shards written."""
    ids = [video.id for video in dataset().videos]
    written = []
    with StoreWriter(folder, dataset(), arrays=ARRAYS, provenance=provenance, shard_videos=4) as writer:
        for shard in writer.shards():
            for video in shard.video_ids:
                number = ids.index(video)
                made = {name: features(number, shape) for name, shape in ARRAYS.items()}
                if number == 2:
                    shard.fail(video, "cut")
                else:
                    shard.add(video, made, frames=30 + number, note="3 frames lost" if number == 5 else "")
            written.append(shard.number)
    return written


def make(folder):
    """Write the files of this version (run as a script, with the new folder)."""
    write(folder / "store")
    ids = [video.id for video in dataset().videos]
    (folder / "store" / ".lock").unlink()
    pack(folder / "store", folder / "packed.h5")
    scores = Scores(
        ids=np.array(ids),
        labels=np.arange(7) % 2,
        groups=np.array([f"g{i}" for i in range(7)]),
        class_names=("a", "b"),
        streams={"rgb": np.arange(14, dtype=np.float32).reshape(7, 2) / 4, "fused": np.ones((7, 2), np.float32)},
        kind="logits",
        split="1",
        fold=np.array([0, 1, 0, 1, -1, -1, -1]),
        head="linear",
        dataset="old",
        provenance={"seed": 3},
        fused="fused",
    )
    write_scores(folder / "scores.h5", scores)


VERSIONS = sorted(DATA.glob("store-v*"))


def test_the_first_version_is_there():
    assert [path.name for path in VERSIONS][:1] == ["store-v1"]


@pytest.mark.parametrize("form", ["store", "packed.h5"])
@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_an_old_store_reads_as_ever(version, form):
    with FeatureStore(version / form) as store:
        assert store.ids.tolist() == [f"{'ab'[i % 2]}/v{i} é!" for i in range(7) if i != 2]
        assert store.labels.tolist() == [0, 1, 1, 0, 1, 0]
        assert store.groups.tolist() == ["g0", "g1", "g3", "g4", "g5", "g6"]
        assert store.frames.tolist() == [30, 31, 33, 34, 35, 36]
        assert store.failures == [{"id": "a/v2 é!", "reason": "cut"}]
        assert store.provenance["settings"] == {"backbone": "resnet18"}
        assert store.digest == DIGESTS[version.name]
        assert store.split("1")[0].tolist() == [True] * 3 + [False] * 3
        assert store.notes == ([{"id": "b/v5 é!", "note": "3 frames lost"}] if version.name == "store-v1-3" else [])
        assert len(store.arrays) == (2 if version.name == "store-v1" else 4)
        for name in store.arrays:
            shape = ARRAYS[name]
            expected = np.concatenate([features(number, shape) for number in (0, 1, 3, 4, 5, 6)])
            np.testing.assert_array_equal(store.read_whole(*name.split("/")), expected)
            np.testing.assert_array_equal(
                store.read(*name.split("/"), [4, 2]), np.concatenate([features(5, shape), features(3, shape)])
            )
    assert verify(version / form)["ok"]


@pytest.mark.parametrize("version", ["store-v1-2", "store-v1-3"])
def test_an_old_store_is_continued(tmp_path, version):
    """Shards of before, which name their plan by its file's hash, are taken, and a missing one is made."""
    store = shutil.copytree(DATA / version / "store", tmp_path / "store")
    (store / "shard-00001.h5").unlink()
    assert write(store) == [1]
    assert verify(store)["ok"]
    assert FeatureStore(store).digest == DIGESTS[version]


def test_an_old_store_whose_plan_is_lost_is_continued(tmp_path):
    """Its index does not tell the failed video's label, so the same settings and versions must."""
    store = shutil.copytree(DATA / "store-v1-2" / "store", tmp_path / "store")
    plan = (store / "plan.h5").read_bytes()
    (store / "plan.h5").write_bytes(plan[:3000])
    assert repair(store)["dropped"] == ["plan.h5"]
    assert write(store, json.loads(json.dumps(FeatureStore(store).provenance))) == []
    assert (store / "plan.h5").read_bytes() == plan
    assert verify(store)["ok"]


@pytest.mark.parametrize(
    "version", [path for path in VERSIONS if (path / "scores.h5").exists()], ids=lambda path: path.name
)
def test_old_scores_read_as_ever(version):
    scores = read_scores(version / "scores.h5")
    assert scores.ids[2] == "a/v2 é!"
    assert scores.fold.tolist() == [0, 1, 0, 1, -1, -1, -1]
    assert scores.streams["rgb"][3].tolist() == [1.5, 1.75]
    assert scores.fused == "fused"
    assert (scores.head, scores.dataset, scores.split, scores.kind) == ("linear", "old", "1", "logits")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
