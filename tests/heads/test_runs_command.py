"""`avr runs`: every run with its figures, whole or not; a run repeated from its record."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from avr.cli import main
from avr.core import measure
from avr.heads import train_run
from avr.report import list_runs
from avr.store import read_record, read_scores


@pytest.fixture(scope="module")
def trained(toy_store, tmp_path_factory):
    """A run of two splits."""
    out = tmp_path_factory.mktemp("trained") / "linear-toy-1"
    train_run(toy_store, "linear", split="all", folds=2, seed=3, training={"epochs": 2, "min_steps": 5}, out=out)
    return out


@pytest.fixture
def runs(trained, tmp_path, monkeypatch):
    """A folder with that run, in the working folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "runs" / trained.name)
    return tmp_path / "runs"


def test_runs_are_listed_with_figures_of_their_test_videos(runs, runner):
    done = runner.invoke(main, ["fuse", "average", "runs/linear-toy-1", "--bootstrap", "50"])
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
    assert set(lines) == {"runs/linear-toy-1", "runs/fuse-average-1", "runs/more/broken", "runs/more/begun"}
    head, fused = lines["runs/linear-toy-1"], lines["runs/fuse-average-1"]
    assert (head.kind, head.head, head.splits, head.complete) == ("head", "linear", ("1", "2"), True)
    assert (fused.kind, fused.head, fused.videos) == ("fuse", "fuse-average", head.videos)
    found = [read_scores(f"runs/fuse-average-1/split-{split}/scores.h5") for split in "12"]
    values = np.concatenate([scores.streams["fused"] for scores in found])
    expected = measure(values, np.concatenate([scores.labels for scores in found]))
    assert fused.top1 == head.top1 == expected["top1"]  # the head's prediction is its streams' average
    assert fused.mean_class == expected["mean_class"]
    assert head.low is None  # of four groups
    assert not lines["runs/more/broken"].complete
    assert "damaged" in lines["runs/more/broken"].lack
    assert [row[0] for row in csv.reader(Path("list.csv").read_text().splitlines())][1:] == [
        str(line.run) for line in list_runs()
    ]
    assert "linear-toy-1" in done.stdout
    assert "damaged" in done.stdout


def test_a_run_is_shown_and_repeated_from_its_record(runs, runner):
    told = json.loads(runner.invoke(main, ["runs", "show", "runs/linear-toy-1", "--json"]).stdout)
    assert told["repeat"][0] == "avr heads train --config runs/linear-toy-1"
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


def test_a_run_repeated_on_other_features_is_said(runs, make_store, runner, tmp_path):
    make_store(tmp_path / "other", class_of_person=True)
    done = runner.invoke(
        main, ["heads", "train", "--config", "runs/linear-toy-1", "--store", "other", "--folds", "0", "--split", "1"]
    )
    assert done.exit_code == 0, done.output
    assert "other: holds other features than those that runs/linear-toy-1 was made of" in done.stderr


def test_no_runs_there(runner, tmp_path):
    assert "no runs there" in runner.invoke(main, ["runs", "--under", str(tmp_path)]).stdout
    done = runner.invoke(main, ["runs", "--under", str(tmp_path / "none")])
    assert (done.exit_code, done.stderr.strip()) == (2, f"error: {tmp_path / 'none'}: no such folder")
