"""Score files: what is written comes back; scores that make no sense are refused; joins by id."""

import numpy as np
import pytest

from avr.core import UsageError, WorkError
from avr.store import check_scores, join_scores, match_ids, read_scores, write_scores
from avr.store.scores.joining import sanitised


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
    same(read_scores(path), scores)
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
        pytest.param({"streams": {"a/b": np.zeros((12, 4))}}, "stream name 'a/b'", id="name"),
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
    ("given", "expected"),
    [
        ("push/Dodge_-_80_ft.!_push_1.avi", "push/Dodge___80_ft___push_1"),
        ("a/b#c[d]+e&f(g).MP4", "a/b_c_d__e_f_g_"),
        ("v.1.2", "v_1_2"),
    ],
)
def test_sanitised(given, expected):
    assert sanitised(given) == expected


@pytest.mark.parametrize(
    ("known", "others", "expected"),
    [
        pytest.param(["a", "b"], ["b", "a"], {0: 1, 1: 0}, id="exact"),
        pytest.param(["x/a!.avi", "x/b"], ["x/a_", "x/b.mp4"], {0: 0, 1: 1}, id="sanitised and suffix"),
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


def test_join_takes_what_all_have_in_the_first_ones_order(toy_scores):
    first, second = toy_scores(), toy_scores()
    keep = np.array([11, 3, 5, 0])
    part = toy_scores(
        ids=np.array([*second.ids[keep], "a/new"]),
        labels=np.array([*second.labels[keep], 2]),
        groups=np.array(["other"] * 5),
        fold=np.full(5, -1),
        streams={"audio": np.concatenate([second.streams["rgb"][keep] * 2, np.zeros((1, 4), np.float32)])},
    )
    joined, report = join_scores([first, part], names=["run", "audio"])
    assert joined.ids.tolist() == ["a/video0", "a/video3", "a/video5", "a/video11"]
    assert joined.groups.tolist() == ["g0", "g1", "g1", "g3"]
    assert list(joined.streams) == ["rgb", "flow", "audio"]
    np.testing.assert_array_equal(joined.streams["audio"], first.streams["rgb"][[0, 3, 5, 11]] * 2)
    assert report.videos == 4
    assert report.unmatched["audio"] == ["a/new"]
    assert report.lines()[0] == "4 videos joined"
    assert report.lines()[2] == "audio: 1 videos without partner: a/new"
    assert len(report.unmatched["run"]) == 8


def test_join_renames_streams_that_meet_and_leaves_out_fused_ones(toy_scores):
    joined, _ = join_scores([toy_scores(fused="flow"), toy_scores()], names=["one", "two"])
    assert list(joined.streams) == ["one:rgb", "two:rgb", "flow"]
    joined, _ = join_scores([toy_scores(fused="flow"), toy_scores()], names=["same", "same"], keep_fused=True)
    assert list(joined.streams) == ["same#1:rgb", "same#1:flow", "same#2:rgb", "same#2:flow"]
    alone = toy_scores(streams={"fused": np.zeros((12, 4), np.float32)}, fused="fused")
    joined, _ = join_scores([toy_scores(), alone])
    assert list(joined.streams) == ["rgb", "flow", "fused"]
    joined, _ = join_scores([toy_scores(fused="flow")])
    assert joined.fused == "flow"


def test_probabilities_meet_logits_as_their_logarithm(toy_scores):
    probabilities = toy_scores(kind="probabilities", streams={"p": np.full((12, 4), 0.25, np.float32)})
    joined, _ = join_scores([toy_scores(), probabilities])
    assert joined.kind == "logits"
    np.testing.assert_allclose(joined.streams["p"], np.log(0.25), rtol=1e-6)  # float32
    zero = toy_scores(kind="probabilities", streams={"p": np.tile(np.float32([1, 0, 0, 0]), (12, 1))})
    assert np.isfinite(join_scores([toy_scores(), zero])[0].streams["p"]).all()


def test_classes_in_another_order_are_refused_or_put_in_order(toy_scores):
    first = toy_scores()
    order = [2, 0, 3, 1]
    second = toy_scores(
        class_names=tuple("abcd"[k] for k in order),
        labels=np.array([order.index(label) for label in first.labels]),
        streams={"more": first.streams["rgb"][:, order]},
    )
    with pytest.raises(UsageError, match=r"another order; --reorder"):
        join_scores([first, second])
    joined, report = join_scores([first, second], reorder=True)
    np.testing.assert_array_equal(joined.streams["more"], first.streams["rgb"])
    assert joined.class_names == ("a", "b", "c", "d")
    assert "put into the order" in report.notes[0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"class_names": ("a", "b", "c", "x")}, "not in both: d, x", id="other classes"),
        pytest.param(
            {"labels": np.zeros(12, int)}, "labels that differ from 1 for 9 videos, first a/video1", id="labels"
        ),
        pytest.param({"ids": np.array([f"z{i}" for i in range(12)])}, "share no video", id="no common id"),
        pytest.param({"split": "2"}, "scores of split 2, 1 has split 1", id="split"),
        pytest.param({"fold": np.zeros(12, int)}, "training, test", id="train and test"),
        pytest.param({"ids": np.array(["a"] * 12)}, "2: scores: ids that repeat", id="repeat"),
        pytest.param({"streams": {"x": np.full((12, 4), np.nan)}}, "2: stream x: NaN", id="nan"),
    ],
)
def test_what_cannot_be_joined_says_why(toy_scores, changed, message):
    with pytest.raises(UsageError, match=message):
        join_scores([toy_scores(), toy_scores(**changed)])
    with pytest.raises(UsageError, match="no scores"):
        join_scores([])


def test_check_accepts_no_videos(toy_scores):
    empty = {name: getattr(toy_scores(), name)[:0] for name in ("ids", "labels", "groups", "fold")}
    check_scores(toy_scores(**empty, streams={"rgb": np.zeros((0, 4))}))
