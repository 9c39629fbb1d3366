"""Rows that start from a row of another recipe, trained on another data set: planned, trained once, gone on with."""

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avr.cli import main
from avr.core import UsageError, read_json, top_k_accuracy
from avr.heads import load_run
from avr.recipes import Changes, Making, load_recipe, plan_stages, run_recipe, settle
from avr.recipes.planning import Pace
from avr.recipes.tables import foot_lines
from avr.store import FeatureStore

from .conftest import MINE, parse, write_store

STORE = 'streams = ["rgb", "flow"]\nlayers = ["pooled"]\nfinetune = {}\n'
ROW = '[[rows]]\nname = "{name}"\nhead = "stfn"\noutput = "fused"\noptions = {{ kernels = [2, 3], dropout = 0.0 }}\n'
PLAIN = Changes(settings="small", training={"standardise": "no", "min_steps": 0})


@pytest.fixture
def recipe(tmp_path):
    """`mine`, whose row starts from a row of `large`, of which another would fail."""
    large = MINE + STORE + ROW.format(name="whole") + "training = { epochs = 3 }\nfigures = { large = 90.0 }\n"
    large += "end_to_end = true\n"
    large += '[[rows]]\nname = "other"\nhead = "nothing"\n'
    (tmp_path / "large.toml").write_text(large)
    mine = MINE + STORE + ROW.format(name="on") + f'start_from = "{tmp_path / "large.toml"}:whole"\n'
    (tmp_path / "mine.toml").write_text(mine + "training = { epochs = 0 }\nfigures = { toy = 60.0 }\n")
    return load_recipe(str(tmp_path / "mine.toml"))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("large") / "store", name="large")


def go(recipe, store, out, start, **more):
    return run_recipe(recipe, stores=[("", store)], out=out, start=start, changes=PLAIN, device="cpu", **more)


def test_a_row_goes_on_from_another_recipes_which_is_trained_once(recipe, toy_store, large, tmp_path, monkeypatch):
    outcome = go(recipe, toy_store, tmp_path / "out", large, splits="1")
    (start,) = (tmp_path / "out" / "starts").iterdir()
    (theirs,) = start.glob("runs/*/seed-0-split-1")
    head = load_run(theirs)
    with FeatureStore(toy_store) as store:
        test = store.split("1")[1].nonzero()[0]
        found = [head.predict({s: store.read(s, "pooled", [v]) for s in store.streams})["fused"] for v in test]
        expected = 100 * top_k_accuracy(np.array(found), store.labels[test])
    (measured,) = outcome.rows
    assert measured.values[0, "1"] == pytest.approx(expected)
    there = read_json(next(start.glob("rows/*/*.json")))["top1"]
    name = recipe.rows[0].start_from
    assert f"rows start from {name}, trained on large, split 1: {there:.1f} there, the paper's 90.0" in foot_lines(
        outcome
    )
    # the other split starts from the same one, which is not trained anew; without it the row is another training
    monkeypatch.setattr("avr.recipes.bench.accuracy_of", lambda *_, **__: 0.5)
    before = (theirs / "run.json").stat().st_mtime_ns
    both = go(recipe, toy_store, tmp_path / "out", large, splits="all")
    assert both.rows[0].values == {(0, "1"): measured.values[0, "1"], (0, "2"): 50.0}
    assert (theirs / "run.json").stat().st_mtime_ns == before
    assert list(start.glob("runs/*/*")) == [theirs]
    without = go(recipe, toy_store, tmp_path / "out", None, splits="1")
    assert f"does not start from {name}, the paper's does" in without.rows[0].aside
    assert len(list((tmp_path / "out" / "runs").glob("*"))) == 2


