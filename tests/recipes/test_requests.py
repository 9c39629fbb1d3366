"""What a run is asked: stores, options, settings, files, a folder; what it refuses, and what it says of the stores."""

import json

import pytest
import torch

from avr.cli import main
from avr.core import FolderLock, UsageError, WorkError
from avr.heads import save_tensors
from avr.recipes import Changes, load_recipe, run_recipe
from avr.recipes.jobs import jobs_of
from avr.recipes.serving import Source
from avr.recipes.tables import foot_lines, head_lines
from avr.store import RunRecord, write_record

from .conftest import write_store

MINE = """
title = "Mine"
paper = "-"
metric = "m"
split = "first"
datasets = ["toy"]
notes = ["Take care."]
[stores.main]
backbone = "resnet50"
streams = ["rgb", "flow"]
layers = ["pooled"]
[training.any.linear]
momentum = 0.5
[training.toy.linear]
batch_size = 7
"""


def row(name, **entries):
    lines = [f"{key} = {value}" for key, value in entries.items()]
    return "\n".join(["[[rows]]", f'name = "{name}"', *lines, ""])


def go(recipe, store, out, **more):
    stores = more.pop("stores", [("", store)])
    return run_recipe(load_recipe(recipe), stores=stores, out=out, changes=Changes(**more.pop("changes", {})), **more)


# --- data sets, settings, training ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("recipe", "dataset"), [("temporal-pyramid-table1", "ucf101"), ("temporal-pyramid-table2", "ucf-sports")]
)
def test_the_papers_settings_hold_on_its_data_sets_without_figures_too(tmp_path, untrained, recipe, dataset):
    store = write_store(tmp_path / "store", name=dataset)
    outcome = go(recipe, store, tmp_path / "out")
    assert outcome.settings == "paper"
    assert {request.training.schedule for request in untrained} == {"two-stage"}
    notes = [f"note: {text}" for text in outcome.recipe.notes]
    assert [line for line in head_lines(outcome) if line.startswith("note")] == notes


def test_a_rows_training_always_applies_and_the_papers_with_its_settings(toy_store, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINE + row("one", head='"linear"', training="{ lr = 0.5 }") + row("two", head='"linear"'))
    for settings in ("small", "paper"):
        jobs = jobs_of(
            load_recipe(str(path)),
            sources={"main": Source(toy_store)},
            dataset="toy",
            changes=Changes(settings=settings),
        )
        one, two = (jobs[name].training for name in ("one", "two"))
        assert one.lr == 0.5 != two.lr
        assert ((one.momentum, one.batch_size) == (0.5, 7)) == (settings == "paper")


def test_rows_that_read_other_features_share_no_threads(toy_store, tmp_path, monkeypatch):
    """Also where a part of the work was done before."""
    told = []

    def train(requests, *, trainings, **_):
        told.append((len(requests), trainings))
        for request in requests[:1]:
            write_record(request.out, RunRecord("head", complete=True))
        return [None for _ in requests]

    monkeypatch.setattr("avr.recipes.bench.train_runs", train)
    monkeypatch.setattr("avr.recipes.bench.accuracy_of", lambda *_, **__: 0.5)
    path = tmp_path / "mine.toml"
    rows = [("one", "rgb", 0.1), ("two", "flow", 0.1), ("three", "flow", 0.2), ("four", "flow", 0.2)]
    text = [row(n, head='"linear"', streams=f'["{s}"]', training=f"{{ lr = {lr} }}") for n, s, lr in rows]
    path.write_text(MINE + "".join(text))
    for _ in range(2):
        go(str(path), toy_store, tmp_path / "out")
        for figure in (tmp_path / "out" / "rows").rglob("*.json"):
            figure.unlink()
    assert told == [(3, 2), (2, 2)]


def test_show_prints_training(runner, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINE + row("one", head='"linear"', training="{ lr = 0.5 }"))
    shown = runner.invoke(main, ["recipe", "show", str(path)]).stdout
    assert "lr=0.5" in shown
    assert "paper's training, any, linear: momentum=0.5" in shown


# --- options ----------------------------------------------------------------------------------------------------------
def test_an_option_that_no_head_has_is_refused(toy_store, tmp_path, untrained):
    with pytest.raises(
        UsageError,
        match=r"unknown option of the heads of stfn-table2 'fuson' \(did you mean fusion\?\); known: .*fusion",
    ):
        go("stfn-table2", toy_store, tmp_path, changes={"options": {"fuson": "maximum"}})
    assert not untrained


