"""Recipes run end to end on a toy store: trained, killed, continued, printed."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from avr.cli import main
from avr.core import UsageError, read_json, top_k_accuracy
from avr.recipes import Changes, as_object, load_recipe, measure_pace, run_recipe
from avr.recipes.outcome import Measured, Outcome
from avr.recipes.tables import as_markdown, foot_lines, table_rows
from avr.store import pack, read_scores

from .conftest import write_store

QUICK = {"epochs": 2, "min_steps": 0, "lr": 0.01}  # where it does not matter what is learnt


def quick(name, store, out, **more):
    changes = Changes(training={**QUICK, **more.pop("training", {})}, **more.pop("changes", {}))
    return run_recipe(load_recipe(name), stores=[("", store)], out=out, changes=changes, **more)


def test_rows_measure_the_accuracy_of_the_trained_run(toy_store, tmp_path):
    outcome = quick("stfn-table2", toy_store, tmp_path, splits="all", seeds=(0, 1))
    assert outcome.dataset == "toy"
    assert outcome.settings == "small"
    for measured in outcome.rows:
        assert set(measured.values) == {(seed, split) for seed in (0, 1) for split in ("1", "2")}
        assert measured.figure is None  # the paper's are of other data
    # the figure of one run, from the scores it wrote
    row = outcome.rows[0]
    kept = json.loads(next((tmp_path / "rows").glob("average-*/seed-1-split-2.json")).read_text())
    scores = read_scores(tmp_path / kept["run"] / "split-2" / "scores.h5")
    test = scores.fold == -1
    expected = 100 * top_k_accuracy(scores.streams["fused"][test], scores.labels[test])
    assert row.values[1, "2"] == pytest.approx(expected)


def test_what_is_done_is_not_done_again_and_changed_settings_are(toy_store, tmp_path, monkeypatch):
    first = quick("stilt-table5", toy_store, tmp_path, splits="first")
    assert all(len(measured.values) == 1 for measured in first.rows)
    # four rows, one training
    assert len(list((tmp_path / "runs").glob("*/seed-0-split-1"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr("avr.heads._run.open_examples", None)  # cannot be called
        patch.setattr("avr.recipes.bench.accuracy_of", None)
        assert quick("stilt-table5", toy_store, tmp_path, splits="first").rows == first.rows
    quick("stilt-table5", toy_store, tmp_path, splits="first", training={"lr": 0.002})
    assert len(list((tmp_path / "runs").glob("*/seed-0-split-1"))) == 2


def test_a_row_of_several_splits_trains_each_and_late_fusion_rows_share(toy_store, tmp_path):
    # enough for the linear rows, which tell the classes at once; what coattention learns does not matter here
    outcome = quick("stilt-table4", toy_store, tmp_path, training={"epochs": 12, "lr": 0.05})
    assert [len(measured.values) for measured in outcome.rows] == [2] * 8
    spatial, temporal, two_stream, product, *_ = (np.mean(list(m.values.values())) for m in outcome.rows)
    # each stream alone leaves two classes to choose between (50 %, by chance more), both together tell all four
    assert max(spatial, temporal) < 75
    assert product > 85
    assert product >= two_stream > max(spatial, temporal)
    # linear once, coattention once, in both splits of the paper's protocol
    assert len(list((tmp_path / "runs").glob("*/seed-0-split-*"))) == 4


def test_a_store_serves_the_rows_it_fits(toy_store, tmp_path):
    outcome = quick("stfn-table4", toy_store, tmp_path)  # the store holds 3 segments
    assert [bool(measured.values) for measured in outcome.rows] == [True, False, False, False]
    assert outcome.rows[2].reason == "no store for it: give --store n7=PATH (see avr recipe plan stfn-table4)"
    with pytest.raises(UsageError, match=r"fits no row: the rows of stfn-table5 differ in backbone; name its section"):
        quick("stfn-table5", toy_store, tmp_path)
    with pytest.raises(UsageError, match="is the folder of recipe stfn-table4, not of stfn-table5: choose another"):
        run_recipe(load_recipe("stfn-table5"), stores=[("inception", toy_store)], out=tmp_path)
    named = run_recipe(
        load_recipe("stfn-table5"),
        stores=[("inception", toy_store)],
        out=tmp_path / "table5",
        changes=Changes(training=QUICK),
    )
    assert [bool(measured.values) for measured in named.rows] == [False] * 4 + [True] * 4
    with pytest.raises(UsageError, match="unknown store section 'vgg'; known: resnet101, inception"):
        run_recipe(load_recipe("stfn-table5"), stores=[("vgg", toy_store)], out=tmp_path)


def test_outside_scores_are_averaged_in(toy_store, tmp_path):
    from avr.store import write_scores

    recipe = load_recipe("stfn-table6")
    given = {"stores": [("resnet101", toy_store)], "out": tmp_path, "splits": "1"}
    plain = run_recipe(recipe, **given, changes=Changes(training=QUICK))
    assert [measured.reason for measured in plain.rows][1] == "no outside scores: give --scores mifs=FILE"
    scores = read_scores(next((tmp_path / "runs").glob("*/seed-0-split-1/split-1/scores.h5")))
    perfect = np.eye(4, dtype=np.float32)[scores.labels]
    mifs = replace(scores, streams={"mifs": perfect}, kind="probabilities", fused=None, head="mifs")
    write_scores(tmp_path / "mifs.h5", mifs)
    changes = Changes(training=QUICK, scores={"mifs": tmp_path / "mifs.h5"})
    both = run_recipe(recipe, **given, changes=changes)
    # a perfect stream has all the weight that averaging gives it: its class has at least 1/2
    assert both.rows[1].values[0, "1"] == 100.0
    # the file says of which split it is: the other one is left out, before anything is trained for it
    split_2 = f"{both.rows[1].row.name}: no outside scores of split 2: give --scores mifs@2=FILE"
    given = {**given, "splits": "all"}
    for scores in ({"mifs": tmp_path / "mifs.h5"}, {"mifs@1": tmp_path / "mifs.h5"}):
        two = run_recipe(recipe, **given, changes=Changes(training=QUICK, scores=scores))
        assert two.rows[1].values == both.rows[1].values
        assert len(two.rows[0].values) == 2
        assert split_2 in foot_lines(two)
    with pytest.raises(UsageError, match="these are of split 1"):
        run_recipe(recipe, **given, changes=Changes(training=QUICK, scores={"mifs@2": tmp_path / "mifs.h5"}))


def test_a_rule_reads_the_stores_features_or_the_vectors_that_a_head_made_of_them(toy_store, tmp_path):
    """Vectors in which rgb tells the class, beside features of which it tells but half."""
    path = tmp_path / "mine.toml"
    row = '[[rows]]\nname = "{0}"\nhead = "linear"\nstreams = ["rgb"]\nfuse = "early-svm"\nfeatures = "{0}"\n'
    head = 'title = "t"\npaper = "p"\nmetric = "m"\nsplit = "first"\n'
    head += '[stores.main]\nbackbone = "resnet50"\nstreams = ["rgb"]\nlayers = ["pooled"]\n'
    path.write_text(head + row.format("store") + row.format("head"))
    first = quick(str(path), toy_store, tmp_path / "out")
    assert first.rows[0].values[0, "1"] < 75
    assert first.rows[1].reason.startswith("head linear keeps no vectors in ")
    folder = next((tmp_path / "out" / "runs").glob("*/*/split-1"))
    write_store(tmp_path / "vectors", shapes={"rgb/attended": (1, 8), "flow/attended": (1, 8)}, steps=1)
    pack(tmp_path / "vectors", folder / "attended.h5")
    again = quick(str(path), toy_store, tmp_path / "out")
    assert again.rows[0].values == first.rows[0].values
    assert again.rows[1].reason == ""


def test_rows_of_one_training_may_measure_it_differently(toy_store, tmp_path):
    path = tmp_path / "mine.toml"
    row = '[[rows]]\nname = "{0}"\nhead = "linear"\noutput = "rgb"\nmeasure = "{0}"\n'
    head = 'title = "t"\npaper = "p"\nmetric = "m"\nsplit = "first"\n'
    head += '[stores.main]\nbackbone = "resnet50"\nstreams = ["rgb"]\nlayers = ["pooled"]\n'
    path.write_text(head + "".join(map(row.format, ("top1", "top5", "average", "mean_class"))))
    outcome = quick(str(path), toy_store, tmp_path / "out")
    top1, top5, average, mean_class = (measured.mean for measured in outcome.rows)
    assert top5 == 100  # of four classes
    assert average == (top1 + top5) / 2
    assert mean_class == pytest.approx(top1)  # as many test videos a class
    assert len(list((tmp_path / "out" / "runs").glob("*/*"))) == 1
    assert as_object(outcome)["rows"][1]["runs"] == [{"seed": 0, "split": "1", "top5": 100.0}]


@pytest.mark.parametrize("name", ["glka-table5", "frame-attention-table1", "temporal-pyramid-table1"])
def test_recipes_on_maps_run_too(toy_store, tmp_path, name):
    options = {
        "glka-table5": {"hidden": 4, "layers": 1},
        "frame-attention-table1": {"fc6_width": 8, "fc6_weights": "random"},
    }.get(name, {})
    outcome = quick(name, toy_store, tmp_path, training={"epochs": 1}, changes={"options": options}, splits="first")
    assert [measured.reason for measured in outcome.rows] == [""] * len(outcome.rows)
    if name == "glka-table5":  # the late rows are of one training, and so are those with the learnt sharpness
        assert len(list((tmp_path / "runs").glob("*/seed-0-split-1"))) == 1 + 2 + 4


def test_bad_requests_are_refused(toy_store, tmp_path):
    with pytest.raises(UsageError, match="no split '7'; they hold 1, 2, or say all"):
        quick("stfn-table2", toy_store, tmp_path, splits="7")
    with pytest.raises(UsageError, match="unknown training setting 'epoch'"):
        quick("stfn-table2", toy_store, tmp_path, training={"epoch": 1})
    with pytest.raises(UsageError, match="no store: give one with --store"):
        run_recipe(load_recipe("stfn-table2"), stores=[], out=tmp_path)


def test_the_command_prints_a_table_and_writes_it(runner, toy_store, tmp_path):
    out = tmp_path / "out"
    arguments = ["recipe", "run", "stfn-table2", "--store", str(toy_store), "--out", str(out), "--seeds", "0,1"]
    finished = runner.invoke(main, [*arguments, "--training", "epochs=5", "--training", "min_steps=0"])
    assert finished.exit_code == 0, finished.output
    assert len(list(out.glob("rows/*/*.json"))) == 6
    assert read_json(out / "recipe.json") == {"recipe": "stfn-table2"}
    lines = finished.stdout.splitlines()
    assert lines[0] == "STFN table 2: fusion operations"
    assert lines[1] == "toy, split 1, seed 0, 1, settings for small data"
    assert [line.split("  ")[0] for line in lines[-4:-1]] == ["Average", "Maximum", "Multiplication"]
    assert lines[-1] == "changed, training of heads: epochs 5, min_steps 0"
    table = list(csv.reader((out / "table.csv").read_text().splitlines()))
    assert table[0] == ["row", "paper", "mean", "deviation", "seed 0 split 1", "seed 1 split 1"]
    assert float(table[1][2]) == pytest.approx((float(table[1][4]) + float(table[1][5])) / 2)
    assert "| Average | - |" in (out / "table.md").read_text()


@pytest.mark.parametrize("damage", ["", "{", '{"top1": 50}', '{"key": 3, "top1": NaN}', "[" * 9000])
def test_a_damaged_figure_is_measured_again_and_the_others_stay(toy_store, tmp_path, damage, capsys):
    first = quick("stfn-table2", toy_store, tmp_path, splits="1")
    figures = sorted((tmp_path / "rows").glob("*/*.json"))
    before = figures[0].read_text()
    figures[0].write_text(damage.replace("3", json.dumps(json.loads(before)["key"])) if "key" in damage else damage)
    assert quick("stfn-table2", toy_store, tmp_path, splits="1").rows == first.rows
    assert f"{figures[0]} is damaged: the row is measured again" in capsys.readouterr().err
    assert figures[0].read_text() == before


def test_a_figure_that_is_no_number_is_a_failed_row(toy_store, tmp_path, monkeypatch):
    monkeypatch.setattr("avr.recipes.bench.accuracy_of", lambda *_, **__: float("nan"))
    outcome = quick("stfn-table2", toy_store, tmp_path, splits="1")
    assert all(measured.failed and "gives no accuracy" in measured.reason for measured in outcome.rows)
    assert "NaN" not in json.dumps(as_object(outcome), allow_nan=False)


def test_a_folder_of_something_else_is_refused(toy_store, tmp_path):
    (tmp_path / "table.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"holds table.csv, and is no folder of a recipe: choose another --out"):
        quick("stfn-table2", toy_store, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_folder_that_an_older_avr_began_goes_on(toy_store, tmp_path, untrained):
    """It had no recipe.json, and is stopped before its first table."""
    for name in ("rows", "runs"):
        (tmp_path / name).mkdir()
    quick("stfn-table2", toy_store, tmp_path)
    assert read_json(tmp_path / "recipe.json") == {"recipe": "stfn-table2"}


def test_json_is_one_object_and_nothing_else(runner, toy_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "recipe",
        "run",
        "stfn-table2",
        "--store",
        str(toy_store),
        "--training",
        "epochs=1",
        "--training",
        "min_steps=0",
    ]
    arguments += ["--json"]
    result = runner.invoke(main, arguments)
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert [row["row"] for row in printed["rows"]] == ["Average", "Maximum", "Multiplication"]
    assert json.loads((tmp_path / "runs" / "recipe-stfn-table2-toy" / "table.json").read_text()) == printed


def test_table_prints_mean_and_deviation_beside_the_papers_figure():
    recipe = load_recipe("glka-table1")
    values = {(0, "1"): 50.0, (0, "2"): 52.0, (0, "3"): 57.0}
    rows = (
        Measured(recipe.rows[0], 51.11, values),
        Measured(recipe.rows[1], 52.2, {(0, "1"): 50.04}),
        Measured(recipe.rows[2], None, {}, "no store"),
    )
    outcome = Outcome(recipe, "hmdb51", ("1", "2", "3"), (0,), "paper", rows)
    # 50, 52, 57: mean 53, deviation √((9 + 1 + 16)/2) = 3.61
    assert table_rows(outcome) == [
        ("row", "paper", "measured", "runs"),
        ("Global Pooling", "51.11", "53.0 ± 3.6", "3"),
        ("Statistic-based Attention", "52.2", "50.0", "1"),
        ("Statistic-based Attention, sharpness learnt", "-", "-", "0"),
    ]
    text = as_markdown(outcome)
    assert "hmdb51, split 1, 2, 3, seed 0, the paper's training settings" in text
    assert "- Statistic-based Attention, sharpness learnt: no store" in text


def test_list_show_and_plan_print_every_row(runner, monkeypatch):
    pace = measure_pace({"dis"})
    slower = replace(pace, flow_seconds={**pace.flow_seconds, "tvl1": 1.0})  # which takes about as long, each time
    monkeypatch.setattr("avr.recipes.measure_pace", lambda _: slower)
    listed = runner.invoke(main, ["recipe", "list"])
    assert "stfn-table2" in listed.stdout
    shown = runner.invoke(main, ["recipe", "show", "stilt-table5"])
    assert "Two-stream + STIL + AWF" in shown.stdout
    assert "72.4" in shown.stdout
    planned = runner.invoke(main, ["recipe", "plan", "frame-attention-table2"])
    assert planned.exit_code == 0, planned.output
    # 17·512·14·14 values of 2 bytes in two streams, 1 600 videos
    assert "at most 10.9 GB and" in planned.stdout
    assert "--backbone vgg16" in planned.stdout
    found = json.loads(runner.invoke(main, ["recipe", "plan", "stfn-table4", "--json"]).stdout)["extractions"]
    assert found[0]["hours"] > 0
