"""Trainings that start from another run's weights, and parts that are held as they are."""

import numpy as np
import pytest
import torch

from avr.cli import main
from avr.core import UsageError
from avr.heads import build_head, load_checkpoint, train_run
from avr.heads._starting import Start
from avr.store import read_scores

SMALL = {"kernels": "2,3", "dropout": 0.0}
STILL = {"epochs": 1, "min_steps": 0, "lr": 1e-12, "weight_decay": 0.0}


@pytest.fixture(scope="module")
def source(toy_store, tmp_path_factory):
    """A run of stfn on split 1."""
    out = tmp_path_factory.mktemp("source") / "run"
    return train_run(toy_store, "stfn", options=SMALL, training={"epochs": 4}, folds=0, out=out).folder


def tensors(run):
    return load_checkpoint(run / "split-1" / "checkpoint.safetensors")[0].state_dict()


def test_a_training_that_stands_still_predicts_as_the_run_it_starts_from(toy_store, source, tmp_path, capsys):
    held = "first,second"  # batch norm's running statistics would go on
    command = ["heads", "train", "stfn", "--store", str(toy_store), "--set", "kernels=2,3", "--set", "dropout=0"]
    command += ["--epochs", "1", "--lr", "1e-12", "--start-from", str(source), "--freeze", held]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--out", str(tmp_path / "run")], prog_name="avr")
    assert ended.value.code in (0, None)
    assert f"tensors start from {source / 'split-1'}" in capsys.readouterr().err
    before, after = (read_scores(run / "split-1" / "scores.h5") for run in (source, tmp_path / "run"))
    for name, scores in before.streams.items():
        np.testing.assert_allclose(after.streams[name], scores, rtol=0, atol=1e-5)


def test_frozen_parts_stay_bit_by_bit_and_the_others_learn(toy_store, source, tmp_path):
    result = train_run(
        toy_store,
        "stfn",
        options=SMALL,
        training={"epochs": 2},
        start_from=source / "split-1",
        freeze=("first", "readouts.rgb"),
        out=tmp_path / "run",
    )
    assert result.splits["1"].folds == 0  # each fold would start from weights that have seen it
    before, after = tensors(source), tensors(result.folder)
    for name, value in before.items():
        held = name.startswith(("first.", "readouts.rgb.", "mean_", "scale_"))  # the same videos' statistics
        assert torch.equal(value, after[name]) == held or name.endswith("num_batches_tracked"), name


def test_layers_of_another_size_start_at_random(source):
    start = Start({"1": str(source / "split-1")}, own=False, freeze=(), keep_statistics=True)
    head = build_head("stfn", {"rgb": (4, 12), "flow": (4, 12)}, 7, options=SMALL)
    fresh = {name: value.clone() for name, value in head.state_dict().items()}
    start.begin(head, "1", "")
    begun, theirs = head.state_dict(), tensors(source)
    for name, value in begun.items():
        assert torch.equal(value, fresh[name] if name.startswith("readouts.") else theirs[name]), name
    assert head.keeps_statistics


def test_bad_starts_are_refused(toy_store, source, tmp_path):
    def refused(head="stfn", **asked):
        asked = {"options": SMALL, "training": STILL, "out": tmp_path / "no", **asked}
        with pytest.raises(UsageError) as error:
            train_run(toy_store, head, **asked)
        assert not (tmp_path / "no").exists()
        return str(error.value)

    assert "trained on split 1 of toy, in which the test videos of split 2" in refused(
        start_from=source / "split-1", split="2"
    )
    assert f"{source} has no split '2'; it holds 1" in refused(start_from=source, split="2")
    assert "seen the videos of every fold" in refused(start_from=source, folds=5)
    assert "it has no network of stream rgb" in refused("consensus", options={}, start_from=source)
    assert "nothing in it has the name and shape" in refused("coattention", options={"hidden": 4}, start_from=source)
    assert "the head's parts with weights are first, first.flow, first.rgb, readouts" in refused(freeze=("third",))
    assert "nothing is left that learns" in refused(freeze=("first", "second", "readouts"))
    assert "name it with start_from" in refused(keep_statistics=True)
