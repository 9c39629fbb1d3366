"""From score files to a run folder: joining, what is taken, out-of-fold scores, leaks, the command, back again."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from avr.cli import main
from avr.core import UsageError, WorkError, item_names, options_of, write_json
from avr.fusion import Evaluation, compare, fuse, gather, load_fuser, make_fuser, rule_class
from avr.store import RunRecord, Scores, SplitRecord, read_record, read_scores, write_record, write_scores

from .conftest import make_scores

QUICK = Evaluation(folds=3, bootstrap=200)


def score_file(names=("rgb", "flow"), *, seed=0, split="1", test_only=False, head="linear", **changes):
    """Scores of 120 videos, a third of the groups test videos, the others out-of-fold in three folds."""
    X, y, groups = make_scores(120, 4, len(names), seed=seed)
    fold = np.where(groups % 3 == 0, -1, groups % 4).astype(np.int32)
    scores = Scores(
        ids=np.array([f"class{label}/video{n}" for n, label in enumerate(y)]),
        labels=y,
        groups=np.array([f"film{group}" for group in groups]),
        class_names=("jump", "run", "sit", "walk"),
        streams={name: X[:, s].astype(np.float32) for s, name in enumerate(names)},
        kind="logits",
        split=split,
        fold=np.full(120, -1, np.int32) if test_only else fold,
        head=head,
        dataset="made",
    )
    return replace(scores, **changes)


def put(folder, scores, run="linear-made-1"):
    return write_scores(folder / "runs" / run / f"split-{scores.split}" / "scores.h5", scores)


def take(scores, rows):
    parts = {name: getattr(scores, name)[rows] for name in ("ids", "labels", "groups", "fold")}
    return replace(scores, streams={name: values[rows] for name, values in scores.streams.items()}, **parts)


def test_streams_are_joined_by_id_and_named_by_head():
    first, other = score_file(), score_file(("rgb", "fused"), head="stfn", fused="fused", seed=1)
    shuffled = take(replace(other, ids=first.ids, labels=first.labels, groups=first.groups, fold=first.fold),
                    np.arange(120)[::-1])  # fmt: skip
    table = gather([("a", first), ("b", shuffled)])
    assert table.streams == ("linear/rgb", "linear/flow", "stfn/rgb")
    np.testing.assert_array_equal(table.X[:, 0], first.streams["rgb"])
    np.testing.assert_array_equal(table.X[:, 2], other.streams["rgb"])
    asked = gather([("a", first), ("b", shuffled)], streams=["flow", "stfn/fused"])
    assert asked.streams == ("linear/flow", "stfn/fused")


def test_rgb_comes_before_flow_whatever_the_files_order():
    table = gather([("a", score_file(("flow",), head="x")), ("b", score_file(("rgb",), head="x"))])
    assert table.streams == ("x/rgb", "x/flow")


def test_a_heads_own_fused_stream_is_taken_where_it_is_all_there_is():
    table = gather([("a", score_file(("fused",), head="stfn", fused="fused")), ("b", score_file())])
    assert table.streams == ("stfn/fused", "linear/rgb", "linear/flow")


def test_two_runs_of_one_head_are_told_apart_by_their_names():
    table = gather([("linear-made-1", score_file()), ("linear-made-2", score_file(seed=1, labels=score_file().labels,
                    ids=score_file().ids, fold=score_file().fold))])  # fmt: skip
    assert table.streams[::2] == ("linear-made-1/rgb", "linear-made-1/flow")[:1] + table.streams[2:3]
    assert len(set(table.streams)) == 4


def test_sanitised_names_meet():
    first = score_file()
    named = replace(first, ids=np.array([name.replace("video", "a!b#(c)+video") for name in first.ids]))
    plain = replace(first, ids=np.array([name.replace("video", "a_b__c__video") for name in first.ids]), head="other")
    assert gather([("a", named), ("b", plain)]).X.shape == (120, 4, 4)


BAD_FILES = [
    ("order", {"class_names": ("run", "jump", "sit", "walk")}, "in another order \\(class 0 is run, not jump\\)"),
    ("other classes", {"class_names": ("jump", "run", "sit", "wave")}, "lacks walk and has wave besides"),
    (
        "ids",
        {"ids": np.array([f"none{n}" for n in range(120)])},
        r"share no video \(a: 120 of 120 .*; b: 120 of 120 .* first none0, none1, .*none9\)",
    ),
    ("twice", {"ids": np.array(["same"] * 2 + [f"v{n}" for n in range(118)])}, "ids that repeat: same"),
    ("labels", {"labels": np.roll(score_file().labels, 1)}, "disagree on the label of"),
    ("roles", {"fold": np.full(120, -1, np.int32)}, r"disagree on the part \(training or test\) of"),
]


@pytest.mark.parametrize(("changes", "message"), [bad[1:] for bad in BAD_FILES], ids=[bad[0] for bad in BAD_FILES])
def test_files_that_do_not_fit_together(changes, message, capsys):
    with pytest.raises(UsageError, match=message) as caught:
        gather([("a", score_file()), ("b", score_file(head="other", **changes))])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_files_with_nan_or_infinity(value):
    scores = score_file()
    scores.streams["flow"][3, 1] = value
    with pytest.raises(UsageError, match="stream flow: NaN or infinite scores of 1 videos, first class"):
        gather([("a", scores)])


def test_a_stream_without_one_class_is_refused():
    lacking = score_file(head="other", class_names=("jump", "run", "sit"), labels=score_file().labels % 3)
    lacking = replace(lacking, streams={name: values[:, :3] for name, values in lacking.streams.items()})
    with pytest.raises(UsageError, match="b has 3 classes and a 4: it lacks walk"):
        gather([("a", score_file()), ("b", lacking)])


def test_videos_without_a_partner_are_counted_and_named(capsys):
    table = gather([("a", score_file()), ("b", take(score_file(head="other"), np.arange(20, 120)))])
    assert len(table.ids) == 100
    assert "a: 20 of 120 videos have no partner, first " in capsys.readouterr().err


def test_an_unknown_stream_lists_the_known_ones():
    with pytest.raises(UsageError, match="no stream 'audio'; there are: linear/rgb, linear/flow"):
        gather([("a", score_file())], streams=["audio"])


def test_fuse_fits_on_out_of_fold_scores_and_judges_on_test_scores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scores = score_file()
    put(tmp_path, scores)
    result = fuse("awf", options={"objective": "margin", "delta": 0.2}, evaluation=QUICK)
    train, test = scores.fold >= 0, scores.fold == -1
    X = np.stack([scores.streams["rgb"], scores.streams["flow"]], axis=1).astype(float)
    expected = make_fuser("awf", objective="margin", delta=0.2).fit(
        X[train], scores.labels[train], scores.groups[train]
    )
    assert result.protocol == {
        "1": f"fitted on {train.sum()} out-of-fold training scores, judged on {test.sum()} test videos"
    }
    assert [row["name"] for row in result.rows] == ["linear/rgb", "linear/flow", "average", "multiply", "awf"]
    assert result.rows[-1]["top1"] == pytest.approx((expected.predict(X[test]) == scores.labels[test]).mean())
    best = max(result.rows[:2], key=lambda row: row["top1"])
    difference = result.differences["best stream"]
    assert difference["name"] == best["name"]
    assert difference["difference"] == pytest.approx(result.rows[-1]["top1"] - best["top1"])
    assert difference["low"] <= difference["difference"] <= difference["high"]
    calibration = result.calibration["1"]["linear/flow"]
    assert calibration["temperature"] == pytest.approx(expected.temperatures_[1])
    assert result.out.name == "fuse-awf-1"
    fused = read_scores(result.out / "scores.h5")
    assert fused.ids.tolist() == scores.ids[test].tolist()
    np.testing.assert_allclose(fused.streams["fused"], expected.predict_proba(X[test]), atol=1e-6)  # float32
    again = load_fuser(result.out)
    np.testing.assert_array_equal(again.predict(X), expected.predict(X))
    assert again.about_["streams"] == ["linear/rgb", "linear/flow"]
    assert fuse("awf", options={"objective": "margin", "delta": 0.2}, evaluation=QUICK).out.name == "fuse-awf-2"


def test_with_test_scores_alone_no_video_is_judged_by_a_fit_that_saw_its_group(tmp_path):
    scores = score_file(test_only=True)
    path = put(tmp_path, scores)
    result = fuse("svm", [path], out=tmp_path / "out", evaluation=QUICK)
    assert result.protocol["1"].startswith("cross-validated within 120 test videos: 3 folds over ")
    leaking = fuse("svm", [path], out=tmp_path / "out2", evaluation=replace(QUICK, force_random_folds=True))
    assert "over videos" in leaking.protocol["1"]


def test_the_newest_run_of_each_head_is_taken_and_said(tmp_path, monkeypatch, capsys):
    import os

    monkeypatch.chdir(tmp_path)
    for age, (run, head) in enumerate(
        [("linear-made-2", "linear"), ("linear-made-10", "linear"), ("stfn-made-1", "stfn")]
    ):
        path = put(tmp_path, score_file(head=head), run)
        os.utime(path, (1000 + age, 1000 + age))
    fuse("average", evaluation=QUICK)
    assert "fuse: takes runs/linear-made-10, runs/stfn-made-1" in capsys.readouterr().err


def test_of_an_older_run_of_the_same_head_the_scores_are_not_even_opened(tmp_path, monkeypatch):
    """What a run trained is in its record; scores are read of the runs that are taken alone."""
    import os

    monkeypatch.chdir(tmp_path)
    for age in (1, 2):
        path = put(tmp_path, score_file(), f"linear-made-{age}")
        record = RunRecord("head", head="linear", store={"dataset": "made"}, splits={"1": SplitRecord({})})
        write_record(path.parents[1], replace(record, complete=True))
        os.utime(path, (1000 + age, 1000 + age))
    (tmp_path / "runs/linear-made-1/split-1/scores.h5").write_bytes(b"damaged")
    os.utime(tmp_path / "runs/linear-made-1/split-1/scores.h5", (1001, 1001))
    assert fuse("average", evaluation=QUICK).rows[0]["name"] == "linear/rgb"


def test_a_fusion_named_by_out_is_found_again_and_others_are_refused(tmp_path, capsys):
    path, out = put(tmp_path, score_file()), tmp_path / "out"
    first = fuse("weighted", [path], out=out, options={"weights": [1, 3]}, evaluation=QUICK)
    written = (out / "fusion.json").stat().st_mtime_ns
    again = fuse("weighted", [path], out=out, options={"weights": [1, 3]}, evaluation=QUICK)
    assert (again.rows, again.out) == (first.rows, out)
    assert "is finished already" in capsys.readouterr().err
    assert (out / "fusion.json").stat().st_mtime_ns == written
    with pytest.raises(UsageError, match=r"out holds a fusion with other settings \(options.weights \[1, 3\] → "):
        fuse("weighted", [path], out=out, options={"weights": [1, 1]}, evaluation=QUICK)
    put(tmp_path, score_file(seed=5))
    with pytest.raises(UsageError, match=r"out holds a fusion with other settings \(scores\.1 "):
        fuse("weighted", [path], out=out, options={"weights": [1, 3]}, evaluation=QUICK)


def test_several_splits_give_a_spread_and_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in "123":
        put(tmp_path, score_file(seed=int(number), split=number))
    result = fuse("multiply", evaluation=QUICK)
    tops = [result.splits_rows[number][-1]["top1"] for number in "123"]
    over = result.rows[-1]["over_splits"]["top1"]
    assert over["mean"] == pytest.approx(np.mean(tops))
    assert over["spread"] == pytest.approx(np.std(tops, ddof=1))
    assert sorted(path.name for path in result.out.glob("split-*")) == ["split-1", "split-2", "split-3"]
    assert load_fuser(result.out / "split-2").about_["split"] == "2"
    only = fuse("multiply", split="2", evaluation=QUICK)
    assert only.splits == ("2",)
    with pytest.raises(UsageError, match="no scores of split '4'; there are: 1, 2, 3"):
        fuse("multiply", split="4")


def test_out_of_fold_folds_that_split_a_group_are_refused_unless_forced(tmp_path):
    scores = score_file()
    fold = np.where(scores.fold == -1, -1, np.arange(120) % 3).astype(np.int32)
    path = put(tmp_path, replace(scores, fold=fold))
    with pytest.raises(
        UsageError, match=r"the training scores' folds split .* groups, first film.*--force-random-folds"
    ):
        fuse("average", [path], out=tmp_path / "out", evaluation=QUICK)
    fuse("average", [path], out=tmp_path / "out", evaluation=replace(QUICK, force_random_folds=True))


def test_training_scores_that_are_not_out_of_fold_warn_loudly(tmp_path, capsys):
    scores = score_file()
    training = scores.fold != -1
    saturated = {name: values.copy() for name, values in scores.streams.items()}
    for values in saturated.values():
        values[training, scores.labels[training]] += 50
    fuse("average", [put(tmp_path, replace(scores, streams=saturated))], out=tmp_path / "a", evaluation=QUICK)
    said = capsys.readouterr().err
    assert "warning: linear/rgb is right on 100.0 % of its training videos" in said
    assert "do not look out-of-fold" in said
    marked = replace(scores, fold=np.where(training, -2, -1).astype(np.int32))
    fuse("average", [put(tmp_path, marked)], out=tmp_path / "b", evaluation=QUICK)
    assert "are of the head's own training videos, not out-of-fold" in capsys.readouterr().err


def test_compare_judges_every_rule_on_the_same_videos(tmp_path):
    path = put(tmp_path, score_file(test_only=True))
    result = compare([path], ["multiply", "lp-beta", "awf stilt"], evaluation=QUICK)
    rows = {row["name"]: row for row in result.rows}
    assert list(rows) == ["linear/rgb", "linear/flow", "average", "multiply", "lp-beta", "awf stilt"]
    better, other = sorted(("average", "multiply"), key=lambda name: rows[name]["top1"], reverse=True)
    assert rows[better]["top1"] > rows[other]["top1"]
    assert (result.baseline, rows[better]["difference"], rows[better]["p"]) == (better, 0.0, 1.0)
    assert rows["lp-beta"]["difference"] == pytest.approx(rows["lp-beta"]["top1"] - rows[better]["top1"])
    assert np.shape(result.weights["lp-beta"]["1"]) == (4, 2)
    assert "multiply" not in result.weights
    with pytest.raises(UsageError, match="early-svm reads features"):
        compare([path], ["early-svm"])


def test_nothing_to_fuse(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no score file or run at runs: train a head first"):
        fuse("average")
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match="no run with scores under runs: train a head first"):
        fuse("average")
    with pytest.raises(UsageError, match=r"no fusion\.json at .*give a folder"):
        load_fuser(tmp_path)


def test_a_damaged_fuser_is_said_to_be(tmp_path):
    fuse("average", [put(tmp_path, score_file())], out=tmp_path / "out", evaluation=QUICK)
    content = json.loads((tmp_path / "out/fusion.json").read_text())
    for name, text in [("cut", '{"format": 1'), ("poor", '{"format": 1}')]:
        shutil.copytree(tmp_path / "out", tmp_path / name)
        (tmp_path / name / "fusion.json").write_text(text)
        with pytest.raises(WorkError, match=r"fusion\.json: damaged \("):
            load_fuser(tmp_path / name)
    write_json(tmp_path / "out/fusion.json", {**content, "format": 99})
    with pytest.raises(UsageError, match="has format 99, this avr reads 1"):
        load_fuser(tmp_path / "out")


def test_the_command_prints_and_its_json_is_one_object(tmp_path, monkeypatch, runner):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, score_file())
    done = runner.invoke(main, ["fuse", "weighted", "--weights", "1,3", "--bootstrap", "100"])
    assert done.exit_code == 0, done.output
    assert "linear/rgb" in done.stdout
    assert "weighted - multiply, the better untrained rule: " in done.stdout
    assert "written: runs/fuse-weighted-1" in done.stdout
    assert load_fuser("runs/fuse-weighted-1").weights_.tolist() == [0.25, 0.75]
    done = runner.invoke(main, ["fuse", "multiply", "--json", "--bootstrap", "100"])
    result = json.loads(done.stdout)
    assert result["rows"][-1]["name"] == "multiply"
    assert result["out"] == "runs/fuse-multiply-1"
    done = runner.invoke(main, ["fuse", "compare", "--rule", "maximum", "--json", "--bootstrap", "100"])
    assert [row["name"] for row in json.loads(done.stdout)["rows"]][-3:] == ["average", "multiply", "maximum"]
    done = runner.invoke(main, ["fuse", "best"])
    assert done.exit_code == 2
    assert "unknown rule 'best'; known: average, awf, early-svm" in done.stderr
    done = runner.invoke(main, ["fuse", "--help"])
    assert "Mean of the streams' probabilities." in done.stdout


@pytest.mark.usefixtures("locks")
def test_a_fusion_is_repeated_from_its_record(tmp_path, monkeypatch, runner):
    monkeypatch.chdir(tmp_path)
    for number in "12":
        path = put(tmp_path, score_file(("rgb", "flow", "diff"), seed=int(number), split=number))

    def answer(*arguments):
        return runner.invoke(main, ["fuse", *arguments])

    told = ["--weights", "1,3", "--bootstrap", "60", "--seed", "5", "--stream", "flow", "--stream", "rgb"]
    assert answer("weighted", *told).exit_code == 0
    put(tmp_path, score_file(seed=3, head="stfn"), run="stfn-made-1")  # a newer run, which is not of it
    again = answer("weighted", "--config", "runs/fuse-weighted-1/split-1/fusion.json")
    assert (again.exit_code, again.stderr.count("warning")) == (0, 0), again.output
    before, after = (read_record(tmp_path / f"runs/fuse-weighted-{k}") for k in (1, 2))
    assert not before.differences(after)
    assert (before.identity["streams"], before.summary) == (["linear/flow", "linear/rgb"], after.summary)

    assert answer("weighted", "--config", "runs/fuse-weighted-1", "--weights", "1,1", "--split", "2").exit_code == 0
    changed = read_record(tmp_path / "runs/fuse-weighted-3")
    assert changed.options == before.options | {"weights": [1.0, 1.0]}
    assert (changed.wanted, changed.seed) == (("2",), 5)
    assert answer("multiply", "--config", "runs/fuse-weighted-1", "runs/stfn-made-1").exit_code == 0
    assert read_record(tmp_path / "runs/fuse-multiply-1").identity["streams"] == ["stfn/rgb", "stfn/flow"]

    put(tmp_path, score_file(("rgb", "flow"), seed=4, split="2"))
    assert "fused other scores than those that runs/fuse-weighted-1 was made of" in (
        answer("weighted", "--config", "runs/fuse-weighted-1").stderr
    )
    path.unlink()
    gone = answer("weighted", "--config", "runs/fuse-weighted-1")
    assert (gone.exit_code, gone.stderr) == (2, f"error: no score file or run at {path}: check the name\n")
    other = answer("weighted", "--config", str(write_run(tmp_path / "runs/x")))
    assert "x is a head's run: avr heads train --config" in other.stderr


@pytest.mark.usefixtures("locks")
def test_named_score_files_are_repeated_in_their_order(tmp_path, monkeypatch, runner):
    """The first says which videos there are, and their order; the tables' streams do not tell it."""
    monkeypatch.chdir(tmp_path)
    flow, rgb = score_file(("flow",), head=""), score_file(("rgb",), head="")
    write_scores("flow.h5", take(flow, np.arange(120)[::-1]))
    write_scores("rgb.h5", rgb)
    assert runner.invoke(main, ["fuse", "average", "flow.h5", "rgb.h5", "--bootstrap", "50"]).exit_code == 0
    again = runner.invoke(main, ["fuse", "average", "--config", "runs/fuse-average-1"])
    assert (again.exit_code, again.stderr.count("warning")) == (0, 0), again.output
    before, after = (read_record(tmp_path / f"runs/fuse-average-{k}") for k in (1, 2))
    assert not before.differences(after)

    for identity in ({"evaluation": 5}, {"scores": 5}):
        write_record(tmp_path / "runs/fuse-average-2", replace(after, identity=after.identity | identity))
        done = runner.invoke(main, ["fuse", "average", "--config", "runs/fuse-average-2"])
        assert (done.exit_code, done.stderr.count("\n"), "is damaged" in done.stderr) == (1, 1, True), done.output
    forged = {"evaluation": after.identity["evaluation"] | {"out": "elsewhere"}}
    write_record(tmp_path / "runs/fuse-average-2", replace(after, identity=after.identity | forged))
    assert runner.invoke(main, ["fuse", "average", "--config", "runs/fuse-average-2"]).exit_code == 0
    assert not (tmp_path / "elsewhere").exists()


