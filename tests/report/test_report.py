"""The HTML report: figures against hand counts, the page as a browser's parser reads it, and the command."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from avr.cli import main
from avr.core import UsageError, WorkError
from avr.report import Outcome, most_confused, newest_runs, per_class_accuracy, read_outcomes, write_report
from avr.report.drawing import heat_map, line_chart
from avr.report.page import render
from avr.store import Scores, describe, read_scores, write_scores

CLASS_NAMES = ("walk", "run <fast>", "jump & skip")


def one_hot(predicted: list[int], margin: float = 4.0) -> np.ndarray:
    return (margin * np.eye(3)[predicted]).astype(np.float32)


@pytest.fixture
def run(tmp_path) -> Path:
    """A run of two splits and two streams, with a hand-made score file each, and a log."""
    folder = tmp_path / "runs" / "linear-toy-1"
    for split in ("1", "2"):
        scores = Scores(
            ids=np.array([f"v{number}" for number in range(6)]),
            labels=np.array([0, 0, 1, 1, 2, 0]),
            groups=np.array([f"g{number}" for number in range(6)]),
            class_names=CLASS_NAMES,
            # The last video is an out-of-fold one, and wrong in both: it must count nowhere.
            streams={
                "rgb": one_hot([0, 0, 1, 1, 2, 1] if split == "1" else [0, 0, 0, 1, 2, 1], margin=8),
                "flow": one_hot([0, 1, 1, 0, 2, 1], margin=2),
            },
            kind="logits",
            split=split,
            fold=np.array([-1, -1, -1, -1, -1, 0], dtype=np.int32),
            head="linear",
            dataset="toy",
        )
        write_scores(folder / f"split-{split}" / "scores.h5", scores)
    (folder / "split-1" / "rgb").mkdir()
    log = "epoch,step,lr,loss,accuracy,seconds\n1,3,0.1,1.5,0.25,0.1\n2,6,0.1,0.5,,0.2\n"
    (folder / "split-1" / "rgb" / "log.csv").write_text(log)
    return folder


def test_per_class_accuracy():
    np.testing.assert_array_equal(per_class_accuracy(np.array([[3, 1, 0], [0, 0, 0], [1, 1, 2]])), [0.75, np.nan, 0.5])


def test_most_confused_orders_by_videos_then_share():
    confusion = np.array([[5, 2, 1], [2, 0, 0], [0, 3, 0]])
    assert most_confused(confusion) == [(2, 1, 3, 1.0), (1, 0, 2, 1.0), (0, 1, 2, 0.25), (0, 2, 1, 0.125)]
    assert most_confused(confusion, 1) == [(2, 1, 3, 1.0)]
    assert most_confused(np.eye(3, dtype=int)) == []


def test_outcome_counts_test_videos_alone(run):
    (outcome,) = read_outcomes([run])
    assert outcome.name == "linear-toy-1"
    assert outcome.main == "average"
    assert outcome.videos == {"1": 5, "2": 5}
    assert outcome.rows["1"]["rgb"] == {"top1": 1.0, "top5": 1.0, "mean_class": 1.0}
    assert outcome.rows["1"]["flow"]["top1"] == 0.6
    assert outcome.rows["1"]["flow"]["mean_class"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    # The sharper stream decides the average: as rgb in both splits.
    assert outcome.rows["2"]["average"]["top1"] == 0.8
    np.testing.assert_array_equal(outcome.confusion, [[4, 0, 0], [1, 3, 0], [0, 0, 2]])
    assert [(curve.name, curve.epochs) for curve in outcome.curves] == [("split-1/rgb", (1.0, 2.0))]


def test_videos_that_the_head_was_trained_on_count_nowhere(run, tmp_path):
    """Nor do they become test videos in `avr store info`."""
    scores = read_scores(run / "split-1" / "scores.h5")
    part = {"fold": np.array([-1, -1, -2, -2, -2, 0], dtype=np.int32)}
    path = write_scores(tmp_path / "some.h5", replace(scores, **part))
    (outcome,) = read_outcomes([path])
    assert outcome.videos == {"1": 2}
    assert outcome.confusion.sum() == 2
    about = describe(path)
    assert [about[name] for name in ("test_videos", "out_of_fold_videos", "trained_on_videos")] == [2, 1, 3]
    out_of_fold = np.array([-2, -2, 1, 0, 0, 0], dtype=np.int32)
    (outcome,) = read_outcomes([write_scores(tmp_path / "no-test.h5", replace(scores, fold=out_of_fold))])
    assert outcome.videos == {"1": 4}
    with pytest.raises(UsageError, match="scores of videos that its head was trained on alone: there"):
        read_outcomes([write_scores(tmp_path / "trained.h5", replace(scores, fold=np.full(6, -2, np.int32)))])


def test_videos_without_a_label_count_nowhere(run, tmp_path):
    scores = read_scores(run / "split-1" / "scores.h5")
    some = replace(scores, labels=np.array([0, -1, 1, -1, 2, 0]))
    (outcome,) = read_outcomes([write_scores(tmp_path / "some.h5", some)])
    assert (outcome.videos, outcome.confusion.sum()) == ({"1": 3}, 3)
    with pytest.raises(UsageError, match=r"none\.h5: holds no label: there is nothing to report on"):
        read_outcomes([write_scores(tmp_path / "none.h5", replace(scores, labels=np.full(6, -1)))])


def test_the_product_of_the_streams_stands_beside_their_average(run, tmp_path):
    """By hand: the means are 0.355, 0.24, 0.405, the products 0.007, 0.058, 0.045."""
    scores = read_scores(run / "split-1" / "scores.h5")
    streams = {"rgb": [[0.01, 0.24, 0.75]] * 6, "flow": [[0.70, 0.24, 0.06]] * 6}
    streams = {name: np.array(values, np.float32) for name, values in streams.items()}
    path = write_scores(tmp_path / "a.h5", replace(scores, streams=streams, kind="probabilities"))
    (outcome,) = read_outcomes([path])
    assert [outcome.rows["1"][name]["top1"] for name in ("average", "multiply")] == [0.2, 0.4]


def test_weights_of_a_fusion_are_drawn(run, tmp_path):
    scores = read_scores(run / "split-1" / "scores.h5")
    weights = {"streams": ["linear/rgb", "a<b>"], "weights": [[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]]}
    path = write_scores(tmp_path / "fused.h5", replace(scores, provenance=weights))
    page = render(read_outcomes([path]))
    picture = page[page.index("<h2>Weights: fused.h5,\nsplit 1</h2>") :]
    drawing = ElementTree.fromstring(picture[picture.index("<svg") : picture.index("</svg>") + 6])
    squares = [rect for rect in drawing.iter() if rect.tag.endswith("rect") and len(rect)]
    assert [square[0].text for square in squares] == [
        f"{name}, {stream}: {share:.3f}"
        for name, shares in ((CLASS_NAMES[1], (1, 0)), (CLASS_NAMES[2], (0.5, 0.5)), (CLASS_NAMES[0], (0.25, 0.75)))
        for stream, share in zip(weights["streams"], shares, strict=True)
    ]
    assert squares[0].get("fill") == "rgba(0,114,178,1.00)"
    alike = {**weights, "weights": [[0.4, 0.6]] * 3}
    assert "Weights" not in render(read_outcomes([write_scores(tmp_path / "b.h5", replace(scores, provenance=alike))]))
    for name, wrong in (("shape", [[1.0, 0.0]]), ("text", "much"), ("nan", [[float("nan"), 1.0]] * 3)):
        bad = replace(scores, provenance={**weights, "weights": wrong})
        with pytest.raises(WorkError, match="its weights are not those of its classes and streams"):
            read_outcomes([write_scores(tmp_path / f"{name}.h5", bad)])


def test_runs_of_one_name_are_told_apart(run, tmp_path):
    other = tmp_path / "elsewhere" / run.name
    other.parent.mkdir()
    run.with_name("linear-toy-1").rename(other)
    other_copy = tmp_path / "runs" / run.name
    other_copy.mkdir(parents=True)
    (other_copy / "scores.h5").write_bytes((other / "split-1" / "scores.h5").read_bytes())
    names = [outcome.name for outcome in read_outcomes([other, other_copy])]
    assert names == ["elsewhere/linear-toy-1", "runs/linear-toy-1"]


class Page(HTMLParser):
    """Collects text and checks that what opens is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.open, self.links = [], [], []

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_page_is_whole_self_contained_and_escaped(run, tmp_path):
    report = write_report([run, run / "split-2" / "scores.h5"], tmp_path / "out" / "page.html")
    html = report.out.read_text()
    page = Page()
    page.feed(html)
    assert page.open == []
    assert page.links == []
    assert "<script" not in html
    assert "run <fast>" not in html
    text = " ".join(page.text)
    assert "run <fast>" in text
    assert "mean of 2" in text
    assert "90.0 ± 14.1" in text  # 100 % and 80 %: mean 90, standard deviation 14.14
    assert "jump & skip" in text
    assert "loss by epoch" in text


