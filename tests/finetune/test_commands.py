"""`avr finetune`: what a user types, its defaults, its errors; the same command under torchrun."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import avr.finetune
import avr.store
from avr.cli import main
from avr.finetune import Tuning
from avr.store import RunRecord, read_record, write_record

SMALL = ["--backbone", "squeezenet1_1", "--weights", "random", "--stack", "2", "--resize", "40", "--crop", "36"]
SMALL += ["--epochs", "5", "--batch-size", "8", "--device", "cpu", "--dropout", "0.3"]


@pytest.fixture
def folder_data(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return ["--dataset", "folder", "--root", str(dataset.root), "--set", "group_pattern=.*"]


def run(runner, *arguments):
    return runner.invoke(main, ["finetune", *arguments])


def test_backbone_prints_json_and_its_run_is_repeated_from_its_record(runner, folder_data, monkeypatch):
    """As it was told, to the letter, wherever one is; what is given beside it wins."""
    own = ["--stream", "slow=rgb", "--lr", "0.01", "--no-mirror", "--training", "min_steps=3", "--seed", "3"]
    done = run(runner, "backbone", *folder_data, *SMALL, *own, "--epochs", "1", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["folder"] == "backbones/squeezenet1_1-slow-folder-1-1"
    assert set(result["accuracy"]) == {"top1", "top5", "mean_class"}
    assert len(load_file(result["weights"])) == 52

    folder, calls = Path(result["folder"]).resolve(), []
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert run(runner, "backbone", "--config", str(folder), "--out", "again").exit_code == 0
    before, after = read_record(folder), read_record(Path("again"))
    assert not before.differences(after)
    assert (before.store, before.summary) == (after.store, after.summary)
    assert before.identity["training"]["min_steps"] == 3

    monkeypatch.setattr(avr.finetune, "finetune_backbone", lambda found, **told: calls.append((found, told)))
    more = ["--epochs", "7", "--set", "folds=2", "--dropout", "0.1"]
    assert run(runner, "backbone", "--config", str(folder), *more).exit_code == 0
    ((found, told),) = calls
    assert {**told["training"], "lr": "0.01"} == told["training"]
    assert (told["training"]["epochs"], told["training"]["min_steps"]) == (7, "0")
    assert (told["tuning"].dropout, told["tuning"].mirror, told["seed"]) == (0.1, False, 3)
    assert found.found == before.store["index"] | {"folds": "2"}

    finished = before.identity["extraction"]
    for identity, store, why in (
        ({"extraction": 5}, {}, "is damaged"),
        ({"extraction": {**finished, "kind": 5}}, {}, "kind takes text"),
        ({"tuning": 5}, {}, "is damaged"),
        ({"training": []}, {}, "is damaged"),
        ({}, {"index": 5}, "is damaged"),
        ({}, {"index": {**before.store["index"], "root": 5}}, "is damaged"),
        ({}, {"index": {**before.store["index"], "lists_suffice": "true"}}, "is damaged"),
        ({}, {"index": None}, "does not say where its videos lay: give its options in full"),
        ({"seed": {"a": 1}}, {}, "Invalid value for '--seed'"),
    ):
        write_record(Path("again"), replace(after, identity=after.identity | identity, store=after.store | store))
        done = run(runner, "backbone", "--config", "again")
        assert (done.exit_code, why in done.stderr) == (1 if "damaged" in why else 2, True), done.output
    assert len(calls) == 1

    begun = replace(after, splits={}, complete=False, command="avr finetune backbone --seed 3")
    write_record(Path("again"), begun)
    done = run(runner, "backbone", "--config", "again")
    assert "again is not finished: avr finetune backbone --seed 3 goes on with it" in done.stderr
    shown = runner.invoke(main, ["runs", "show", "again"]).stdout
    assert "go on with it: avr finetune backbone --seed 3" in shown
    assert "--config" not in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "7"], "folder has no split '7'; it has"),
        (["--training", "moment=1"], "unknown training setting 'moment' (did you mean momentum?); known: epochs"),
        (["--training", "refit=true"], "training setting refit: fine-tuning does not read it"),
        (["--backbone", "resnet9"], "unknown backbone 'resnet9'"),
        (["--seed", "-1"], "the seed must be at least 0, not -1"),
        (["--device", "mps"], "unknown device 'mps'; known: auto, cpu, cuda"),
        (["--dropout", "2"], "dropout takes none or 0 ≤ float < 1"),
        (["--schedule", "plateau"], "schedule plateau needs a validation part"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_code_2(runner, folder_data, arguments, message):
    done = runner.invoke(main, ["finetune", "backbone", *folder_data, *SMALL, *arguments])
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_end_to_end_needs_a_run(runner, tmp_path):
    done = runner.invoke(main, ["finetune", "end-to-end", "--run", str(tmp_path)])
    assert done.exit_code == 2
    assert "it has no run.json" in done.stderr


@pytest.mark.slow
def test_the_same_command_under_torchrun_trains_the_same(runner, folder_data, tmp_path):
    """Ten steps of batches of 8, shared as 4 + 4; SqueezeNet has no batch norm, dropout is on."""
    script = tmp_path / "avr_main.py"
    script.write_text("import sys; from avr.cli import main; main()")
    command = ["finetune", "backbone", *folder_data, *SMALL, "--micro-batch", "3", "--cache", "cache", "--json"]
    one = runner.invoke(main, [*command, "--out", "one"])
    assert one.exit_code == 0, one.output
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    two = subprocess.run(
        [*torchrun, *command, "--out", "two"],
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert two.returncode == 0, two.stderr
    for printed in (one.stdout, two.stdout):
        json.loads(printed)  # one object: the second process prints nothing
    losses = {name: read_record(tmp_path / name).splits["1"].losses for name in ("one", "two")}
    assert len(losses["one"]) >= 10
    np.testing.assert_allclose(losses["two"][:10], losses["one"][:10], atol=1e-5)


def test_options_that_are_given_are_told_apart_from_defaults(runner, monkeypatch, tmp_path):
    """So that --paper's augmentation and batch norm hold where none is given, and what is given wins."""
    told = {}
    monkeypatch.setattr(avr.store, "read_head_record", lambda run: None)
    monkeypatch.setattr(avr.store, "warn_unfinished", lambda run: None)
    monkeypatch.setattr(avr.finetune, "finetune_end_to_end", lambda run, **given: told.update(given), raising=False)
    command = ["finetune", "end-to-end", "--run", str(tmp_path), "--paper", "--augmentation", "corners", "--no-mirror"]
    done = runner.invoke(main, [*command, "--flow-start", "random"])
    assert done.exit_code == 0, done.output
    assert told["tuning"] == {"augmentation": "corners", "mirror": False, "flow_start": "random"}

    tuning = Tuning(batch_norm="frozen", augmentation="jitter", new_factor=2.0).identity()
    identity = {"run": str(tmp_path), "splits": ["2"], "tuning": tuning}
    record = RunRecord("end-to-end", identity, "stfn", training={"epochs": 4, "lr": 0.5, "refit": False}, seed=8)
    write_record(tmp_path, record)
    begun = run(runner, "end-to-end", "--config", str(tmp_path)).stderr
    assert f"{tmp_path} is not finished: the command that began it goes on with it" in begun
    write_record(tmp_path, replace(record, complete=True))
    for paper in ([], ["--paper"]):
        done = runner.invoke(main, ["finetune", "end-to-end", "--config", str(tmp_path), "--lr", "0.1", *paper])
        assert done.exit_code == 0, done.output
        assert (told["split"], told["seed"], told["paper"]) == ("2", 8, bool(paper))
        assert told["training"] == {**({} if paper else {"epochs": "4"}), "lr": 0.1}
        assert told["tuning"].get("augmentation") == (None if paper else "jitter")
    done = runner.invoke(main, ["finetune", "backbone", "--config", str(tmp_path)])
    assert f"a run fine-tuned end to end: avr finetune end-to-end --config {tmp_path} repeats it" in done.stderr