def test_what_cannot_start_is_told(recipe, toy_store, large, tmp_path, monkeypatch):
    monkeypatch.setattr("avr.heads._run.open_examples", None)
    with pytest.raises(UsageError, match="the rows are trained on toy itself; name another data set"):
        go(recipe, toy_store, tmp_path / "out", toy_store)
    with pytest.raises(UsageError, match="no row of stfn-table2 starts from another recipe's: leave --start-from out"):
        go(load_recipe("stfn-table2"), toy_store, tmp_path / "out", large)
    gone = replace(recipe, rows=(replace(recipe.rows[0], start_from="stfn-table2:Mean"),))
    with pytest.raises(UsageError, match="unknown row of stfn-table2 'Mean'; known: Average, Maximum, Multiplication"):
        go(gone, toy_store, tmp_path / "out", large)
    assert not (tmp_path / "out").exists()


def test_where_the_start_fails_its_row_says_so(recipe, toy_store, large, tmp_path):
    bad = Changes(settings="small", training={"standardise": "no", "lr": "1e30", "clip_norm": "0", "min_steps": "9"})
    outcome = run_recipe(recipe, stores=[("", toy_store)], out=tmp_path / "out", start=large, changes=bad)
    (measured,) = outcome.rows
    assert measured.failed
    assert measured.reason.startswith(f"{recipe.rows[0].start_from}: stfn, split 1: the loss is")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('start_from = "large"', "row two: start_from=large is not possible; it takes RECIPE:ROW"),
        ('start_from = "large:whole"', "stores.main: its rows differ in start_from, and its networks are one"),
    ],
)
def test_a_bad_start_in_a_file_is_refused(tmp_path, entry, message):
    path = tmp_path / "mine.toml"
    path.write_text(MINE + STORE + ROW.format(name="one") + ROW.format(name="two") + entry)
    with pytest.raises(UsageError, match=message):
        load_recipe(str(path))


def test_a_tuned_row_starts_by_a_command_that_avr_takes(recipe, toy_store, large, tmp_path):
    told = {"stores": [("", toy_store)], "start": large, "changes": replace(PLAIN, trials=2), "splits": "1"}
    steps = plan_stages(settle(recipe, **told), tmp_path, pace=Pace({}, 1000.0), where="")
    assert [step.stage for step in steps] == ["head", "trials"]
    start, tuned = (parse(step.command).params for step in steps)
    assert (tuned["start_from"], tuned["trials"]) == (start["out"], 2)


@pytest.fixture
def theirs(unmade, tmp_path):
    """Of another data set, of the same splits, all is made."""
    videos = tuple(replace(v, id=f"large/{v.id}", path=Path("/large", v.path.name)) for v in unmade.videos)
    splits = {
        name: replace(s, train=tuple(f"large/{v}" for v in s.train), test=tuple(f"large/{v}" for v in s.test))
        for name, s in unmade.splits.items()
    }
    large = replace(unmade, name="large", videos=videos, splits=splits)
    return Making(large, tmp_path / "stages-large", tmp_path / "cache-large")


@pytest.fixture
def asked(unmade, tmp_path):
    return {"making": Making(unmade, tmp_path / "stages", tmp_path / "cache"), "changes": PLAIN, "splits": "1"}


def test_what_rows_and_their_starts_differ_in_is_each_ones_own(recipe, asked, theirs, tmp_path):
    rgb = {"main": replace(recipe.stores["main"], settings=recipe.stores["main"].settings | {"streams": ("rgb",)})}
    other = replace(recipe, stores=rgb, rows=(replace(recipe.rows[0], head="coattention", options={}),))
    changes = replace(PLAIN, options={"hidden": "4"})  # of this head alone
    settled = settle(other, **asked | {"changes": changes}, start=theirs)
    (start,) = settled.starts.values()
    assert (start.changes.options, settled.changes.options) == ({}, {"hidden": "4"})
    assert settle(other, **asked | {"changes": changes}).flow_methods == set()
    assert settled.flow_methods == {"dis"}
    (tmp_path / "link").symlink_to("/nowhere")
    videos = tuple(replace(v, path=tmp_path / "link" / v.path.name) for v in theirs.dataset.videos)
    own = replace(theirs, dataset=replace(theirs.dataset, videos=videos))
    with pytest.raises(UsageError, match="--start-from large: 4 of its files are files of toy"):
        settle(recipe, **asked, start=own)


