"""What the report counts, against hand counts and against the functions of `avr fuse`."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from avr.fusion import mcnemar_p, paired_bootstrap
from avr.report import most_confused, per_class_accuracy, read_outcomes
from avr.report.charts import BOTTOM, LEFT, RIGHT, TOP, line_chart, reliability_diagram
from avr.report.judging import (
    baselines,
    confidence_by_class,
    cut_confusion,
    families,
    judge,
    own_differences,
    precision,
    verdict,
)
from avr.report.looks import each_video, worth_a_look
from avr.report.page import _album
from avr.report.pictures import MOST_BYTES, Album
from avr.report.tables import class_figures, class_table, confusion_table, gain_table
from avr.store import Scores, read_scores, write_scores


def test_per_class_accuracy_and_precision():
    confusion = np.array([[3, 1, 0], [0, 0, 0], [1, 1, 2]])
    np.testing.assert_array_equal(per_class_accuracy(confusion), [0.75, np.nan, 0.5])
    np.testing.assert_array_equal(precision(confusion), [0.75, 0, 1])


def test_confidence_by_class():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0], [0.2, 0.2, 0.6]])
    np.testing.assert_allclose(confidence_by_class(probabilities, np.array([0, 0, 1])), [0.7, 0.2, np.nan])


def test_most_confused_orders_by_videos_then_share():
    confusion = np.array([[5, 2, 1], [2, 0, 0], [0, 3, 0]])
    assert most_confused(confusion) == [(2, 1, 3, 1.0), (1, 0, 2, 1.0), (0, 1, 2, 0.25), (0, 2, 1, 0.125)]
    assert most_confused(confusion, 1) == [(2, 1, 3, 1.0)]
    assert most_confused(np.eye(3, dtype=int)) == []


def test_a_large_confusion_is_cut_to_the_classes_with_most_wrong_videos():
    confusion = np.array([[9, 0, 1, 0], [0, 10, 0, 0], [4, 0, 6, 0], [1, 0, 0, 9]])
    kept, cut = cut_confusion(confusion, 2)
    assert kept == [0, 2]
    np.testing.assert_array_equal(cut, [[9, 1, 0], [4, 6, 0], [1, 0, 19]])
    assert cut_confusion(confusion, 4)[0] == [0, 1, 2, 3]


@pytest.fixture
def several(tmp_path):
    """Thirty videos of ten groups; the second stream is right where the first is wrong in group 0 alone."""
    labels = np.arange(30) % 3
    wrong = np.isin(np.arange(30), [0, 3, 6, 9])
    rgb = np.eye(3)[np.where(wrong, (labels + 1) % 3, labels)] * 3
    flow = np.eye(3)[np.where(np.arange(30) < 24, labels, (labels + 2) % 3)] * 2
    scores = Scores(
        ids=np.array([f"v{n:02}" for n in range(30)]),
        labels=labels,
        groups=np.array([f"g{n // 3}" for n in range(30)]),
        class_names=("a", "b", "c"),
        streams={"rgb": rgb.astype(np.float32), "flow": flow.astype(np.float32)},
        kind="logits",
        split="1",
        fold=np.full(30, -1, np.int32),
        head="linear",
        dataset="toy",
    )
    return write_scores(tmp_path / "one.h5", scores)


def test_figures_have_intervals_over_groups(several):
    (outcome,) = read_outcomes([several])
    found = judge(outcome)
    assert list(found) == ["rgb", "flow", "average", "multiply"]  # the main one last
    right = outcome.pooled("flow").argmax(1) == outcome.labels
    assert (found["flow"].top1, found["flow"].spread) == (0.8, None)
    assert (found["flow"].low, found["flow"].high) == paired_bootstrap(right.astype(float), outcome.groups)
    # 24 videos at softmax(2, 0, 0), 6 at (0, 2, 0)'s losers.
    top = np.exp(2) / (np.exp(2) + 2)
    assert found["flow"].log_loss == pytest.approx(-(24 * np.log(top) + 6 * np.log((1 - top) / 2)) / 30, rel=1e-6)
    assert found["flow"].ece == pytest.approx(abs(0.8 - top), rel=1e-6)


def test_differences_are_paired(several):
    (outcome,) = read_outcomes([several])
    assert baselines(outcome) == {"the best stream": "rgb", "the other untrained rule": "average"}
    over_rgb, over_average = own_differences(outcome)
    right = [outcome.pooled(name).argmax(1) == outcome.labels for name in ("multiply", "rgb")]
    assert over_rgb.difference == pytest.approx(right[0].mean() - right[1].mean())
    assert over_rgb.p == mcnemar_p(*right)
    assert over_average.sign == 0
    text = verdict([outcome], {outcome.name: judge(outcome)})
    assert text.startswith("one.h5: its output multiply is right on 86.7 % of 30 test videos (95 % interval ")
    assert "These videos do not show that it is better than rgb, the best stream: +0.0 points" in text


def test_runs_of_the_same_videos_are_compared_whatever_their_order(several, tmp_path):
    scores = read_scores(several)
    turned = np.arange(30)[::-1]
    parts = {name: getattr(scores, name)[turned] for name in ("ids", "labels", "groups", "fold")}
    perfect = {"rgb": (9 * np.eye(3)[parts["labels"]]).astype(np.float32)}
    write_scores(tmp_path / "two.h5", replace(scores, **parts, streams=perfect))
    less = {name: values[:-1] for name, values in parts.items()}
    write_scores(tmp_path / "three.h5", replace(scores, **less, streams={"rgb": perfect["rgb"][:-1]}))
    outcomes = read_outcomes([several, tmp_path / "two.h5", tmp_path / "three.h5"])
    together = families(outcomes)
    assert [[one.name for one in family] for family in together] == [["two.h5", "one.h5"], ["three.h5"]]
    text = verdict(together[0], {one.name: judge(one) for one in outcomes})
    assert "two.h5 is the best of 2 runs" in text
    assert "one.h5, the next run: +13.3 points" in text
    table = gain_table((outcomes[1], "rgb"), (outcomes[0], "average"), ("two", "one"))
    assert [row[:3] for row in table.rows] == [["a", 10, 0.4], ["b", 10, 0.0], ["c", 10, 0.0]]
    assert table.largest == 0.4
    assert table.notes == ["1 classes gain, 0 lose, 2 stay as they are."]


def test_videos_worth_a_look(several):
    (outcome,) = read_outcomes([several])
    looks = worth_a_look(outcome, 2)
    assert [video.id for video in looks.hardest] == ["v00", "v03"]  # rgb's certainty is the larger
    assert [video.id for video in looks.wrong] == ["v06", "v09"]  # those of the hardest are not told twice
    assert [outcome.class_names[k] for k in (looks.wrong[0].true, looks.wrong[0].predicted)] == ["a", "b"]
    assert [[video.right for video in some] for some in looks.drawn] == [[True, True], [False, False]]
    assert looks == worth_a_look(outcome, 2)
    (pair,) = looks.confused
    assert [(one.true, one.predicted) for one in (*pair.taken, *pair.recognised)] == [(0, 1), (1, 1)]
    every = each_video(outcome)
    for some, those in ((pair.taken, (0, 1)), (pair.recognised, (1, 1))):
        assert some[0].confidence == max(one.confidence for one in every if (one.true, one.predicted) == those)


def test_pictures_are_of_all_kinds_of_videos_and_what_is_left_out_is_said(several, monkeypatch):
    """Each run has its share of the bytes."""
    (outcome,) = read_outcomes([several])
    outcome = replace(outcome, stores=(several,))
    looks, taken = worth_a_look(outcome, 2), []

    def each(album, take, _, __, videos):
        taken.append((*take.args, album.room, [video.id for video in videos]))

    with monkeypatch.context() as patched:
        patched.setattr(Album, "_each", each)
        patched.setattr("avr.report.pictures.FeatureStore", nullcontext)
        _album([outcome, outcome], {outcome.name: looks})
    drawn = [video.id for pair in zip(*looks.drawn, strict=True) for video in pair]
    strips = [looks.confused[0].taken[0].id, looks.confused[0].recognised[0].id]
    for place, room in ((0, MOST_BYTES // 2), (2, MOST_BYTES)):
        assert taken[place : place + 2] == [(1, room, ["v00", "v06", "v03", "v09", *drawn]), (4, room, strips)]
    store = SimpleNamespace(ids=np.array(["v00"]))
    for size, video, why in (
        (0, looks.hardest[1], "the store does not hold v03"),
        (MOST_BYTES, looks.hardest[0], "a page holds 1 MB of them at most, shared by its runs"),
    ):
        album = Album(size=size)
        album._each(lambda *_: pytest.fail("there is no such picture"), outcome, store, [video])
        assert album.lack == {outcome.name: why}


def test_figures_of_a_class(several):
    (outcome,) = read_outcomes([several])
    first = class_figures(outcome).rows[0]
    assert first[:5] == ["a", 10, 6, 0.6, 1.0]
    assert first[5] == pytest.approx(0.75)
    of_true = outcome.pooled("multiply")[outcome.labels == 0, 0].mean()
    assert class_table([outcome], sure=True).rows[0] == ["a", 10, pytest.approx(of_true)]
    assert [cell.text for cell in confusion_table(outcome).rows[0][1:]] == ["6", "4", ""]


def test_what_is_confused_among_classes_left_out_is_not_drawn_as_right(several, monkeypatch):
    (outcome,) = read_outcomes([several])
    monkeypatch.setattr("avr.report.tables.MOST_CLASSES", 1)
    (_, kept, _), (_, _, rest) = confusion_table(outcome).rows
    assert (kept.strength > 0, kept.second) == (True, False)
    assert (rest.strength, rest.value) == (0, outcome.confusion[1:, 1:].sum())


def test_line_chart_places_its_points():
    lines = {"a": ([0, 10], [0.0, 1.0]), "a, validation": ([0, 10], [1.0, 0.5]), "gone": ([0], [float("nan")])}
    chart = line_chart("t", "loss", lines)
    assert [(line.name, line.points, line.colour, line.dashed) for line in chart.lines] == [
        ("a", f"{LEFT:.1f},{BOTTOM:.1f} {RIGHT:.1f},{TOP:.1f}", 0, False),
        ("a, validation", f"{LEFT:.1f},{TOP:.1f} {RIGHT:.1f},{(TOP + BOTTOM) / 2:.1f}", 0, True),
    ]
    assert line_chart("t", "loss", {"gone": ([0], [float("nan")])}) is None


def test_reliability_diagram_has_a_bar_a_bin(several):
    (outcome,) = read_outcomes([several])
    outcome = replace(outcome, main="flow")
    (bar,) = reliability_diagram(outcome).bars
    assert bar[1] == pytest.approx(BOTTOM - 0.8 * (BOTTOM - TOP), abs=0.06)
    assert bar[-1] == "confidence 0.79: 80% of 30 videos are right"