def test_what_rows_differ_in_cannot_be_set_for_all(toy_store, tmp_path, untrained):
    with pytest.raises(UsageError, match=r"stfn-table2 differ in fusion \(average, maximum, multiply\)"):
        go("stfn-table2", toy_store, tmp_path, changes={"options": {"fusion": "maximum"}})
    go("stfn-table2", toy_store, tmp_path, changes={"options": {"dropout": "0.5"}})  # all rows alike
    path = tmp_path / "mine.toml"
    path.write_text(MINE + row("one", head='"linear"', training="{ lr = 0.5 }") + row("two", head='"linear"'))
    with pytest.raises(UsageError, match="mine differ in lr"):
        go(str(path), toy_store, tmp_path, changes={"training": {"lr": "1"}})


def test_a_file_enters_the_key_by_what_it_holds(toy_store, tmp_path):
    recipe, first, second = load_recipe("frame-attention-table1"), tmp_path / "a.pth", tmp_path / "b.pth"

    def key(path):
        changes = Changes(settings="small", options={"fc6_weights": str(path)})
        return jobs_of(recipe, sources={"main": Source(toy_store)}, dataset="toy", changes=changes)[
            recipe.rows[0].name
        ].key

    first.write_text("weights")
    second.write_text("weights")
    before = key(first)
    assert key(second) == before
    first.write_text("others")
    assert key(first) != before
    with pytest.raises(UsageError, match="fc6_weights: no file"):
        key(tmp_path / "none.pth")


# --- stores -----------------------------------------------------------------------------------------------------------
def test_each_bare_store_serves_what_it_fits_and_no_other_serves(runner, toy_store, tmp_path, untrained):
    seven = write_store(tmp_path / "seven", steps=7)
    more = ["--out", str(tmp_path / "out"), "--json"]
    both = ["recipe", "run", "stfn-table4", "--store", str(toy_store), "--store", str(seven), *more]
    printed = json.loads(runner.invoke(main, both).stdout)
    assert [bool(measured["runs"]) for measured in printed["rows"]] == [True, False, True, False]
    assert [request.store for request in untrained] == [toy_store, seven]
    again = runner.invoke(
        main, ["recipe", "run", "stfn-table2", "--store", str(toy_store), "--store", str(seven), *more]
    )
    assert again.exit_code == 2
    assert f"{seven} serves no row: {toy_store} serves all that it fits" in again.stderr
    with pytest.raises(UsageError, match="two stores for section n3"):
        go("stfn-table4", None, tmp_path / "out", stores=[("n3", toy_store), ("n3", seven)])


def test_splits_are_those_that_all_stores_have(tmp_path, untrained):
    named = {
        name: write_store(tmp_path / name, split_names=splits, steps=steps)
        for name, splits, steps in (("a", ("1", "2"), 3), ("b", ("3", "2"), 7), ("c", ("4", "5"), 9))
    }
    stores = [("", named["a"]), ("", named["b"])]
    assert go("stfn-table4", None, tmp_path / "out", stores=stores, splits="all").splits == ("2",)
    assert go("stfn-table4", None, tmp_path / "out", stores=stores).splits == ("2",)  # the first of them
    with pytest.raises(UsageError, match="no split '1'; they hold 1, 2, 3"):
        go("stfn-table4", None, tmp_path / "out", stores=stores, splits="1")
    with pytest.raises(UsageError, match="no split in common"):
        go("stfn-table4", None, tmp_path / "out", stores=[*stores, ("", named["c"])])


def test_what_the_store_has_otherwise_than_the_paper_is_said_beside_its_figures(tmp_path, untrained):
    settings = {"backbone": "squeezenet1_1", "plan": "segments", "segments": 3, "stack": 10, "flow": "dis", "views": 5}
    store = write_store(tmp_path / "store", name="hmdb51", settings=settings)
    outcome = go("stfn-table1", store, tmp_path / "out")
    assert foot_lines(outcome) == [
        "paper's figure in brackets: frozen networks, the paper's are trained, 48 videos, as published 6766",
        "store main: backbone squeezenet1_1, the paper's resnet101",
        "store main: segments 3, the paper's 5",
        "store main: flow dis, the paper's tvl1",
    ]
    without = go("stfn-table1", write_store(tmp_path / "toy", settings=settings), tmp_path / "out")
    assert foot_lines(without) == []  # no figure of the paper's beside


