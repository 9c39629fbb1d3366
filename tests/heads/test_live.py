"""Training is seen while it runs: each epoch once, in epochs.csv, in a hook, in TensorBoard's files."""

import csv

import pytest

from avr.cli import main
from avr.heads import Epoch, train_run
from avr.store import EpochTable

QUICK = {"epochs": 2, "min_steps": 0, "validation": 0.25, "optimizer": "adam"}


def rows_of(run):
    return list(csv.DictReader((run / "epochs.csv").read_text().splitlines()))


def test_each_epoch_of_every_training_is_told_once_as_it_ends(toy_store, tmp_path):
    told: list[Epoch] = []

    def hear(epoch: Epoch) -> None:
        told.append(epoch)
        last = rows_of(epoch.run)[-1]  # which is there by then
        assert (last["training"], last["epoch"]) == (epoch.training, str(epoch.number))

    result = train_run(toy_store, "linear", folds=2, training=QUICK, out=tmp_path / "run", on_epoch=hear)
    names = [f"split-1/{stream}{fold}" for stream in ("rgb", "flow") for fold in ("", "/fold-1", "/fold-2")]
    assert sorted((epoch.training, epoch.number) for epoch in told) == sorted((n, e) for n in names for e in (1, 2))
    assert {epoch.run for epoch in told} == {result.folder}
    log = list(csv.DictReader((result.folder / "split-1/rgb/log.csv").read_text().splitlines()))
    live = [row for row in rows_of(result.folder) if row["training"] == "split-1/rgb"]
    figures = ("loss", "accuracy", "lr", "validation_loss", "validation_accuracy")
    assert [[row[name] for name in figures] for row in live] == [[row[name] for name in figures] for row in log]


def test_a_table_that_was_cut_goes_on_and_holds_no_epoch_twice(tmp_path):
    table = EpochTable(tmp_path)
    for number in (1, 2):
        table.add("split-1", number, {"loss": 1 / number, "unknown": 3.0})
    with open(table.path, "a") as file:
        file.write("split-1,3,0.")  # a kill
    again = EpochTable(tmp_path)
    for number in (2, 3):
        again.add("split-1", number, {"loss": 1 / number})
    assert [(row["epoch"], row["loss"]) for row in rows_of(tmp_path)] == [("1", "1.0"), ("2", "0.5"), ("3", f"{1 / 3}")]


def test_a_table_that_cannot_be_written_is_said_once_and_costs_nothing(tmp_path, capsys):
    (tmp_path / "epochs.csv").mkdir()
    table = EpochTable(tmp_path)
    for number in (1, 2):
        table.add("split-1", number, {"loss": 1.0})
    assert capsys.readouterr().err.count("epochs.csv: cannot be written") == 1


def test_tensorboard_reads_what_log_writes(toy_store, tmp_path, runner):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    command = f"heads train stfn --store {toy_store} --epochs 2 --training min_steps=0 --folds 0 --out {tmp_path}/run"
    done = runner.invoke(main, [*command.split(), "--log", "tensorboard"])
    assert done.exit_code == 0, done.output
    found = accumulator.EventAccumulator(str(tmp_path / "run/tensorboard/split-1"))
    found.Reload()
    values = [(event.step, event.value) for event in found.Scalars("loss")]
    expected = [(int(row["epoch"]), pytest.approx(float(row["loss"]))) for row in rows_of(tmp_path / "run")]
    assert values == expected
    assert {"accuracy", "lr"} <= set(found.Tags()["scalars"])


def test_tensorboard_that_is_not_installed_is_said_at_once(runner, monkeypatch, toy_store):
    monkeypatch.setitem(__import__("sys").modules, "tensorboard", None)
    done = runner.invoke(main, ["heads", "train", "linear", "--store", str(toy_store), "--log", "tensorboard"])
    assert done.exit_code == 2
    assert "--log tensorboard needs tensorboard: pip install 'avr-video[tensorboard]'" in done.stderr