def write_run(folder):
    folder.mkdir(parents=True)
    write_record(folder, RunRecord("head", head="linear"))
    return folder


def test_what_is_not_whole_is_passed_over_or_warned_of_and_says_so_for_ever(tmp_path, monkeypatch, runner):
    """An unfinished run, and one of a store that lacked shards: named by hand they are fused, and it is said."""
    monkeypatch.chdir(tmp_path)
    put(tmp_path, score_file())
    begun = RunRecord("head", {"splits": ["1", "2"]}, head="linear", splits={"1": SplitRecord({})})
    partial = RunRecord("head", {"splits": ["1"]}, head="linear", store={"lacking": "rgb: 1 of 4 shards"})
    for name, record in (("linear-begun-1", begun), ("linear-part-1", replace(partial, splits=begun.splits))):
        write_record(put(tmp_path, score_file(), run=name).parents[1], record)
    put(tmp_path, score_file(provenance={"store": partial.store}), run="linear-part-1")
    done = runner.invoke(main, ["fuse", "average", "--bootstrap", "100"])
    assert done.exit_code == 0, done.output
    assert "fuse: takes runs/linear-made-1" in done.stderr
    assert "runs/linear-begun-1, unfinished (1 of 2 splits)" in done.stderr
    assert "runs/linear-part-1, of a store that is not whole (rgb: 1 of 4 shards)" in done.stderr
    for name, lack in (("begun", "unfinished (1 of 2"), ("part", "of a store that is not whole (rgb: 1 of 4 shards)")):
        told = ["fuse", "average", f"runs/linear-{name}-1", "--bootstrap", "100", "--out", name]
        done = runner.invoke(main, told)
        assert f"warning: runs/linear-{name}-1: {lack}" in done.stderr
    fused = json.loads((tmp_path / "part" / "run.json").read_text())
    assert (fused["complete"], fused["store"]["lacking"]) == (False, "rgb: 1 of 4 shards")
    assert read_scores(tmp_path / "part" / "scores.h5").provenance["store"]["lacking"] == "rgb: 1 of 4 shards"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--bootstrap", "0"], "error: bootstrap=0 is not possible; bootstrap takes int ≥ 1\n"),
        (["--repeats", "0"], "error: repeats=0 is not possible; repeats takes int ≥ 1\n"),
        (["--seed", "-1"], "error: seed=-1 is not possible; seed takes int ≥ 0\n"),
        (["--folds", "1"], "error: folds=1 is not possible; folds takes int ≥ 2\n"),
    ],
)
def test_an_evaluation_that_cannot_be_is_refused_in_one_line(option, message, tmp_path, monkeypatch, runner):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, score_file(test_only=True))
    for command in ("average", "compare"):
        done = runner.invoke(main, ["fuse", command, *option])
        assert (done.exit_code, done.stderr) == (2, message)