def test_networks_go_on_too_and_the_plan_tells_every_stage(recipe, asked, theirs, tmp_path, monkeypatch):
    def planned(start):
        settled = settle(recipe, **asked, start=start)
        told = {"pace": Pace({"dis": 0.01}, 1000.0), "where": "--dataset toy", "start": "--dataset large"}
        return plan_stages(settled, tmp_path / "out", **told)

    kinds = ["frames", "backbone", "backbone", "store", "head"]
    steps = planned(theirs)
    assert [step.stage for step in steps] == kinds * 2
    assert [step.rows for step in steps] == [(recipe.rows[0].start_from,)] * 5 + [("on",)] * 5
    first, second = (shlex.split(steps[number].command) for number in (1, 6))
    assert first[:5] == ["avr", "finetune", "backbone", "--dataset", "large"]
    assert second[second.index("--weights") + 1] == f"{first[first.index('--out') + 1]}/weights.safetensors"
    head = shlex.split(steps[9].command)
    assert head[head.index("--start-from") + 1] == shlex.split(steps[4].command)[-1]
    alone = planned(None)
    assert not {step.command for step in alone if step.command} & {step.command for step in steps[5:]}
    outcome = run_recipe(recipe, **asked, start=theirs, out=tmp_path / "out", device="cpu")
    assert "starts from large, the paper's from" not in outcome.rows[0].aside
    assert "its start: random weights, not trained end to end" in outcome.rows[0].aside
    assert all(step.done for step in planned(theirs))
    # what rows go on from is made again where it is gone and a row has no figure, and not before
    backbone, trained = (Path(shlex.split(steps[number].command)[-1]) for number in (1, 4))
    (backbone / "weights.safetensors").touch()
    monkeypatch.setattr("avr.recipes.stages.sha256_of", None)  # nothing asks what is in them
    for gone, needed in ((trained, ["frames", "store", "head"]), (backbone, ["frames", "backbone", "store"])):
        shutil.rmtree(gone)
        assert all(step.done for step in planned(theirs))
        run_recipe(recipe, **asked, start=theirs, out=tmp_path / "out", device="cpu")
        assert not gone.exists()
        shutil.rmtree(tmp_path / "out" / "rows")
        lacking = [step for step in planned(theirs) if not step.done]
        assert [(step.stage, step.rows) for step in lacking] == [(kind, steps[0].rows) for kind in needed]
        run_recipe(recipe, **asked, start=theirs, out=tmp_path / "out", device="cpu")
        assert gone.exists()


def test_the_command_takes_a_data_set_or_a_store(runner, recipe, toy_store, large, tmp_path, monkeypatch):
    told = {}

    def run(recipe, **asked):
        told.update(asked)
        raise UsageError("far enough")

    monkeypatch.setattr("avr.recipes.run_recipe", run)
    words = ["recipe", "run", str(tmp_path / "mine.toml"), "--store", str(toy_store), "--start-from", str(large)]
    assert "far enough" in runner.invoke(main, words).stderr
    assert told["start"] == Path(large)
    monkeypatch.chdir(tmp_path)
    for place in ("one", "two"):
        for number in range(4):
            (tmp_path / place / f"class{number % 2}").mkdir(parents=True, exist_ok=True)
            (tmp_path / place / f"class{number % 2}" / f"{number}.avi").touch()
    words = ["recipe", "run", "mine.toml", "--dataset", "one", "--start-from", "two", "--finetune", "--cache", "kept"]
    assert "far enough" in runner.invoke(main, words).stderr
    assert (told["making"].dataset.name, told["start"].dataset.name) == ("one", "two")
    assert (told["making"].cache, told["start"].cache) == (Path("kept"), Path("kept/two"))