def test_parts_that_share_groups_are_said_under_any_table(tmp_path, untrained):
    store = write_store(tmp_path / "store", split_names=("video-1", "video-2"), by_video=True)
    outcome = go("stfn-table1", store, tmp_path / "out", splits="all")
    assert foot_lines(outcome) == [
        "split video-1, video-2, drawn by video: 6 of 6 groups have videos in both parts, so that figures are higher "
        "than on videos of new groups"
    ]


def test_a_section_may_have_a_store_for_each_split(toy_store, tmp_path, untrained):
    other = write_store(tmp_path / "other")
    stores = [("main@1", toy_store), ("main@2", other)]
    outcome = go("stfn-table2", None, tmp_path / "out", stores=stores, splits="all")
    assert {(request.split, request.store) for request in untrained} == {(("1",), toy_store), (("2",), other)}
    assert [len(measured.values) for measured in outcome.rows] == [2] * 3
    with pytest.raises(UsageError, match="the store has no split '3'"):
        go("stfn-table2", None, tmp_path / "out", stores=[("main@3", toy_store)])
    with pytest.raises(UsageError, match="two stores for section main@1"):
        go("stfn-table2", None, tmp_path / "out", stores=[("main@1", toy_store), ("main@1", other)])


def test_a_store_of_networks_that_saw_a_split_serves_that_split_alone(tmp_path, untrained):
    weights = tmp_path / "weights.safetensors"
    save_tensors(weights, {"a": torch.zeros(1)}, {"dataset": "toy", "split": "1"})
    store = write_store(tmp_path / "store", weights_files={"rgb": str(weights)})
    assert go("stfn-table2", store, tmp_path / "out", splits="all").splits == ("1",)
    with pytest.raises(UsageError, match="trained on split 1, and have seen test videos of split 2"):
        go("stfn-table2", None, tmp_path / "out", stores=[("main@2", store)])


# --- files and folders ------------------------------------------------------------------------------------------------
def test_score_files_are_looked_for_first(runner, toy_store, tmp_path, untrained):
    with pytest.raises(UsageError, match=r"--scores mifs=.*none\.h5: no such file"):
        go(
            "stfn-table6",
            None,
            tmp_path,
            stores=[("resnet101", toy_store)],
            changes={"scores": {"mifs": tmp_path / "none.h5"}},
        )
    with pytest.raises(UsageError, match="unknown outside scores of stfn-table2 'my-idt'; known: none"):
        go("stfn-table2", toy_store, tmp_path, changes={"scores": {"my-idt": tmp_path / "none.h5"}})
    # A name is the recipe's: a dash in it stays one on the command line.
    arguments = ["recipe", "run", "stfn-table2", "--store", str(toy_store), "--scores", "my-idt=none.h5"]
    assert "'my-idt'; known: none" in runner.invoke(main, arguments).stderr
    assert not untrained


def test_out_is_a_folder_of_one_run_at_a_time(toy_store, tmp_path, untrained):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        with pytest.raises(UsageError, match=r"file.*: is a file, or lies below one; choose another"):
            go("stfn-table2", toy_store, tmp_path / place)
    out = tmp_path / "out"
    out.mkdir()
    other = FolderLock(out)  # as another run holds it
    with pytest.raises(UsageError, match="out: this process already works in this folder"):
        go("stfn-table2", toy_store, out)
    assert not untrained
    other.release()
    go("stfn-table2", toy_store, out)
    go("stfn-table2", toy_store, out)  # and it was given back


def test_a_row_whose_work_fails_does_not_end_the_run(runner, toy_store, tmp_path, monkeypatch, untrained):
    """Of stilt-table4's rows four read one training, which fails once; the others are measured; exit code 1."""
    tried = []

    def train(requests, **_):
        for request in requests:
            tried.append(request.head)
            if request.head != "coattention":
                write_record(request.out, RunRecord("head", complete=True))
        return [WorkError("the loss is no number at epoch 3") if head == "coattention" else None for head in tried]

    monkeypatch.setattr("avr.recipes.bench.train_runs", train)
    arguments = ["recipe", "run", "stilt-table4", "--store", str(toy_store), "--splits", "1", "--out", str(tmp_path)]
    result = runner.invoke(main, arguments)
    assert result.exit_code == 1
    assert tried == ["linear", "coattention"]
    assert "Two-stream + STIL: the loss is no number at epoch 3" in result.stdout.splitlines()
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [(bool(measured["runs"]), measured["failed"]) for measured in rows] == [(True, False)] * 4 + [
        (False, True)
    ] * 4
