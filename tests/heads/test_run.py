"""Runs: what a run folder holds, that its scores are honest, that it can be loaded, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from avr.cli import main
from avr.core import UsageError, WorkError
from avr.heads import _engines, load_head, load_run, train_run
from avr.store import FeatureStore, read_record, read_scores

QUICK = {"epochs": 5}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def files(folder):
    """All that a run leaves, but for its lock."""
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    found.remove(".lock")
    return found


def test_a_single_stream_head_leaves_a_network_a_stream(toy_store):
    result = train_run(toy_store, "linear", folds=0)
    assert result.folder.as_posix() == "runs/linear-toy-1"
    assert files(result.folder) == [
        "epochs.csv",
        "run.json",
        "split-1/flow/checkpoint.safetensors",
        "split-1/flow/log.csv",
        "split-1/rgb/checkpoint.safetensors",
        "split-1/rgb/log.csv",
        "split-1/scores.h5",
    ]
    # Each stream tells two pairs of classes apart and guesses inside them; together they tell all four.
    accuracy = {name: row["top1"] for name, row in result.summary.items()}
    assert 0.3 <= accuracy["rgb"] <= 0.75
    assert 0.3 <= accuracy["flow"] <= 0.75
    assert accuracy["average"] >= 0.85


def test_a_joint_head_leaves_one_network_and_its_fused_prediction(toy_store):
    result = train_run(toy_store, "stfn", folds=0, out="here")
    assert files(result.folder) == [
        "epochs.csv",
        "run.json",
        "split-1/checkpoint.safetensors",
        "split-1/log.csv",
        "split-1/scores.h5",
    ]
    scores = read_scores(result.folder / "split-1" / "scores.h5")
    assert scores.fused == "fused"
    assert list(scores.streams) == ["rgb", "flow", "fused"]
    assert result.summary["fused"]["top1"] >= 0.85


def test_the_next_free_number_is_taken(toy_store):
    folders = [train_run(toy_store, "linear", folds=0, training=QUICK).folder.name for _ in range(2)]
    assert folders == ["linear-toy-1", "linear-toy-2"]


def test_scores_hold_the_test_videos_and_out_of_fold_ones_of_the_training_videos(toy_store):
    result = train_run(toy_store, "linear", folds=3, training=QUICK, split="2")
    scores = read_scores(result.folder / "split-2" / "scores.h5")
    with FeatureStore(toy_store) as store:
        train, test = store.split("2")
        assert sorted(scores.ids[scores.fold == -1]) == sorted(store.ids[test])
        assert sorted(scores.ids[scores.fold >= 0]) == sorted(store.ids[train])
    assert set(scores.fold) == {-1, 0, 1, 2}
    for group in set(scores.groups):
        assert len(set(scores.fold[scores.groups == group])) == 1
    assert (scores.head, scores.split, scores.dataset, scores.kind) == ("linear", "2", "toy", "logits")
    # Log-probabilities: their exponentials sum to 1.
    np.testing.assert_allclose(np.exp(scores.streams["rgb"]).sum(axis=1), 1, atol=1e-5)


def test_out_of_fold_scores_come_from_heads_that_never_saw_the_group(make_store, tmp_path):
    # A class drawn for each person: only a head that saw the person can know it.
    store = make_store(tmp_path / "features", class_of_person=True)
    result = train_run(
        store, "linear", streams=("rgb",), folds=4, training={"weight_decay": 1e-3}, out=tmp_path / "run"
    )
    scores = read_scores(result.folder / "split-1" / "scores.h5")
    inside = scores.fold >= 0
    right = (scores.streams["rgb"].argmax(axis=1) == scores.labels)[inside].mean()
    log = (result.folder / "split-1" / "rgb" / "log.csv").read_text().splitlines()
    assert float(dict(zip(log[0].split(","), log[-1].split(","), strict=True))["accuracy"]) > 0.9  # seen: learnt
    assert right < 0.6


def test_folds_are_on_by_themselves_where_they_are_cheap(toy_store, capsys):
    result = train_run(toy_store, "linear", training=QUICK)
    assert result.splits["1"].folds == 5
    assert "5 folds, about" in capsys.readouterr().err


def test_folds_that_cost_more_than_a_minute_are_left_out(toy_store, capsys, monkeypatch):
    monkeypatch.setattr("avr.heads._running.FOLDS_SECONDS", 0.0)
    assert train_run(toy_store, "linear", training=QUICK).splits["1"].folds == 0
    assert "ask for them with --folds 5" in capsys.readouterr().err


def test_a_run_over_all_splits_is_summed_up(toy_store):
    result = train_run(toy_store, "linear", split="all", folds=0, training=QUICK)
    assert list(result.splits) == ["1", "2"]
    tops = [split.results["rgb"]["top1"] for split in result.splits.values()]
    summary = result.summary["rgb"]
    assert summary["top1"] == pytest.approx(np.mean(tops))
    assert summary["top1_spread"] == pytest.approx(abs(tops[0] - tops[1]) / 2**0.5)
    with FeatureStore(toy_store) as store:
        sizes = [store.split(name)[1].sum() for name in result.splits]
    assert summary["top1_pooled"] == pytest.approx(np.average(tops, weights=sizes))


def test_the_record_says_what_the_run_was_made_of(toy_store):
    result = train_run(toy_store, "stfn", folds=0, training=QUICK, options={"design": "b"}, seed=7)
    record = json.loads((result.folder / "run.json").read_text())
    with FeatureStore(toy_store) as store:
        assert record["store"]["digest"] == store.digest
    where = str(toy_store.resolve())
    assert (record["store"]["path"], record["store"]["paths"]) == (where, [where])
    assert record["store"]["streams"] == {stream: {"made": "by the tests"} for stream in ("rgb", "flow")}
    assert record["options"]["design"] == "b"
    assert record["options"]["fusion"] == "average"
    assert (record["head"], record["seed"], record["complete"]) == ("stfn", 7, True)
    assert record["training"]["epochs"] == 5
    assert record["splits"]["1"]["results"]["fused"] == result.splits["1"].results["fused"]


@pytest.mark.parametrize("head", ["linear", "stfn"])
def test_a_loaded_run_predicts_what_was_written(toy_store_of_views, head):
    result = train_run(toy_store_of_views, head, folds=0, training=QUICK)
    run = load_run(result.folder)
    assert run.class_names == ("a", "b", "c", "d")
    assert run.prediction == ("multiply" if head == "linear" else "fused")
    scores = read_scores(result.folder / "split-1" / "scores.h5")
    with FeatureStore(toy_store_of_views) as store:
        for place in (0, 5):
            video = int(np.flatnonzero(store.ids == scores.ids[place])[0])
            features = {stream: store.read(stream, "pooled", [video]) for stream in ("rgb", "flow")}
            predicted = run.predict(features)
            assert run.prediction in predicted
            for stream, expected in scores.streams.items():
                # One video a batch instead of all: float32 rounds its last bits otherwise.
                np.testing.assert_allclose(predicted[stream], expected[place], atol=1e-4)


def test_load_head_takes_a_split_or_one_stream_of_it(toy_store):
    folder = train_run(toy_store, "linear", folds=0, training=QUICK).folder / "split-1"
    both, metadata = load_head(folder)
    assert both.streams == ("rgb", "flow")
    assert metadata["layers"] == {"rgb": "pooled", "flow": "pooled"}
    alone, metadata = load_head(folder / "flow")
    assert alone.streams == ("flow",)
    assert metadata["layers"] == {"flow": "pooled"}
    features = {"rgb": torch.randn(2, 4, 12), "flow": torch.randn(2, 4, 12)}
    torch.testing.assert_close(both(features)["flow"], alone({"flow": features["flow"]})["flow"])


def test_predicting_refuses_other_features(toy_store):
    run = load_run(train_run(toy_store, "linear", folds=0, training=QUICK).folder)
    with pytest.raises(UsageError, match="flow is missing"):
        run.predict({"rgb": np.zeros((1, 4, 12))})
    with pytest.raises(UsageError, match=r"\(5, 12\) a view, the run reads \(4, 12\)"):
        run.predict({"rgb": np.zeros((1, 5, 12)), "flow": np.zeros((1, 5, 12))})


def test_a_damaged_checkpoint_is_named(toy_store):
    folder = train_run(toy_store, "stfn", folds=0, training=QUICK).folder / "split-1"
    checkpoint = folder / "checkpoint.safetensors"
    whole = checkpoint.read_bytes()
    for bad in (whole[:100], whole[:-50], b"", b"\x00" * 64, whole.replace(b"stfn", b"nope", 1)):
        checkpoint.write_bytes(bad)
        with pytest.raises((WorkError, UsageError), match=r"checkpoint.safetensors|unknown head"):
            load_head(folder)


def test_an_interrupted_run_leaves_nothing_half_written(toy_store, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("avr.heads._split.write_scores", interrupted)
        for head in ("linear", "stfn"):
            with pytest.raises(KeyboardInterrupt):
                train_run(toy_store, head, folds=0, training=QUICK)
    begun = tmp_path / "runs" / "linear-toy-1"  # its networks are kept, the last one too
    kept = [f".begun/split-1/whole/{name}.safetensors" for name in ("flow", "rgb")]
    assert files(begun) == [*kept, "epochs.csv", "run.json"]
    kept = [".begun/split-1/whole/network.safetensors"]
    assert files(tmp_path / "runs" / "stfn-toy-1") == [*kept, "epochs.csv", "run.json"]
    went_on = train_run(toy_store, "linear", folds=0, training=QUICK)
    assert went_on.folder.resolve() == begun
    assert not (begun / ".begun").exists()


def test_what_fails_at_the_record_of_a_split_costs_no_training(toy_store, monkeypatch):
    """A kill or a full disk between a split's folder and run.json; and between its folds' scores and run.json."""

    def failing(*_, **__):
        raise WorkError("run.json: cannot be written")

    def untrained(*_, **__):
        raise AssertionError("a training is done again")

    real, done = _engines.train_task, []
    own = {"head": "linear", "folds": 2, "training": QUICK, "out": "here"}
    with monkeypatch.context() as patch:
        patch.setattr("avr.heads._running.record_split", failing)
        with pytest.raises(WorkError):
            train_run(toy_store, **own)
    with monkeypatch.context() as patch:
        patch.setattr("avr.heads._split.Split.add_folds", failing)
        patch.setattr(_engines, "train_task", lambda task, *more: done.append(task.fold) or real(task, *more))
        with pytest.raises(WorkError):
            train_run(toy_store, **own)
    assert None not in done
    assert not list(Path("here", ".begun", "split-1", "whole").iterdir())  # run.json names the split
    monkeypatch.setattr(_engines, "train_task", untrained)
    train_run(toy_store, **own)
    assert read_record(Path("here")).complete
    assert not Path("here", ".begun").exists()


def test_an_interruption_keeps_the_splits_that_are_finished_and_the_run_goes_on(toy_store, monkeypatch):
    from avr.heads import _split

    calls = []

    def second_is_interrupted(path, scores):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(path, scores)

    real = _split.write_scores
    own = {"split": "all", "folds": 0, "training": QUICK}
    with monkeypatch.context() as patch:
        patch.setattr(_split, "write_scores", second_is_interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_run(toy_store, "stfn", out="here", **own)
    assert files(Path("here")) == [
        ".begun/split-2/whole/network.safetensors",
        "epochs.csv",
        "run.json",
        "split-1/checkpoint.safetensors",
        "split-1/log.csv",
        "split-1/scores.h5",
    ]
    assert not read_record(Path("here")).complete
    went_on = train_run(toy_store, "stfn", out="here", **own)
    whole = train_run(toy_store, "stfn", out="whole", **own)
    assert read_record(Path("here")).complete
    assert went_on.summary == whole.summary
    for name in ("split-1", "split-2"):
        assert Path("here", name, "scores.h5").read_bytes() == Path("whole", name, "scores.h5").read_bytes()


def test_streaming_from_disk_trains_as_well(toy_store):
    result = train_run(toy_store, "stfn", layers={"rgb": "map"}, folds=0, memory_gb=0.0)
    assert result.layers == {"rgb": "map", "flow": "pooled"}
    assert result.summary["fused"]["top1"] >= 0.85


@pytest.mark.parametrize(
    ("head", "arguments", "message"),
    [
        ("stnf", {}, r"unknown head 'stnf' \(did you mean stfn\?\); known: attention-streams, "),
        (
            "stfn",
            {"options": {"desing": "a"}},
            r"unknown option of head stfn 'desing' \(did you mean design\?\); known: design=a",
        ),
        ("stfn", {"options": {"fusion": "sum"}}, "fusion takes average|maximum|multiply"),
        ("stfn", {"training": {"rate": 1}}, "unknown training setting 'rate'; known: epochs"),
        ("stfn", {"training": {"optimizer": "adagrad"}}, "optimizer takes adamw|sgd|rmsprop|adam"),
        ("stfn", {"streams": ("rgb",)}, "at least 2 streams"),
        ("stfn", {"streams": ("rgb", "sound")}, "unknown stream 'sound'; known: flow, rgb"),
        (
            "stfn",
            {"layers": {"flow": "map"}},
            "no flow/map; of flow it holds pooled: choose pooled with --layer flow=…, or extract it: avr extract … "
            "--stream flow-map=flow --layers map --out .*/toy, and read --stream rgb,flow-map --layer flow-map=map$",
        ),
        (
            "attention-streams",
            {"streams": ("flow",)},
            r"holds pooled: extract it: avr extract … --stream flow-map=flow --layers map --out .*, and read "
            r"--stream flow-map$",
        ),
        ("attention-streams", {}, "no flow/map; of flow it holds pooled: read --stream rgb alone, or extract it: "),
        (
            "temporal-pyramid",
            {},
            r"avr extract … --stream rgb-conv5_3=rgb --stream flow-conv4_2=flow "
            r"--layers rgb-conv5_3=conv5_3 --layers flow-conv4_2=conv4_2 --out .*, "
            r"and read --stream rgb-conv5_3,flow-conv4_2$",
        ),
        ("stfn", {"split": "9"}, "no split '9'; it holds 1, 2"),
        ("stfn", {"device": "tpu"}, "unknown device 'tpu'"),
        ("stfn", {"device": "cuda:99"}, "device cuda:99: "),
        ("stfn", {"options": {"segments": 5}}, "the store holds 4 a video"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_no_folder(toy_store, tmp_path, head, arguments, message):
    with pytest.raises(UsageError, match=message) as refused:
        train_run(toy_store, head, **arguments)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("backbone", "head", "streams", "ending"),
    [
        (
            "vgg16",
            "temporal-pyramid",
            ("flow",),
            "avr extract … --stream flow-conv4_2=flow --layers conv4_2 --out STORE, and read --stream flow-conv4_2",
        ),
        (
            "squeezenet1_1",
            "temporal-pyramid",
            ("flow",),
            "… --stream flow-map=flow --layers map --out STORE, and read --stream flow-map --layer flow-map=map",
        ),
        (
            "squeezenet1_1",
            "temporal-pyramid",
            ("rgb",),
            "choose map with --layer rgb=…, or extract it: avr extract … --backbone vgg16 --stream rgb-conv5_3=rgb "
            "--layers conv5_3 --out STORE, and read --stream rgb-conv5_3",
        ),
    ],
)
def test_the_extraction_proposed_is_one_that_the_backbone_can_do(make_store, tmp_path, backbone, head, streams, ending):
    store = make_store(tmp_path / "store", backbone=backbone)
    with pytest.raises(UsageError) as refused:
        train_run(store, head, streams=streams)
    assert str(refused.value).endswith(ending.replace("STORE", str(store)))


def test_a_finished_run_is_given_back_and_another_is_not_written_over_it(toy_store, tmp_path, capsys):
    own = {"folds": 0, "training": QUICK, "out": tmp_path / "here"}
    first = train_run(toy_store, "linear", **own)
    written = {path: path.stat().st_mtime_ns for path in own["out"].rglob("*.*")}
    again = train_run(toy_store, "linear", **own)
    assert "is finished already: nothing to do" in capsys.readouterr().err
    assert again.summary == first.summary
    assert again.splits == first.splits
    assert {path: path.stat().st_mtime_ns for path in own["out"].rglob("*.*")} == written
    with pytest.raises(UsageError, match=r"other settings \(training.epochs 5 → 6\): choose another --out"):
        train_run(toy_store, "linear", **own | {"training": {"epochs": 6}})


def test_the_command_prints_what_the_run_holds(toy_store, tmp_path, runner):
    shutil.copytree(toy_store, tmp_path / "features" / "toy")
    done = runner.invoke(main, ["heads", "train", "linear", "--split", "all", "--epochs", "5", "--json"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["run"] == "runs/linear-toy-1"
    assert set(record["splits"]) == {"1", "2"}
    assert set(record["summary"]) == {"rgb", "flow", "average", "multiply"}
    done = runner.invoke(
        main, ["heads", "train", "stfn", "--set", "design=b", "--stream", "flow,rgb", "--lr", "0.002", "--epochs", "5"]
    )
    assert done.exit_code == 0, done.output
    assert "stfn on flow/pooled, rgb/pooled, split 1" in done.stdout
    assert "store: features/toy" in done.stderr
    record = json.loads((tmp_path / "runs" / "stfn-toy-1" / "run.json").read_text())
    assert (record["options"]["design"], record["training"]["lr"]) == ("b", 0.002)


def test_paper_settings_are_asked_for(toy_store, runner, tmp_path):
    arguments = ["heads", "train", "stfn", "--store", str(toy_store), "--paper", "--epochs", "2", "--folds", "0"]
    assert runner.invoke(main, arguments).exit_code == 0
    record = json.loads((tmp_path / "runs" / "stfn-toy-1" / "run.json").read_text())
    assert (record["training"]["optimizer"], record["training"]["lr"]) == ("rmsprop", 1e-4)


def test_errors_of_the_command_are_one_line(runner, toy_store):
    for arguments, code, text in [
        (["nosuch"], 2, "error: unknown head 'nosuch'; known: "),
        (["stfn"], 2, "error: no store under features/"),
        (["stfn", "--store", str(toy_store), "--set", "design"], 2, "--set design: expected NAME=VALUE"),
    ]:
        done = runner.invoke(main, ["heads", "train", *arguments])
        assert done.exit_code == code
        assert text in done.stderr
        assert "Traceback" not in done.output


def test_the_list_names_every_head(runner):
    done = runner.invoke(main, ["heads", "list", "--json"])
    listed = json.loads(done.stdout)
    assert {"linear", "consensus", "stfn"} <= set(listed)
    assert "design=a|b|c (a)" in listed["stfn"]["options"]
    assert "Cho & Foroosh" in runner.invoke(main, ["heads", "list"]).stdout


def test_a_bare_layer_is_of_every_stream(toy_store, tmp_path, runner):
    from avr.cli import main

    command = ["heads", "train", "linear", "--store", str(toy_store), "--folds", "0", "--epochs", "1"]
    bare = runner.invoke(main, [*command, "--stream", "rgb", "--layer", "map", "--out", str(tmp_path / "run")])
    assert bare.exit_code == 0, bare.output
    assert "linear on rgb/map" in bare.stdout
    both = runner.invoke(main, [*command, "--layer", "map", "--out", str(tmp_path / "both")])
    assert both.exit_code == 2
    assert "the store has no flow/map" in both.stderr


@pytest.mark.parametrize("given", [{"seed": -1}, {"folds": -3}])
def test_negative_seeds_and_folds_are_refused(toy_store, tmp_path, given):
    with pytest.raises(UsageError, match="seed and folds must be at least 0"):
        train_run(toy_store, "linear", out=tmp_path / "run", **given)
