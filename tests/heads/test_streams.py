"""Any streams: a store's kinds say what heads read, and several stores are one, joined by video."""

import json
from pathlib import Path

import numpy as np
import pytest

from avr.cli import main
from avr.core import UsageError
from avr.datasets import Dataset, Split, Video
from avr.heads import choose_layers, head_class, load_run, train_run
from avr.store import FeatureStore, StoreWriter

QUICK = {"epochs": 5}
VIDEOS = 60


def dataset_of(folder: Path) -> Dataset:
    """60 videos of 4 classes, a third of them tests."""
    videos = tuple(Video(f"c{i % 4}/v{i:02d}", Path(f"v{i:02d}.avi"), i % 4, f"g{i // 4}") for i in range(VIDEOS))
    ids = tuple(video.id for video in videos)
    return Dataset("toy", folder, ("a", "b", "c", "d"), videos, {"1": Split("1", ids[20:], ids[:20])})


def write_stream(
    folder: Path, name: str, kind: str, shapes: dict[str, tuple[int, ...]], *, says: int, without: int = -1
) -> None:
    """A stream of a store, whose first channel says the class's bit `says`; one video has no features, if named."""
    random, dataset = np.random.default_rng(says), dataset_of(folder)
    arrays = {f"{name}/{layer}": shape for layer, shape in shapes.items()}
    settings = {"kind": kind, "backbone": "vgg16", "made": f"{name} by the tests"}
    with StoreWriter(folder / name, dataset, arrays=arrays, provenance={"settings": settings}) as writer:
        for shard in writer.shards():
            for video in shard.video_ids:
                number = int(video[-2:])
                if number == without:
                    shard.fail(video, "it is damaged")
                    continue
                features = {array: random.normal(size=(1, *shape)) for array, shape in arrays.items()}
                for values in features.values():
                    values[..., 0] += 6 * (number % 4 >> says & 1)
                shard.add(video, features, frames=30)


@pytest.fixture
def stores(tmp_path, monkeypatch):
    """A store of the streams "look" (kind rgb) and "slow" (kind flow), and one of "fast" (kind flow), of unequal N."""
    monkeypatch.chdir(tmp_path)
    one, two = tmp_path / "one", tmp_path / "two"
    write_stream(one, "look", "rgb", {"pooled": (4, 6), "conv5_3": (4, 6, 2, 2)}, says=0)
    write_stream(one, "slow", "flow", {"pooled": (4, 6), "conv4_2": (4, 6, 2, 2), "tokens": (4, 3, 6)}, says=1)
    write_stream(two, "fast", "flow", {"pooled": (2, 5)}, says=1, without=30)
    return one, two


def test_a_head_reads_the_layer_of_a_streams_kind_appearance_first(stores):
    def chosen(head, paths, **more):
        with FeatureStore(paths) as store:
            return choose_layers(store, head_class(head), **{"streams": (), "layers": {}} | more)

    assert list(chosen("temporal-pyramid", stores[0]).items()) == [("look", "conv5_3"), ("slow", "conv4_2")]
    assert list(chosen("linear", stores)) == ["look", "fast", "slow"]
    assert list(chosen("linear", stores, streams=("slow", "look"))) == ["slow", "look"]
    with pytest.raises(
        UsageError,
        match=r"no fast/conv4_2; of fast it holds pooled: read --stream look,slow alone, or extract it: avr extract … "
        r"--stream fast-conv4_2=flow --layers conv4_2 --out features/toy-conv4_2, and read --stream look,fast-conv4_2,",
    ):
        chosen("temporal-pyramid", stores)


def test_several_stores_are_one_joined_by_video(stores, runner):
    arguments = ["--store", str(stores[0]), "--store", str(stores[1]), "--folds", "0"]
    done = runner.invoke(main, ["heads", "train", "linear", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert list(printed["layers"]) == ["look", "fast", "slow"]
    right = {name: row["top1"] for name, row in printed["summary"].items()}
    fused = [right.pop(name) for name in ("average", "multiply")]
    assert min(fused) >= max(right.values()) >= 0.5  # a stream tells two pairs of classes apart
    about = json.loads(Path(printed["run"], "run.json").read_text())["store"]
    assert about["paths"] == [str(path) for path in stores]
    assert about["path"] == str(stores[0])
    assert {stream: kept["made"] for stream, kept in about["streams"].items()} == {
        stream: f"{stream} by the tests" for stream in ("look", "fast", "slow")
    }
    run = load_run(Path(printed["run"]))
    assert run.metadata["store"] == about
    features = {stream: np.zeros((1, *shape)) for stream, shape in run.head.shapes.items()}
    assert run.predict(features)["average"].shape == (4,)
    done = runner.invoke(main, ["heads", "train", "stfn", *arguments])
    assert done.exit_code == 2
    assert "their lengths differ: look 4, fast 2, slow 4" in done.stderr
    done = runner.invoke(main, ["heads", "train", "attentive", *arguments, "--stream", "slow", "--layer", "tokens"])
    assert done.exit_code == 0, done.output


def test_videos_that_lack_only_what_is_not_read_are_kept_and_the_digest_is_of_what_is_read(stores):
    with FeatureStore(stores) as store:
        assert len(store) == VIDEOS - 1
    own = {"streams": ("look", "slow"), "folds": 0, "training": QUICK}
    alone = train_run(stores[0], "linear", out=Path("alone"), **own)
    beside = train_run(stores, "linear", out=Path("beside"), **own)
    assert alone.summary == beside.summary
    digests = {name: json.loads(Path(name, "run.json").read_text())["store"]["digest"] for name in ("alone", "beside")}
    assert digests["alone"] == digests["beside"]


def test_early_svm_reads_several_stores(stores, runner):
    arguments = ["--store", str(stores[0]), "--store", str(stores[1]), "--bootstrap", "100", "--json"]
    done = runner.invoke(main, ["fuse", "early-svm", *arguments])
    assert done.exit_code == 0, done.output
    rows = {row["name"]: row["top1"] for row in json.loads(done.stdout)["rows"]}
    assert rows["early-svm"] >= 0.8 > max(rows[stream] for stream in ("look", "fast", "slow"))
