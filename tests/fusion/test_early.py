"""early-svm on a store: what it reads, against liblinear on the same means."""

from types import SimpleNamespace

import numpy as np
import pytest

from avr.cli import main
from avr.core import UsageError
from avr.fusion import EarlySvm, fuse, fuse_features, load_fuser, pooled_features
from avr.store import FeatureStore, StoreWriter, read_record, read_scores


@pytest.fixture
def store(tmp_path):
    """60 videos of 3 classes with 1 to 3 views, rgb of width 12 and flow of width 8; and the vectors expected of it."""
    random = np.random.default_rng(0)
    videos = [
        SimpleNamespace(id=f"class{i % 3}/v{i}", path=f"/data/{i}.avi", label=i % 3, group=f"film{i // 5}")
        for i in range(60)
    ]
    ids = [video.id for video in videos]
    dataset = SimpleNamespace(
        name="toy",
        class_names=("jump", "run", "walk"),
        videos=videos,
        splits={"1": SimpleNamespace(train=ids[:40], test=ids[40:])},
    )
    arrays = {"rgb/pooled": (2, 12), "flow/pooled": (2, 8), "flow/last": (2, 3, 2, 2)}
    features, means = {}, {name: [] for name in arrays}
    for i, video in enumerate(videos):
        rows = features[video.id] = {name: random.normal(size=(1 + i % 3, *shape)) for name, shape in arrays.items()}
        for name, values in rows.items():
            values[:, :, video.label] += 1
            rows[name] = values.astype(np.float16)
            means[name].append(rows[name].astype(float).mean(axis=(0, 1, *range(3, values.ndim))))
    with StoreWriter(tmp_path / "features" / "toy", dataset, arrays=arrays, provenance={"settings": {}}) as writer:
        for shard in writer.shards():
            for video in shard.video_ids:
                shard.add(video, features[video], frames=10)
    return tmp_path, {name: np.array(rows) for name, rows in means.items()}


def test_early_svm_is_liblinear_on_the_means_of_views_and_segments(store, monkeypatch):
    from sklearn.svm import LinearSVC

    folder, means = store
    monkeypatch.chdir(folder)
    result = fuse_features()
    both = [means["rgb/pooled"], means["flow/pooled"]]
    rows = np.concatenate([mean / np.linalg.norm(mean, axis=1, keepdims=True) for mean in both], axis=1)
    y = np.arange(60) % 3
    machine = LinearSVC(C=1.0, dual=False, random_state=0).fit(rows[:40], y[:40])
    assert [row["name"] for row in result.rows] == ["rgb", "flow", "average", "multiply", "early-svm"]
    assert result.rows[-1]["top1"] == pytest.approx(machine.score(rows[40:], y[40:]))
    fused = read_scores(result.out / "scores.h5")
    margins = machine.decision_function(rows[40:])
    expected = np.exp(margins) / np.exp(margins).sum(axis=1, keepdims=True)
    # liblinear's own tolerance; where it stops depends on the columns of zeros that fill up the narrower stream.
    np.testing.assert_allclose(fused.streams["fused"], expected, atol=1e-3)
    assert load_fuser(result.out).shape_ == [2, 12]


def test_pooled_features_are_the_means_of_views_segments_and_positions(store):
    folder, means = store
    with FeatureStore(folder / "features" / "toy") as opened:
        vectors = pooled_features(opened, {"rgb": "pooled", "flow": "last"})
    assert vectors.shape == (60, 2, 12)
    np.testing.assert_allclose(vectors[:, 0], means["rgb/pooled"], rtol=1e-12)
    np.testing.assert_allclose(vectors[:, 1, :3], means["flow/last"], rtol=1e-12)
    assert not vectors[:, 1, 3:].any()


def test_labels_that_are_names_come_back_as_names(store):
    names, y = np.array(["walk", "run", "jump"]), np.arange(60) % 3
    X = np.stack([store[1]["rgb/pooled"], np.pad(store[1]["flow/pooled"], ((0, 0), (0, 4)))], axis=1)
    by_name, by_number = EarlySvm().fit(X, names[y]), EarlySvm().fit(X, 2 - y)
    assert by_name.classes_.tolist() == ["jump", "run", "walk"]
    assert by_name.predict(X).tolist() == by_name.classes_[by_number.predict(X)].tolist()
    assert by_name.score(X, names[y]) == by_number.score(X, 2 - y) > 0.9


def test_early_svm_on_the_command_line(store, monkeypatch, runner):
    monkeypatch.chdir(store[0])
    done = runner.invoke(main, ["fuse", "early-svm", "--bootstrap", "100"])
    assert done.exit_code == 0, done.output
    assert "written: runs/fuse-early-svm-1" in done.stdout
    done = runner.invoke(main, ["fuse", "early-svm", "--config", "runs/fuse-early-svm-1", "--C", "2"])
    assert "written: runs/fuse-early-svm-2" in done.stdout, done.output
    before, after = (read_record(store[0] / f"runs/fuse-early-svm-{k}") for k in (1, 2))
    assert before.differences(after) == "options.C 1.0 → 2.0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["scores.h5"],
            "error: early-svm reads features, not scores: leave out scores.h5, and name stores with --store\n",
        ),
        (["--folds", "7"], "No such option '--folds'"),
        (["--repeats", "3"], "No such option '--repeats'"),
        (["--force-random-folds"], "No such option '--force-random-folds'"),
    ],
)
def test_early_svm_takes_no_scores_and_no_folds(store, monkeypatch, runner, arguments, message):
    monkeypatch.chdir(store[0])
    done = runner.invoke(main, ["fuse", "early-svm", *arguments, "--store", "features/toy"])
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert not (store[0] / "runs").exists()


def test_early_svm_of_what_is_not_there(store, monkeypatch):
    monkeypatch.chdir(store[0])
    with pytest.raises(UsageError, match=r"unknown stream.* 'audio'; known: "):
        fuse_features(streams=["audio"])
    with pytest.raises(UsageError, match="features/toy: no split '9'; known: 1"):
        fuse_features(split="9")
    with pytest.raises(UsageError, match=r"reads features, not scores: .*`avr.fusion.fuse_features`"):
        fuse("early-svm")


def test_early_svm_of_a_store_that_lacks_shards_says_so(store, monkeypatch):
    monkeypatch.chdir(store[0])

    class Lacking(FeatureStore):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            self.lacking = "rgb: 1 of 2 shards"

    monkeypatch.setattr("avr.fusion.early_svm.FeatureStore", Lacking)
    result = fuse_features()
    assert read_scores(result.out / "scores.h5").provenance["store"]["lacking"] == "rgb: 1 of 2 shards"
    assert read_record(result.out).lacking == "rgb: 1 of 2 shards"