def test_every_fold_is_fused_once(tmp_path, monkeypatch):
    fused = []
    rule = rule_class("multiply")
    combine = rule._combine
    monkeypatch.setattr(rule, "_combine", lambda self, X: fused.append(len(X)) or combine(self, X))
    fuse("multiply", [put(tmp_path, score_file(test_only=True))], out=tmp_path / "out", evaluation=QUICK)
    assert len(fused) == 3
    assert sum(fused) == 120


@pytest.mark.parametrize("rule", ["awf", "svm", "weighted", "early-svm", "greedy-selection"])
def test_the_commands_defaults_are_the_estimators(rule):
    command = main.get_command(None, "fuse").get_command(None, rule)
    options = {parameter.name: parameter.default for parameter in command.params}
    estimator = make_fuser(rule).get_params()
    shared = set(options) & set(estimator)
    assert shared == set(estimator) - {"kind", "num_classes"}
    assert {name: options[name] for name in shared} == {name: estimator[name] for name in shared}


@pytest.mark.parametrize("rule", item_names("avr.fusion"))
def test_every_option_of_a_rule_says_what_it_is_for(rule, runner):
    options = options_of(type(make_fuser(rule)))
    silent = [name for name, option in options.items() if not option.about.text]
    assert set(silent) <= {"kind", "num_classes"}  # the scores tell them
    text = " ".join(runner.invoke(main, ["fuse", rule, "--help"]).stdout.split())
    for name in set(options) - set(silent):
        assert f"--{name.replace('_', '-')} " in text
        assert " ".join(options[name].about.text.split())[:20] in text


