"""`avr runs`: every run with its figures, whole or not; a run repeated from its record."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avr.cli import main
from avr.core import measure, softmax
from avr.heads import train_run
from avr.report import list_runs, write_predictions
from avr.store import FeatureStore, Scores, Videos, read_record, read_scores, write_record, write_scores


@pytest.fixture(scope="module")
def trained(toy_store, tmp_path_factory):
    """A run of two splits."""
    out = tmp_path_factory.mktemp("trained") / "linear-toy-1"
    train_run(toy_store, "linear", split="all", folds=2, seed=3, training={"epochs": 7}, out=out)
    return out


@pytest.fixture
def runs(trained, tmp_path, monkeypatch):
    """A folder with that run, in the working folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "runs" / trained.name)
    return tmp_path / "runs"


def test_runs_are_listed_with_figures_of_their_test_videos(runs, runner):
    done = runner.invoke(main, ["fuse", "multiply", "runs/linear-toy-1", "--bootstrap", "50"])
    assert done.exit_code == 0, done.output
    shutil.copytree("runs/linear-toy-1", "runs/more/broken")
    (runs / "more/broken/run.json").write_text("{}")
    begun = json.loads((runs / "linear-toy-1/run.json").read_text())
    (runs / "more/begun").mkdir()
    (runs / "more/begun/run.json").write_text(
        json.dumps({**begun, "complete": False, "splits": {}, "summary": {}, "sha256": ""} | {"written": ""})
    )

    done = runner.invoke(main, ["runs", "--csv", "list.csv"])
    assert done.exit_code == 0, done.output
    lines = {line.run.as_posix(): line for line in list_runs()}
    assert set(lines) == {"runs/linear-toy-1", "runs/fuse-multiply-1", "runs/more/broken", "runs/more/begun"}
    head, fused = lines["runs/linear-toy-1"], lines["runs/fuse-multiply-1"]
    assert (head.kind, head.head, head.splits, head.complete) == ("head", "linear", ("1", "2"), True)
    assert (fused.kind, fused.head, fused.videos) == ("fuse", "fuse-multiply", head.videos)
    found = [read_scores(f"runs/fuse-multiply-1/split-{split}/scores.h5") for split in "12"]
    values = np.concatenate([scores.streams["fused"] for scores in found])
    expected = measure(values, np.concatenate([scores.labels for scores in found]))
    assert fused.top1 == head.top1 == expected["top1"]  # the head's prediction is its streams' product
    assert fused.mean_class == expected["mean_class"]
    assert head.low is None  # of four groups
    assert not lines["runs/more/broken"].complete
    assert "damaged" in lines["runs/more/broken"].lack
    assert [row[0] for row in csv.reader(Path("list.csv").read_text().splitlines())][1:] == [
        str(line.run) for line in list_runs()
    ]
    assert "linear-toy-1" in done.stdout
    assert "damaged" in done.stdout


def test_the_lists_own_options_are_no_subcommands(runs, runner):
    done = runner.invoke(main, ["runs", "--json", "--csv", "a.csv", "show", "runs/linear-toy-1"])
    assert done.exit_code == 2
    assert "what stands before 'show' is of the list alone: give its options after 'avr runs show'" in done.stderr


def test_a_list_replaces_no_other_file_unasked(runs, runner):
    Path("thesis.csv").write_text("mine")
    done = runner.invoke(main, ["runs", "--csv", "thesis.csv"])
    assert (done.exit_code, "thesis.csv: is there already" in done.stderr) == (2, True)
    assert Path("thesis.csv").read_text() == "mine"
    assert runner.invoke(main, ["runs", "--csv", "thesis.csv", "--overwrite"]).exit_code == 0
    assert "linear-toy-1" in Path("thesis.csv").read_text()


def test_a_run_is_shown_and_repeated_from_its_record(runs, runner):
    told = json.loads(runner.invoke(main, ["runs", "show", "runs/linear-toy-1", "--json"]).stdout)
    assert told["repeat"] == ["avr heads train --config runs/linear-toy-1"]
    assert "command" not in told["record"]  # it was begun from Python
    assert "seed" in runner.invoke(main, ["runs", "show", "runs/linear-toy-1"]).stdout

    done = runner.invoke(main, told["repeat"][0].split()[1:])
    assert done.exit_code == 0, done.output
    before, after = read_record(runs / "linear-toy-1"), read_record(runs / "linear-toy-2")
    assert not before.differences(after)
    assert before.summary == after.summary

    done = runner.invoke(
        main,
        ["heads", "train", "--config", "runs/linear-toy-1/run.json", "--split", "2", "--seed", "4", "--folds", "0"],
    )
    assert done.exit_code == 0, done.output
    changed = read_record(runs / "linear-toy-3")
    assert before.training == changed.training
    assert (changed.seed, changed.wanted, changed.identity["folds"]) == (4, ("2",), 0)