def test_heat_map_is_xml_with_a_square_for_each_pair_that_occurs():
    svg = ElementTree.fromstring(heat_map(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 2]]), CLASS_NAMES))
    titles = [title.text for title in svg.iter("title")]
    assert titles == [
        "walk taken for walk: 3 (75%)",
        "walk taken for run <fast>: 1 (25%)",
        "jump & skip taken for jump & skip: 2 (100%)",
    ]


def test_line_chart_places_its_points():
    svg = line_chart({"a<b": ([0, 10], [0.0, 1.0]), "gone": ([0], [float("nan")])}, title="t", width=162, height=152)
    figure = ElementTree.fromstring(svg)
    # Axes from 52 to 152 across and from 126 up to 26.
    assert [line.get("points") for line in figure.iter("polyline")] == ["52.0,126.0 152.0,26.0"]
    assert [span.text or span[0].tail for span in figure.iter("span")] == ["a<b"]
    assert line_chart({"gone": ([0], [float("nan")])}, title="t") == ""


def test_shares_are_bars_and_a_class_without_videos_has_none():
    figures = {"top1": 0.25, "top5": 1.0, "mean_class": 0.25}
    outcome = Outcome("r", "d", ("a", "b"), "rgb", {"1": {"rgb": figures}}, np.array([[1, 3], [0, 0]]), {"1": 4})
    html = render([outcome])
    assert '<td class="bar"><i style="width:25.0%"></i><b>25.0</b></td>' in html
    assert '<td class="bar">–</td>' in html
    assert html.index(">a</td>") < html.index(">b</td>")


