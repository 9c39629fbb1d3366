"""Runs that make all they need, where nothing takes time: what serves, what is planned, what stays, what is refused."""

import csv
import shlex
import shutil

import pytest
import torch

from avr.core import UsageError
from avr.finetune import BACKBONE, END_TO_END
from avr.finetune.tuning import settle_training
from avr.heads import save_tensors
from avr.recipes import Changes, Making, load_recipe, plan_stages, run_recipe, settle
from avr.recipes.planning import Pace
from avr.recipes.tables import as_csv

from .conftest import MINE, write_store

RECIPE = (
    MINE
    + """\
streams = ["rgb"]
layers = ["pooled"]
finetune = { augmentation = "centre" }
[[rows]]
name = "alone"
head = "linear"
output = "rgb"
[[rows]]
name = "together"
head = "linear"
output = "rgb"
end_to_end = true
"""
)


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "mine.toml").write_text(RECIPE)
    return load_recipe(str(tmp_path / "mine.toml"))


def asked(dataset, folder, *, settings="small", splits="", **more):
    making = Making(dataset, folder / "stages", folder / "cache", **more)
    return {"making": making, "changes": Changes(settings=settings), "splits": splits}


def go(recipe, dataset, folder, **more):
    return run_recipe(recipe, **asked(dataset, folder, **more), out=folder / "out", device="cpu")


def planned(recipe, dataset, folder, **more):
    settled = settle(recipe, **asked(dataset, folder, **more))
    return plan_stages(settled, folder / "out", pace=Pace({"dis": 0.01}, 1000.0), where="--dataset toy")


def stores(folder):
    return sorted(path.name for path in (folder / "stages" / "stores").iterdir())


def test_a_store_of_networks_that_saw_a_split_serves_that_split_and_others_are_made(recipe, unmade, tmp_path):
    weights = tmp_path / "weights.safetensors"
    save_tensors(weights, {"a": torch.zeros(1)}, {"dataset": "toy", "split": "1"})
    store = write_store(tmp_path / "store", weights_files={"rgb": str(weights)})
    plan = settle(recipe, stores=[("", store)], **asked(unmade, tmp_path))
    assert plan.sources["1"]["main"].path == store
    assert plan.sources["2"]["main"].made.split == "2"


def test_a_finished_run_has_nothing_to_do(recipe, unmade, tmp_path):
    assert {step.stage for step in planned(recipe, unmade, tmp_path)} >= {"frames", "store"}
    outcome = go(recipe, unmade, tmp_path)
    steps = planned(recipe, unmade, tmp_path)
    assert [(step.stage, step.done) for step in steps] == [("backbone", True), ("head", True), ("end to end", True)] * 2
    header, *rows = csv.reader(as_csv(outcome).splitlines())
    assert header[-2:] == ["before: seed 0 split 1", "before: seed 0 split 2"]
    assert [row[-2:] for row in rows] == [["", ""], ["50.0", "50.0"]]


def test_a_planned_fine_tuning_names_no_setting_that_it_does_not_read(recipe, unmade, tmp_path):
    commands = [step.command for step in planned(recipe, unmade, tmp_path, settings="paper")]
    tuning = [command for command in commands if command.startswith("avr finetune")]
    assert len(tuning) == 4
    assert not any("standardise" in command for command in tuning)
    # and what it records is what the run itself would
    plan = settle(recipe, **asked(unmade, tmp_path, settings="paper"))
    job = plan.jobs["1"]["together"]
    stage = plan.tuned(recipe.rows[1], job, tmp_path, seed=0, split="1")
    for command, base, own in ((tuning[0], BACKBONE, job.source.made.backbones["rgb"]), (tuning[1], END_TO_END, stage)):
        words = shlex.split(command)
        given = (words[at + 1].partition("=") for at, word in enumerate(words) if word == "--training")
        told = {name: value for name, _, value in given}
        assert settle_training(base, told) == settle_training(base, own.tuned.training)
        assert own.tuned.training.standardise is not settle_training(base, told).standardise


def test_what_a_killed_run_left_goes_and_what_a_run_kept_stays(recipe, unmade, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("avr.recipes.bench.train_runs", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            go(recipe, unmade, tmp_path, splits="1")
    assert len(stores(tmp_path)) == 1
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path, **_: path.exists() and 1 / 0)
        with pytest.raises(ZeroDivisionError):
            go(recipe, unmade, tmp_path, splits="1")
    assert [name[0] for name in stores(tmp_path)] == ["."]
    go(recipe, unmade, tmp_path, splits="1")
    assert stores(tmp_path) == []
    go(recipe, unmade, tmp_path, splits="2", keep_stores=True)
    go(recipe, unmade, tmp_path)
    assert len(stores(tmp_path)) == 1


def test_a_damaged_record_is_one_rows_matter(recipe, unmade, tmp_path):
    go(recipe, unmade, tmp_path)
    for record in (tmp_path / "stages" / "tuned").rglob("run.json"):
        record.write_text("{")
    assert [step.done for step in planned(recipe, unmade, tmp_path) if step.stage == "end to end"] == []
    assert [len(measured.values) for measured in go(recipe, unmade, tmp_path).rows] == [2, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"end_to_end": {"segments": "3"}}, "--end-to-end segments: it takes those of the store"),
        ({"end_to_end": {"colour": "3"}}, "unknown setting of a fine-tuning 'colour'"),
        ({"backbones": {"standardise": "no"}}, "unknown setting of a fine-tuning 'standardise'"),
        ({"splits": "1,"}, "unknown split of toy ''; known: 1, 2"),
    ],
)
def test_what_does_nothing_is_refused(recipe, unmade, tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        settle(recipe, **asked(unmade, tmp_path, **change))


def test_bf16_of_a_fine_tuning_can_be_set(recipe, unmade, tmp_path):
    plan = settle(recipe, **asked(unmade, tmp_path, backbones={"bf16": "no"}))
    tuned = plan.sources["1"]["main"].made.backbones["rgb"].tuned
    assert (tuned.tuning.bf16, tuned.training.bf16) == (False, True)