def test_what_is_given_changes_nothing_else_of_a_run_that_is_repeated(toy_store, runner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = {"training": {"min_steps": 20, "batch_size": 16, "clip_norm": 1.0}, "folds": 0, "freeze": ("first",)}
    options = {"kernels": (2, 3), "dropout": 0.2}
    before = read_record(train_run(toy_store, "stfn", options=options, out=Path("one"), **told).folder)
    again = ["heads", "train", "--config", "one", "--out", "two", "--epochs", "2", "--training", "label_smoothing=0.1"]
    done = runner.invoke(main, [*again, "--set", "dropout=0"])
    assert done.exit_code == 0, done.output
    after = read_record(Path("two"))
    assert after.options == before.options | {"dropout": 0}
    assert after.training == before.training | {"epochs": 2, "min_steps": 0, "label_smoothing": 0.1}
    assert after.identity == before.identity

    train_run(toy_store, "stfn", options=options, start_from=Path("one"), out=Path("three"), training={"epochs": 1})
    done = runner.invoke(main, ["heads", "train", "--config", "three"])
    assert done.exit_code == 2
    assert "three started from the weights of another run: name that one with --start-from" in done.stderr
    assert "avr heads train --config three --start-from RUN" in runner.invoke(main, ["runs", "show", "three"]).stdout


def test_a_run_repeated_on_other_features_is_said(runs, make_store, runner, tmp_path):
    """Where the user names no others."""
    make_store(tmp_path / "other", class_of_person=True)
    again = ["heads", "train", "--config", "runs/linear-toy-1", "--folds", "0", "--split", "1", "--epochs", "1"]
    done = runner.invoke(main, [*again, "--store", "other"])
    assert (done.exit_code, "holds other features" in done.stderr) == (0, False), done.output
    record = read_record(runs / "linear-toy-1")
    write_record(runs / "linear-toy-1", replace(record, store={"paths": [str(tmp_path / "other")]}))
    done = runner.invoke(main, again)
    assert done.exit_code == 0, done.output
    assert "other: holds other features than those that runs/linear-toy-1 was made of" in done.stderr

    for identity in ({"folds": {}}, {"folds": [1, 2]}, {"keep_statistics": {"a": 1}}, {"freeze": 5}):
        write_record(runs / "linear-toy-1", replace(record, identity=record.identity | identity))
        done = runner.invoke(main, [one for one in again if one not in ("--folds", "0")])
        assert (done.exit_code, "error" in done.stderr.lower()) == (2, True), (identity, done.output)
        assert not isinstance(done.exception, (TypeError, AttributeError))


@pytest.mark.usefixtures("locks")
def test_early_svm_is_repeated_with_its_split_and_its_stores_wherever_they_lie(
    make_store, tmp_path, monkeypatch, runner
):
    """A store's path may hold ", "; of an older run its sources say it."""
    make_store(tmp_path / "a, b" / "toy")
    monkeypatch.chdir(tmp_path)
    told = ["fuse", "early-svm", "--bootstrap", "50"]
    done = runner.invoke(main, [*told, "--store", "a, b/toy", "--split", "1", "--out", "es"])
    assert done.exit_code == 0, done.output
    done = runner.invoke(main, ["fuse", "early-svm", "--config", "es", "--out", "again"])
    assert (done.exit_code, done.stderr.count("warning")) == (0, 0), done.output
    assert not read_record(tmp_path / "es").differences(read_record(tmp_path / "again"))
    scores = read_scores("es/scores.h5")
    assert scores.provenance["stores"] == [str(tmp_path / "a, b" / "toy")]

    (tmp_path / "a, b" / "toy").rename("toy")
    sources = [{**source, "store": str(tmp_path / "toy")} for source in scores.provenance["sources"]]
    older = {name: value for name, value in scores.provenance.items() if name != "stores"} | {"sources": sources}
    write_scores("es/scores.h5", replace(scores, provenance=older))
    assert runner.invoke(main, ["fuse", "early-svm", "--config", "es", "--out", "third"]).exit_code == 0


def test_no_runs_there(runner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = runner.invoke(main, ["runs"])
    assert (done.exit_code, done.stdout) == (0, "no runs there: avr heads train linear makes one\n")
    assert "no runs there" in runner.invoke(main, ["runs", "--under", str(tmp_path)]).stdout
    done = runner.invoke(main, ["runs", "--under", str(tmp_path / "none")])
    assert (done.exit_code, done.stderr.strip()) == (2, f"error: {tmp_path / 'none'}: no such folder")


def test_predictions_of_each_test_video_are_a_table_that_reads_as_scores(runs, runner):
    done = runner.invoke(main, ["runs", "predictions", "runs/linear-toy-1", "--out", "all.csv"])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(Path("all.csv").read_text().splitlines()))
    found = [read_scores(path) for path in sorted(runs.rglob("scores.h5"))]
    assert len(rows) == sum((scores.fold == -1).sum() for scores in found)
    first, scores = rows[0], found[0]
    place = scores.ids.tolist().index(first["id"])
    roots = np.sqrt(np.prod([softmax(values[place]) for values in scores.streams.values()], axis=0))  # of two streams
    expected = roots / roots.sum()
    np.testing.assert_allclose([float(first[name]) for name in scores.class_names], expected, atol=1e-6)
    assert (first["split"], first["label"]) == (scores.split, scores.class_names[scores.labels[place]])
    assert first["predicted"] == scores.class_names[expected.argmax()]

    done = runner.invoke(main, "store import-scores all.csv --out again".split())  # noqa: SIM905
    assert done.exit_code == 0, done.output
    again = read_scores("again/all.h5")
    np.testing.assert_allclose(next(iter(again.streams.values()))[0], expected, atol=1e-6)

    done = runner.invoke(main, ["runs", "predictions", "runs/linear-toy-1", "--out", "all.csv", "--output", "rgb"])
    assert (done.exit_code, "all.csv: is there" in done.stderr) == (2, True)
    done = runner.invoke(main, ["runs", "predictions", "runs/linear-toy-1", "--out", "b.csv", "--output", "fused"])
    assert "has no output 'fused'; it holds rgb, flow, average, multiply" in done.stderr

    out = ["--output", "average", "--out", "average.csv"]
    assert runner.invoke(main, ["runs", "predictions", "runs/linear-toy-1", *out]).exit_code == 0
    first = next(csv.DictReader(Path("average.csv").read_text().splitlines()))
    mean = np.mean([softmax(values[place]) for values in scores.streams.values()], axis=0)
    np.testing.assert_allclose([float(first[name]) for name in scores.class_names], mean, atol=1e-6)


def test_names_that_a_spreadsheet_would_run_are_made_safe(tmp_path, capsys):
    scores = Scores.of(
        Videos(np.array(["=1+1", "b"]), np.array([0, -1]), np.array(["g", "h"]), ("x", "=cmd()")),
        {"rgb": np.array([[0.9, 0.1], [0.2, 0.8]])},
        kind="probabilities",
    )
    write_scores(tmp_path / "s.h5", scores)
    assert write_predictions(tmp_path / "s.h5", tmp_path / "p.csv") == 2
    assert (tmp_path / "p.csv").read_text().splitlines() == [
        "id,split,label,predicted,x,'=cmd()",
        "'=1+1,,x,x,0.9,0.1",
        "b,,,'=cmd(),0.2,0.8",
    ]


@pytest.mark.parametrize("head", ["linear", "stfn"])
def test_a_head_in_onnxruntime_gives_the_scores_of_its_run(runs, toy_store, runner, head):
    """Of a network a stream, and of one that has steps of its own for the processor."""
    onnxruntime = pytest.importorskip("onnxruntime")
    run = runs / "linear-toy-1"
    if head == "stfn":
        run = train_run(toy_store, "stfn", folds=0, training={"epochs": 1, "min_steps": 0}).folder
    done = runner.invoke(main, ["heads", "export", str(run), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    session = onnxruntime.InferenceSession("head.onnx", providers=["CPUExecutionProvider"])
    scores = read_scores(run / "split-1/scores.h5")
    test = scores.fold == -1
    with FeatureStore(toy_store) as store:
        features = {s: store.read(s, "pooled", scores.ids[test]).astype(np.float32) for s in ("rgb", "flow")}
    found = dict(zip(told["outputs"], session.run(None, features), strict=True))
    for stream, values in scores.streams.items():
        np.testing.assert_allclose(found[f"{stream}_probabilities"], softmax(values[test]), atol=1e-5)
    assert told["prediction"] in found
    about = session.get_modelmeta().custom_metadata_map
    assert tuple(json.loads(about["class_names"])) == scores.class_names
    again = runner.invoke(main, ["heads", "export", str(run)])
    assert (again.exit_code, "head.onnx: is there" in again.stderr) == (2, True)


def test_a_graph_that_gives_other_probabilities_is_not_written(runs, monkeypatch, runner):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("avr.predict.onnx._check", lambda *_: 0.3)
    done = runner.invoke(main, ["heads", "export", "runs/linear-toy-1"])
    assert done.exit_code == 1
    assert "gives other probabilities, by 0.3: it is not written" in done.stderr
    assert not Path("head.onnx").exists()