def test_missing_run(tmp_path):
    with pytest.raises(UsageError, match="gone: no such run or score file"):
        read_outcomes([tmp_path / "gone"])


def test_folder_without_scores(tmp_path):
    with pytest.raises(UsageError, match=r"no scores\.h5 in it; name a run's folder"):
        read_outcomes([tmp_path])


def test_no_runs():
    with pytest.raises(UsageError, match="no runs to report on"):
        read_outcomes([])


def test_out_is_a_folder(run, tmp_path):
    with pytest.raises(UsageError, match="is a folder; name a file"):
        write_report([run], tmp_path)


def test_a_former_page_is_replaced_and_nothing_else_is(run, tmp_path):
    scores = run / "split-1" / "scores.h5"
    before = scores.read_bytes()
    with pytest.raises(UsageError, match=r"scores.h5: is there and is no report of avr's; --overwrite replaces it"):
        write_report([run], scores)
    assert scores.read_bytes() == before
    page = tmp_path / "page.html"
    for _ in range(2):
        write_report([run], page)
    page.write_text("<title>my thesis</title>")
    with pytest.raises(UsageError, match="is no report of avr's"):
        write_report([run], page)
    write_report([run], page, overwrite=True)
    assert "avr report" in page.read_text()


def test_what_is_of_a_store_that_lacked_shards_says_so_on_the_page(run, tmp_path, capsys):
    scores = read_scores(run / "split-1" / "scores.h5")
    write_scores(tmp_path / "part.h5", replace(scores, provenance={"store": {"lacking": "rgb: 1 of 4 shards"}}))
    write_report([tmp_path / "part.h5"], tmp_path / "page.html")
    assert "part.h5: of a store that is not whole (rgb: 1 of 4 shards)." in (tmp_path / "page.html").read_text()
    assert "warning: " in capsys.readouterr().err


def test_what_cannot_be_written_is_shown_all_the_same(run, runner, monkeypatch, tmp_path):
    """The lines first, then why there is no page: exit 1."""

    def full(*_, **__):
        raise WorkError("page.html: cannot be written (No space left on device)")

    monkeypatch.setattr("avr.report.page.write_whole", full)
    done = runner.invoke(main, ["report", str(run), "--out", str(tmp_path / "page.html")])
    assert done.exit_code == 1
    assert "top-1" in done.stdout
    assert "written" not in done.stdout
    assert done.stderr.endswith("error: page.html: cannot be written (No space left on device)\n")


def test_log_that_is_none(run):
    log = run / "split-1" / "rgb" / "log.csv"
    log.write_text("epoch,loss\n1,low\n")
    with pytest.raises(UsageError, match=r"log\.csv:2: loss is 'low', not a number"):
        read_outcomes([run])
    log.write_text("time,loss\n1,2\n")
    with pytest.raises(UsageError, match=r"log\.csv: not a training log: it has no column 'epoch'"):
        read_outcomes([run])


def test_newest_runs_says_when_there_are_none(tmp_path):
    with pytest.raises(UsageError, match=r"no run with scores under .*/runs: train a head first"):
        newest_runs(tmp_path / "runs")


def test_command_takes_the_newest_runs(runner, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(main, ["report", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["out"] == "report.html"
    assert found["runs"][0]["splits"]["2"]["average"]["top1"] == 0.8
    assert Path("report.html").is_file()


def test_command_without_runs_exits_2(runner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(main, ["report"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: no run with scores under runs: train a head first")


def test_page_allows_no_script_and_nothing_from_elsewhere(run, tmp_path):
    html = write_report([run], tmp_path / "page.html").out.read_text()
    head = html[: html.index("</head>")]
    policy = "default-src 'none';\nstyle-src 'unsafe-inline'; img-src data:"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in head
    assert "<script" not in html
    assert " onload=" not in html


def test_scores_of_no_split_are_told_without_one(run, tmp_path, runner):
    path = write_scores(tmp_path / "a.h5", replace(read_scores(run / "split-1" / "scores.h5"), split=""))
    done = runner.invoke(main, ["report", str(path), "--out", str(tmp_path / "page.html")])
    assert done.stdout.splitlines()[0] == "a.h5: average 100.0 % top-1"
    assert '<td class="name">-</td>' not in (tmp_path / "page.html").read_text()