ALONE = """
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "sklearn", "scipy"):
            raise RuntimeError(f"{name} is being loaded")

sys.meta_path.insert(0, Refused())
from click.testing import CliRunner
from avr.cli import main

for rule in ("average", "multiply", "maximum", "weighted", "greedy-selection", "lp-beta"):
    done = CliRunner().invoke(main, ["fuse", rule, "scores.h5"])
    assert done.exit_code == 0, done.output
"""


def test_rules_that_need_no_scikit_learn_and_no_scipy_load_neither(tmp_path):
    write_scores(tmp_path / "scores.h5", score_file())
    done = subprocess.run([sys.executable, "-c", ALONE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("objective", "option", "reader"),
    [("likelihood", "nu=0.2", "margin"), ("likelihood", "delta=0.3", "margin"), ("margin", "balance=2", "stilt"),
     ("stilt", "tolerance=0.01", "margin"), ("likelihood", "balance=0.5", "stilt")],
)  # fmt: skip
def test_an_option_that_the_objective_does_not_read_is_refused(
    objective, option, reader, tmp_path, monkeypatch, runner
):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, score_file())
    name, value = option.split("=")
    done = runner.invoke(main, ["fuse", "awf", "--objective", objective, f"--{name}", value])
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1] == (
        f"error: awf: {name} is read by objective {reader} and does nothing with objective {objective}: leave it out, "
        f"or take objective {reader}"
    )
    assert not list((tmp_path / "runs").glob("fuse-*"))


def test_options_that_are_read_or_are_the_defaults_are_taken():
    assert rule_class("awf").options_for(("a", "b"), {"nu": 0.5, "balance": 1.0}) == {"nu": 0.5, "balance": 1.0}
    given = {"objective": "margin", "nu": 0.2, "delta": 0.3, "tolerance": 1e-3}
    assert rule_class("awf").options_for(("a", "b"), given) == given
    assert rule_class("lp-beta").options_for(("a", "b"), {"nu": 0.2}) == {"nu": 0.2}
