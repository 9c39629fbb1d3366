"""`avr recipe run --tune`: each row's settings chosen on its split's training part, the same however it was stopped."""

import sys
from dataclasses import replace

import pytest

from avr.cli import main
from avr.core import UsageError, read_json
from avr.heads import _tuning
from avr.recipes import Changes, as_object, load_recipe, run_recipe
from avr.recipes.planning import Pace
from avr.recipes.tables import foot_lines, head_lines, table_rows

from .conftest import MINE

pytest.importorskip("optuna")
RECIPE = (
    MINE
    + """\
streams = ["rgb"]
layers = ["pooled"]
[[rows]]
name = "free"
head = "consensus"
output = "rgb"
figures = { toy = 50.0 }
[[rows]]
name = "free, mean of the classes"
head = "consensus"
output = "rgb"
measure = "mean_class"
[[rows]]
name = "no dropout"
head = "consensus"
output = "rgb"
options = { dropout = 0.0 }
"""
)
TUNED = Changes(settings="small", training={"epochs": 2, "min_steps": 0, "label_smoothing": 0.1}, trials=2)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "mine.toml"
    path.write_text(RECIPE)
    return load_recipe(str(path))


def go(recipe, store, out, changes=TUNED):
    return run_recipe(recipe, stores=[("", store)], out=out, splits="1", changes=changes)


@pytest.fixture(scope="module")
def tuned(recipe, toy_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "out"
    return out, go(recipe, toy_store, out)


def trials(out):
    """What every run under a folder tried, by the settings that were searched."""
    found = sorted(out.glob("runs/*/*/tuning/trials.json"))
    return {tuple(trials[0]["values"]): trials for trials in (read_json(path)["trials"] for path in found)}


def test_each_training_is_tuned_once_and_what_a_row_or_the_run_names_stays(tuned):
    out, outcome = tuned
    assert set(trials(out)) == {("lr", "weight_decay", "dropout"), ("lr", "weight_decay")}
    for measured in outcome.rows:
        ((run, chosen),) = measured.chosen.items()
        best = min(trials(out)[tuple(chosen)], key=lambda trial: trial["loss"])
        assert chosen == best["values"]
        kept = read_json(next((out / "rows").glob(f"{'no-d' if 'dropout' not in chosen else 'free'}*/*.json")))
        record = read_json(out / kept["run"] / "run.json")
        assert (record["training"]["lr"], record["training"]["weight_decay"]) == (chosen["lr"], chosen["weight_decay"])
        assert (record["options"]["dropout"], record["training"]["label_smoothing"]) == (chosen.get("dropout", 0), 0.1)
        assert run == (0, "1")


def test_the_table_says_what_was_chosen_and_sets_the_papers_figure_aside(tuned):
    _, outcome = tuned
    assert head_lines(outcome)[1].endswith("then chosen by 2 trials of each head on its split's training part")
    assert table_rows(outcome)[1][1] == "(50.0)"
    brackets, *chosen, _, changed = foot_lines(outcome)
    assert brackets == "paper's figure in brackets: settings chosen by trials"
    assert [line.partition(":")[0] for line in chosen] == [
        "chosen, free, free, mean of the classes",
        "chosen, no dropout",
    ]
    lr = outcome.rows[2].chosen[0, "1"]["lr"]
    assert f"lr {lr:.3g}; weight_decay " in chosen[1]
    assert changed.startswith("changed, training of heads")
    two = {(0, "1"): {"lr": 0.01, "dropout": 0.5}, (0, "2"): {"lr": 0.02, "dropout": 0.5}}
    several = replace(outcome, rows=(replace(outcome.rows[0], chosen=two),), changed=())
    line = "chosen, free: lr 0.01, 0.02; dropout 0.5 (of seed 0 split 1, seed 0 split 2)"
    assert foot_lines(several)[1] == line
    seen = "settings are chosen by folds, but fine-tuned networks have seen every fold"
    assert seen in foot_lines(replace(outcome, finetuned=True))
    assert seen not in foot_lines(outcome)
    assert as_object(outcome)["rows"][2]["runs"][0]["chosen"]["lr"] == lr


def test_what_was_killed_goes_on_to_the_same_table_and_a_finished_one_does_nothing(
    recipe, tuned, toy_store, tmp_path, monkeypatch
):
    out, outcome = tuned
    real, calls = _tuning.keep_trials, []

    def killed(*arguments):
        real(*arguments)
        calls.append(arguments)
        if len(calls) == 3:  # in the second training's trials
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_tuning, "keep_trials", killed)
        with pytest.raises(KeyboardInterrupt):
            go(recipe, toy_store, tmp_path)
    assert sorted(map(len, trials(tmp_path).values())) == [1, 2]
    assert go(recipe, toy_store, tmp_path).rows == outcome.rows
    assert trials(tmp_path) == trials(out)
    monkeypatch.setattr("avr.recipes.bench.tune_run", None)
    monkeypatch.setattr("avr.recipes.bench.accuracy_of", None)
    assert go(recipe, toy_store, tmp_path).rows == outcome.rows


def test_permuted_test_labels_change_the_figures_and_no_choice(recipe, tuned, toy_store, tmp_path, permute_test_labels):
    out, outcome = tuned
    permute_test_labels("1")
    again = go(recipe, toy_store, tmp_path)
    assert trials(tmp_path) == trials(out)
    assert [measured.chosen for measured in again.rows] == [measured.chosen for measured in outcome.rows]
    assert [measured.values for measured in again.rows] != [measured.values for measured in outcome.rows]


def test_the_plan_tells_trials_hours_and_the_command(runner, toy_store, tmp_path, monkeypatch):
    """On a machine that computes anything at once, and whose every step takes a second a tensor, of two."""
    monkeypatch.setattr("avr.recipes.measure_pace", lambda _: Pace({}, 1e12, 1.0))
    (tmp_path / "mine.toml").write_text(RECIPE)
    told = ["recipe", "plan", str(tmp_path / "mine.toml"), "--store", str(toy_store), "--splits", "1"]
    told += ["--tune", "--trials", "2", "--training", "epochs=3", "--training", "min_steps=0"]
    lines = runner.invoke(main, told).stdout.splitlines()
    assert lines[0] == "trials of split 1: free, free, mean of the classes"
    assert lines[1].startswith(f"  avr heads tune consensus --store {toy_store} --split 1")
    # a step an epoch: three in each of two trials' five folds, and in the training
    assert lines[2] == f"  2 trials of 5 folds, then one training: about {66 / 3600:.3g} hours here"
    assert "--trials 2 --hold dropout --folds 0" in lines[4]
    assert lines[-1].startswith(f"in all: 2 of 2 stages to do, about {132 / 3600:.3g} hours here")


def test_a_missing_optuna_is_said_at_once(recipe, toy_store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"a tuning needs optuna: pip install .*\[optuna\]"):
        go(recipe, toy_store, tmp_path / "out")
    assert not (tmp_path / "out").exists()
