"""Score files: what is written comes back; scores that make no sense are refused; ids that meet."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from avr.core import UsageError, WorkError
from avr.store import (
    TEST_VIDEO,
    TRAINED_ON,
    FeatureStore,
    Scores,
    Videos,
    check_scores,
    export,
    is_test,
    match_ids,
    read_scores,
    write_scores,
)


def same(first, second):
    for name, value in vars(first).items():
        other = getattr(second, name)
        if name == "streams":
            assert list(value) == list(other)
            for stream in value:
                np.testing.assert_array_equal(value[stream], other[stream])
        else:
            np.testing.assert_array_equal(value, other)


def test_scores_come_back(toy_scores, tmp_path):
    scores = toy_scores(fused="flow", fold=np.arange(12) % 3 - 1, groups=np.array(["é g"] * 12))
    path = write_scores(tmp_path / "deep" / "scores.h5", scores)
    found = read_scores(path)
    assert found.path == str(path)
    same(replace(found, path=""), scores)
    assert write_scores(tmp_path / "again.h5", scores).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"ids": np.array(["a"] * 12)}, "ids that repeat: a", id="repeat"),
        pytest.param({"labels": np.arange(12)}, "labels 0 … 11 for 4 classes", id="labels"),
        pytest.param({"labels": np.arange(11)}, "11 labels for 12 videos", id="length"),
        pytest.param({"streams": {}}, "no stream", id="no stream"),
        pytest.param({"streams": {"rgb": np.zeros((12, 3))}}, r"stream rgb: shape \(12, 3\)", id="shape"),
        pytest.param({"streams": {"rgb": np.full((12, 4), np.nan)}}, "rgb: NaN or infinite scores of 12", id="nan"),
        pytest.param({"streams": {"rgb": np.full((12, 4), np.inf)}}, "first a/video0", id="inf"),
        pytest.param({"kind": "probabilities"}, "no probabilities for 12 videos", id="kind"),
        pytest.param({"kind": "logit"}, "write 'logits' or 'probabilities'", id="unknown kind"),
        pytest.param({"fused": "both"}, "fused names no stream", id="fused"),
        pytest.param(
            {"class_names": ("a",), "streams": {"x": np.zeros((12, 1))}, "labels": np.zeros(12, int)},
            "1 class",
            id="one",
        ),
        pytest.param({"streams": {"a/b": np.zeros((12, 4))}}, "stream 'a/b' is no name", id="name"),
    ],
)  # fmt: skip
def test_scores_without_sense_are_refused(toy_scores, tmp_path, changed, message):
    with pytest.raises(UsageError, match=message):
        write_scores(tmp_path / "scores.h5", toy_scores(**changed))
    assert not (tmp_path / "scores.h5").exists()


def test_other_files_are_no_scores(toy_store, tmp_path):
    with pytest.raises(UsageError, match="holds 'index', not scores"):
        read_scores(toy_store / "index.h5")
    with pytest.raises(UsageError, match="cannot be opened"):
        read_scores(tmp_path / "nothing.h5")
    (tmp_path / "text.h5").write_text("id,score\n")
    with pytest.raises(UsageError, match="no file of avr's"):
        read_scores(tmp_path / "text.h5")


def test_a_cut_score_file_is_damaged(toy_scores, tmp_path):
    path = write_scores(tmp_path / "scores.h5", toy_scores())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WorkError, match="damaged"):
        read_scores(path)


@pytest.mark.parametrize(
    ("known", "others", "expected"),
    [
        pytest.param(["a", "b"], ["b", "a"], {0: 1, 1: 0}, id="exact"),
        pytest.param(["x/a!.avi", "x/b"], ["x/a_", "x/b.mp4"], {0: 0, 1: 1}, id="sanitised and suffix"),
        pytest.param(
            ["push/Dodge_-_80_ft.!_push_1.avi", "a/b#c[d]+e&f(g).MP4", "v.1.2"],
            ["v_1_2", "a/b_c_d__e_f_g_", "push/Dodge___80_ft___push_1"],
            {0: 2, 1: 1, 2: 0},
            id="every sign",
        ),
        pytest.param(["a!", "a?"], ["a_"], {}, id="ambiguous here"),
        pytest.param(["a_"], ["a!", "a?"], {}, id="ambiguous there"),
        pytest.param(["a!", "a?"], ["a!", "a_"], {0: 0}, id="what is left of an ambiguous pair is not guessed"),
        pytest.param(["x/a", "y/b"], ["a", "b"], {0: 0, 1: 1}, id="folder missing"),
        pytest.param(["x/a", "y/a"], ["a"], {}, id="folder missing, two candidates"),
        pytest.param(["x/a"], ["y/b"], {}, id="nothing"),
    ],
)
def test_match_ids(known, others, expected):
    assert match_ids(known, others) == expected


def test_scores_of_a_stores_videos(toy_store):
    with FeatureStore(toy_store) as store:
        at = np.array([7, 0, 3])
        outputs = {"rgb": np.eye(3), "fused": np.ones((3, 3))}
        scores = Scores.of(store, outputs, at=at, split="1", fold=[-1, 0, 1], head="linear", provenance={"seed": 1})
        assert scores.ids.tolist() == store.ids[at].tolist()
        assert scores.labels.tolist() == store.labels[at].tolist()
        assert scores.groups.tolist() == store.groups[at].tolist()
        assert (scores.class_names, scores.dataset) == (store.class_names, "toy")
    assert {values.dtype for values in scores.streams.values()} == {np.dtype(np.float32)}
    assert (scores.fold.dtype, scores.fold.tolist()) == (np.int32, [-1, 0, 1])
    assert (scores.fused, scores.kind, scores.split, scores.head) == ("fused", "logits", "1", "linear")
    check_scores(scores)


def test_scores_of_a_data_sets_videos_are_of_test_videos_by_default(toy):
    videos = Videos.of(toy.dataset, toy.dataset.videos[3:6])
    scores = Scores.of(videos, {"rgb": np.zeros((3, 3))})
    assert scores.ids.tolist() == ["class0/clip 3é", "class1/clip 4é", "class2/clip 5é"]
    assert scores.groups.tolist() == ["film0", "film1", "film1"]
    assert (scores.fold == TEST_VIDEO).all()
    assert scores.fused is None
    assert len(Videos.of(toy.dataset).ids) == 20
    check_scores(Scores.of(Videos.of(toy.dataset, []), {"rgb": np.zeros((0, 3))}))


def test_test_videos_are_told_from_both_kinds_of_training_videos():
    assert is_test(np.array([TEST_VIDEO, TRAINED_ON, 0, 4, -1])).tolist() == [True, False, False, False, True]


def test_writing_leaves_the_scores_as_they_are(toy_scores, tmp_path):
    doubles = {"rgb": np.random.default_rng(0).normal(size=(12, 4))}
    scores = toy_scores(streams=doubles)
    write_scores(tmp_path / "scores.h5", scores)
    assert scores.streams is doubles
    assert scores.streams["rgb"].dtype == np.float64
    with pytest.raises(FrozenInstanceError):
        scores.split = "2"


@pytest.mark.parametrize("place", ["taken/scores.h5", "taken/below/scores.h5"])
def test_a_file_in_the_folders_place_is_named(toy_scores, tmp_path, place):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match=r"taken.*: is a file, or lies below one; choose another folder"):
        write_scores(tmp_path / place, toy_scores())


def test_export_gives_plain_files(toy_scores, tmp_path):
    scores = toy_scores(fold=np.arange(12, dtype=np.int32) % 4 - 2)
    written = export(write_scores(tmp_path / "scores.h5", scores), tmp_path / "out")
    assert sorted(path.name for path in written) == ["classes.txt", "flow.npy", "rgb.npy", "videos.csv"]
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "flow.npy"), scores.streams["flow"])
    lines = (tmp_path / "out" / "videos.csv").read_text().splitlines()
    assert lines[:3] == ["ids,labels,groups,fold", "a/video0,0,g0,-2", "a/video1,1,g0,-1"]
    assert (tmp_path / "out" / "classes.txt").read_text() == "a\nb\nc\nd\n"


def test_no_videos_are_checked_written_and_exported(toy_scores, tmp_path):
    empty = {name: getattr(toy_scores(), name)[:0] for name in ("ids", "labels", "groups", "fold")}
    scores = toy_scores(**empty, streams={"rgb": np.zeros((0, 4), np.float32)})
    check_scores(scores)
    export(write_scores(tmp_path / "scores.h5", scores), tmp_path / "out")
    assert np.load(tmp_path / "out" / "rgb.npy").shape == (0, 4)
