"""The HTML report: what is read, the page as a parser reads it, and the command. Figures: test_judging.py."""

import base64
import hashlib
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from avr.cli import main
from avr.core import UsageError, WorkError
from avr.fusion import fuse
from avr.report import list_runs, newest_runs, read_outcomes, write_report
from avr.report.page import render
from avr.report.tables import csv_link, weights_table
from avr.store import RunRecord, Scores, SplitRecord, describe, read_scores, write_record, write_scores

from .conftest import CLASS_NAMES


def test_outcome_counts_test_videos_alone(run):
    (outcome,) = read_outcomes([run])
    assert outcome.name == "linear-toy-1"
    assert outcome.main == "multiply"
    assert outcome.videos == {"1": 5, "2": 5}
    assert outcome.rows["1"]["rgb"] == {"top1": 1.0, "top5": 1.0, "mean_class": 1.0}
    assert outcome.rows["1"]["flow"]["top1"] == 0.6
    assert outcome.rows["1"]["flow"]["mean_class"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    # The sharper stream decides the product: as rgb in both splits.
    assert outcome.rows["2"]["multiply"]["top1"] == 0.8
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
    html = render([outcome])
    assert "<dd>4 training videos (out-of-fold scores) of 4 groups, 3 classes</dd>" in html
    assert "% of 4 training videos (out-of-fold scores) (95 % interval" in html
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
    """By hand: the means are 0.355, 0.24, 0.405, the products 0.007, 0.058, 0.045, whose sum is 0.1096."""
    scores = read_scores(run / "split-1" / "scores.h5")
    streams = {"rgb": [[0.01, 0.24, 0.75]] * 6, "flow": [[0.70, 0.24, 0.06]] * 6}
    streams = {name: np.array(values, np.float32) for name, values in streams.items()}
    path = write_scores(tmp_path / "a.h5", replace(scores, streams=streams, kind="probabilities"))
    (outcome,) = read_outcomes([path])
    assert [outcome.rows["1"][name]["top1"] for name in ("average", "multiply")] == [0.2, 0.4]
    roots = np.sqrt([0.007, 0.0576, 0.045])  # the mean of two logarithms
    np.testing.assert_allclose(outcome.splits["1"].outputs["multiply"][0], roots / roots.sum(), rtol=1e-5)


def test_a_stream_that_is_called_as_an_untrained_rule_stays_what_it_is(run, tmp_path):
    scores = read_scores(run / "split-1" / "scores.h5")
    wrong, right = np.roll(np.eye(3)[scores.labels], 1, axis=1), np.eye(3)[scores.labels]
    streams = {"rgb": right, "average": wrong, "multiply": wrong}
    path = write_scores(tmp_path / "a.h5", replace(scores, streams=streams, kind="probabilities"))
    (outcome,) = read_outcomes([path])
    assert {name: figures["top1"] for name, figures in outcome.rows["1"].items()} == {
        "rgb": 1.0,
        "average": 0.0,
        "multiply": 0.0,
    }


@pytest.mark.parametrize("what", ["outputs", "classes"])
def test_splits_that_cannot_be_taken_together_are_refused(run, what, runner):
    """The list of runs goes on, and says so of this one."""
    write_record(run, RunRecord("head", splits={"1": SplitRecord({}), "2": SplitRecord({})}, complete=True))
    path = run / "split-2" / "scores.h5"
    scores = read_scores(path)
    other = {"streams": {"rgb": scores.streams["rgb"]}} if what == "outputs" else {"class_names": ("a", "b", "c")}
    write_scores(path, replace(scores, **other))
    with pytest.raises(UsageError, match=f"linear-toy-1: its splits have other {what}: report on them one by one"):
        read_outcomes([run])
    (line,) = list_runs(run)
    assert (line.top1, f"its splits have other {what}" in line.lack) == (None, True)
    path.write_bytes(b"\x89HDF\r\n\x1a\n of another tool")
    (line,) = list_runs(run)
    assert "no file of avr's" in line.lack


def test_a_fusion_is_shown_with_the_streams_that_it_fused(run, tmp_path):
    """Found where their scores lie: single streams, and the untrained rules, as `avr fuse` itself judged them."""
    paths = [tmp_path / "rgb.h5", tmp_path / "flow.h5"]
    scores = read_scores(run / "split-1" / "scores.h5")
    for path in paths:
        one = {path.stem: scores.streams[path.stem]}
        write_scores(path, replace(scores, streams=one, head="", fold=np.array([-1, -1, -1, -1, -1, 0], np.int32)))
    result = fuse("multiply", paths, out=tmp_path / "fused")
    (outcome,) = read_outcomes([tmp_path / "fused"])
    assert outcome.main == "multiply"
    assert outcome.splits["1"].streams == ("rgb/rgb", "flow/flow")
    found = {row["name"]: row["top1"] for row in result.rows}
    assert {name: figures["top1"] for name, figures in outcome.rows["1"].items()} == found
    paths[0].unlink()
    (outcome,) = read_outcomes([tmp_path / "fused"])
    assert list(outcome.splits["1"].outputs) == ["multiply"]


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
    """Collects text, links and attributes, and checks that what opens is closed and that every id stands once."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.open, self.links, self.ids, self.heads = [], [], [], [], []
        self.feed(html)
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href")]
        self.ids += [value for name, value in attributes if name == "id"]
        self.heads += [dict(attributes).get("scope")] * (tag == "th")
        if tag not in ("meta", "img", "input"):
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
    page = Page(html)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert set(page.heads) <= {"row", "col"}
    assert "run <fast>" not in html
    text = " ".join(page.text)
    assert "run <fast>" in text
    assert "± 14.1" in text  # 100 % and 80 %: standard deviation 14.14
    assert "jump & skip" in text
    assert "loss by epoch" in text


def test_page_runs_its_own_script_alone(run, tmp_path):
    """The policy allows what hashes to the script's text as a parser reads it, and nothing from elsewhere."""
    html = write_report([run], tmp_path / "page.html").out.read_text()
    script = html[html.index("<script>") + 8 : html.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = html[html.index('content="default-src') + 9 : html.index("form-action")]
    assert policy.split("; ")[:2] == ["default-src 'none'", f"script-src 'sha256-{digest}';\nstyle-src 'unsafe-inline'"]
    assert html.count("<script") == 1


def test_page_tells_what_was_run(run, tmp_path):
    record = RunRecord(
        kind="head",
        head="linear",
        options={"dropout": 0.25},
        seed=7,
        splits={"1": SplitRecord({}), "2": SplitRecord({})},
        complete=True,
        written="2026-01-02T03:04:05.678",
        command="avr heads train linear 'my store'",
    )
    write_record(run, record)
    html = render(read_outcomes([run]))
    for told in ("avr heads train linear &#39;my store&#39;", "<dd>7</dd>", "2026-01-02 03:04:05 UTC", "python 3."):
        assert told in html
    assert "options.dropout" in html


def test_each_table_has_its_numbers_as_csv(run, tmp_path):
    links = Page(write_report([run], tmp_path / "page.html").out.read_text()).links
    found = [base64.b64decode(link.partition(",")[2]).decode() for link in links if link.startswith("data:text/csv")]
    (whole,) = [text for text in found if text.startswith("true class,walk")]
    assert whole.splitlines() == [
        "true class,walk,run <fast>,jump & skip",
        "walk,4,0,0",
        "run <fast>,1,3,0",
        "jump & skip,0,0,2",
    ]
    assert any(text.startswith("line,epoch,loss\r\nsplit-1/rgb,1.0,1.5\r\n") for text in found)
    assert any(text.startswith("low,high,videos,confidence,accuracy") for text in found)


def test_a_page_of_101_classes_is_small_and_its_confusion_readable(tmp_path):
    labels = np.arange(404) % 101
    values = np.random.default_rng(0).normal(size=(2, 404, 101)).astype(np.float32) + 2 * np.eye(101)[labels]
    scores = Scores(
        ids=np.array([f"class{k:03}/v_class{k:03}_g{n:03}_c01" for n, k in enumerate(labels)]),
        labels=labels,
        groups=np.array([f"g{n}" for n in range(404)]),
        class_names=tuple(f"ClassOfSomeLength{k}" for k in range(101)),
        streams=dict(zip(("rgb", "flow"), values, strict=True)),
        kind="logits",
        split="1",
        fold=np.full(404, -1, np.int32),
        dataset="toy",
    )
    html = render(read_outcomes([write_scores(tmp_path / "a.h5", scores)]))
    assert len(html.encode()) < 1_000_000
    picture = html[html.index('<table class="picture">') :]
    assert picture[: picture.index("</thead>")].count("<th scope") == 1 + 20 + 1
    assert "The 20 of 101 classes with the most wrong videos; the other 81 together" in picture
    assert "it has no colour" in picture


def test_no_cell_of_a_csv_runs_in_a_spreadsheet():
    link = csv_link("../a b", [["=cmd()", 1]])
    assert (link.name, base64.b64decode(link.url.partition(",")[2])) == ("a-b.csv", b"'=cmd(),1\r\n")


def test_weights_of_a_fusion_are_shown(run, tmp_path):
    scores = read_scores(run / "split-1" / "scores.h5")
    weights = {"streams": ["linear/rgb", "a<b>"], "weights": [[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]]}
    (outcome,) = read_outcomes([write_scores(tmp_path / "fused.h5", replace(scores, provenance=weights))])
    table = weights_table(outcome, "1", *outcome.splits["1"].weights)
    assert [(row[0], [cell.text for cell in row[1:]]) for row in table.rows] == [
        (CLASS_NAMES[1], ["1.00", "0.00"]),
        (CLASS_NAMES[2], ["0.50", "0.50"]),
        (CLASS_NAMES[0], ["0.25", "0.75"]),
    ]
    assert "Weights: fused.h5, split 1" in render([outcome])
    alike = weights_table(outcome, "1", ["a", "b"], np.array([[0.4, 0.6]] * 3))
    assert [row[0] for row in alike.rows] == ["every class"]
    for name, wrong in (("shape", [[1.0, 0.0]]), ("text", "much"), ("nan", [[float("nan"), 1.0]] * 3)):
        bad = replace(scores, provenance={**weights, "weights": wrong})
        with pytest.raises(WorkError, match="its weights are not those of its classes and streams"):
            read_outcomes([write_scores(tmp_path / f"{name}.h5", bad)])


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
    assert (
        "<dt>Lacks</dt><dd>of a store that is not whole (rgb: 1 of 4 shards)</dd>"
        in (tmp_path / "page.html").read_text()
    )
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


def test_command_links_to_the_page_and_opens_it(runner, run, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or len(opened) < 2)
    page = tmp_path / "my page.html"
    for last in (page.as_uri(), "no browser could be opened here: open the link above"):
        printed = runner.invoke(main, ["report", str(run), "--out", str(page), "--open"]).stdout.splitlines()
        assert printed[-1] == last
    assert opened == [page.as_uri()] * 2


def test_command_without_runs_exits_2(runner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(main, ["report"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: no run with scores under runs: train a head first")


def test_scores_of_no_split_are_told_without_one(run, tmp_path, runner):
    path = write_scores(tmp_path / "a.h5", replace(read_scores(run / "split-1" / "scores.h5"), split=""))
    done = runner.invoke(main, ["report", str(path), "--out", str(tmp_path / "page.html")])
    assert done.stdout.splitlines()[0] == "a.h5: multiply 100.0 % top-1"
    assert "<dt>Splits</dt>" not in (tmp_path / "page.html").read_text()
