"""Recipes that make all they need: networks, stores, heads, trainings end to end, each once, killed and continued."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from avr.commands.recipe import _show_steps
from avr.core import UsageError
from avr.datasets import Dataset, index_dataset, shapes
from avr.finetune import loop
from avr.fusion import make_fuser
from avr.heads import load_run
from avr.recipes import Changes, Making, load_recipe, plan_stages, run_recipe, settle
from avr.recipes.planning import Pace, look, seconds_a_video
from avr.recipes.tables import foot_lines, table_rows
from avr.store import FeatureStore, read_scores

from .conftest import MINE, parse

RECIPE = (
    MINE
    + """\
streams = ["rgb", "flow"]
layers = ["pooled"]
segments = 2
stack = 2
resize = 40
crop = 36
finetune = { augmentation = "centre" }
[[rows]]
name = "two streams"
head = "linear"
fuse = "average"
figures = { shapes = 50.0 }
[[rows]]
name = "together"
head = "linear"
end_to_end = true
fuse = "average"
figures = { shapes = 60.0 }
[[rows]]
name = "together, mean of the classes"
head = "linear"
end_to_end = true
output = "rgb"
measure = "mean_class"
[[rows]]
name = "together, weighted"
head = "linear"
end_to_end = true
fuse = "awf"
fit = "training"
"""
)
QUICK = Changes(settings="small", training={"epochs": 1, "min_steps": 0})
ONE_EPOCH = {"epochs": "1", "batch_size": "8"}


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Dataset:
    """Three drawn clips a class, two splits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "NUM_SCENES", 3)
        dataset = index_dataset("shapes", tmp_path_factory.mktemp("shapes") / "clips")
    return replace(dataset, splits={name: dataset.splits[name] for name in ("1", "2")})


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "mine.toml"
    path.write_text(RECIPE)
    return load_recipe(str(path))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


def making(clips, folder, **more) -> Making:
    """All made in a folder; frames and flow are everyone's."""
    own = {"backbones": ONE_EPOCH, "end_to_end": ONE_EPOCH, **more}
    return Making(clips, folder / "stages", folder.parent / "cache", **own)


def run(recipe, clips, folder, *, splits="", **more):
    told = {"out": folder / "out", "changes": QUICK, "splits": splits, "device": "cpu"}
    return run_recipe(recipe, making=making(clips, folder, **more), **told)


def figures(outcome, split="1"):
    """What was measured in a split, before the training end to end too."""
    return [(m.row.name, m.before.get((0, split)), m.values[0, split]) for m in outcome.rows]


@pytest.fixture(scope="module")
def whole(recipe, clips, work):
    """An undisturbed run, which keeps its stores."""
    return run(recipe, clips, work / "whole", keep_stores=True)


def stages(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.glob("stages/*/*") if path.is_dir())


def test_every_stage_is_made_once(whole, clips, work):
    folder = work / "whole"
    kinds = [name.split("/")[1] for name in stages(folder)]
    assert kinds == ["backbones"] * 4 + ["heads"] * 2 + ["stores"] * 2 + ["tuned"] * 2
    for store in folder.glob("stages/stores/*"):  # networks that know one split's training videos: of this split alone
        with FeatureStore(store) as opened:
            (split,) = opened.split_names
            assert set(opened.ids.tolist()) == {*clips.splits[split].train, *clips.splits[split].test}


def test_rows_are_measured_before_and_after_the_training_end_to_end(whole, work):
    assert [len(measured.values) for measured in whole.rows] == [2] * 4
    assert [bool(measured.before) for measured in whole.rows] == [False, True, True, True]
    assert whole.rows[1].before == whole.rows[0].values  # the very heads that the row above measures
    tuned = read_scores(next((work / "whole").glob("stages/tuned/*/seed-0-split-2/split-2/scores.h5")))
    right = tuned.streams["rgb"].argmax(1) == tuned.labels
    of_classes = [right[tuned.labels == label].mean() for label in set(tuned.labels.tolist())]
    assert whole.rows[2].values[0, "2"] == pytest.approx(100 * np.mean(of_classes))


def test_the_table_says_what_was_before_and_what_keeps_it_from_the_papers(whole):
    assert table_rows(whole)[0] == ("row", "paper", "before", "measured", "runs")
    assert [row[1] for row in table_rows(whole)[1:]] == ["(50.0)", "(60.0)", "-", "-"]
    assert foot_lines(whole) == [
        "paper's figure in brackets: random weights, 18 videos, as published 432",
        "before: with the fine-tuned networks frozen; measured: head and networks trained end to end",
        "rules are fitted on the scores that heads had before they were trained end to end",
        "changed, training of heads: epochs 1, min_steps 0",
        "changed, fine-tuning: epochs 1, batch_size 8",
        "changed, end to end: epochs 1, batch_size 8",
    ]


def test_a_rule_may_learn_from_the_scores_of_the_trained_on(recipe, whole, work):
    """Fitted by hand: on the head's scores of its own training videos, and applied to those after the last training."""
    folder = work / "whole" / "stages"
    head = load_run(next(folder.glob("heads/*/seed-0-split-1")))
    store = next(path for path in folder.glob("stores/*") if "-crop36-1-" in path.name)
    with FeatureStore(store) as opened:
        train, _ = opened.split("1")
        rows = [
            head.predict({s: opened.read(s, "pooled", [v]) for s in ("rgb", "flow")}) for v in np.flatnonzero(train)
        ]
        learn = np.array([[row["rgb"], row["flow"]] for row in rows])
        rule = make_fuser("awf", kind=["logits", "logits"]).fit(learn, opened.labels[train], opened.groups[train])
    after = read_scores(next(folder.glob("tuned/*/seed-0-split-1/split-1/scores.h5")))
    found = rule.predict(np.stack([after.streams["rgb"], after.streams["flow"]], axis=1))
    assert whole.rows[3].values[0, "1"] == pytest.approx(100 * np.mean(found == after.labels))


def test_without_fine_tuning_one_store_serves_every_split(recipe, clips, work, capsys):
    folder, pace = work / "frozen", Pace({"dis": 0.01}, 1000.0)
    frozen = settle(recipe, making=making(clips, folder, finetune=False), changes=QUICK)
    store, *_ = steps = plan_stages(frozen, folder / "out", pace=pace, where="")
    assert [step.stage for step in steps] == ["store", "head", "head"]
    assert store.hours == pytest.approx(18 * seconds_a_video(recipe.stores["main"], pace) / 3600)
    _show_steps(steps)
    assert capsys.readouterr().out.splitlines()[1] == "  extracted by the run"
    outcome = run(recipe, clips, folder, finetune=False)
    assert [name.split("/")[1] for name in stages(folder)] == ["heads"] * 1 + ["stores"]
    assert [len(measured.values) for measured in outcome.rows] == [2] * 4
    assert table_rows(outcome)[0] == ("row", "paper", "measured", "runs")
    assert foot_lines(outcome)[0].startswith(
        "paper's figure in brackets: frozen networks, the paper's are trained, random"
    )


KILLS = {
    "backbone": ("avr.finetune.loop.Loop._step", 2),
    "store": ("avr.extract.run._Watch.__call__", 1),
    "head": ("avr.heads._running.keep_outcome", 1),
    "end to end": ("avr.finetune.loop.Loop._step", 1),
    "measuring": ("avr.recipes.bench.accuracy_of", 2),
}


def test_killed_in_every_stage_it_goes_on_to_the_same_table(whole, recipe, clips, work, monkeypatch):
    folder, reached = work / "killed", []
    for stage, (name, count) in KILLS.items():
        calls = iter(range(10_000))
        with monkeypatch.context() as patch:
            module, _, attribute = name.rpartition(".")
            patch.setattr(name, dying(module, attribute, calls, count))
            with pytest.raises(Killed):
                run(recipe, clips, folder, splits="1")
        reached.append((stage, stages(folder)))
    counts = [len(found) for _, found in reached]
    assert counts == sorted(counts), reached
    assert figures(run(recipe, clips, folder, splits="1")) == figures(whole)
    assert not list(folder.glob("stages/stores/*"))  # their rows are measured
    # what is there is used: another recipe of the same stages, or the same again, trains nothing
    monkeypatch.setattr(loop.Loop, "run", None)
    monkeypatch.setattr("avr.heads._run.open_examples", None)
    assert figures(run(recipe, clips, folder, splits="1")) == figures(whole)


def dying(module, attribute, calls, count):
    """What a name stands for, until it is called so many times."""
    import importlib

    owner = module
    while True:
        try:
            found = importlib.import_module(owner)
            break
        except ModuleNotFoundError:
            owner = owner.rpartition(".")[0]
    for part in filter(None, module.removeprefix(owner).split(".")):
        found = getattr(found, part)
    real = getattr(found, attribute)

    def call(*arguments, **options):
        if next(calls) >= count:
            raise Killed
        return real(*arguments, **options)

    return call


def test_the_plan_tells_every_stage_as_a_command_that_avr_takes(whole, recipe, clips, work, tmp_path):
    asked = {"making": making(clips, work / "planned"), "changes": QUICK}
    pace = Pace({"dis": 0.01}, 1000.0)
    where = f"--dataset shapes --root {clips.root}"
    steps = plan_stages(settle(recipe, **asked), work / "out", pace=pace, where=where)
    kinds = ["backbone", "backbone", "store", "head", "end to end"]
    assert [step.stage for step in steps] == ["frames", *kinds, *kinds]
    assert {step.rows for step in steps if step.stage == "end to end"} == {tuple(r.name for r in recipe.rows[1:])}
    assert not any(step.done for step in steps)
    for step in steps:
        if step.stage in ("frames", "store"):  # the run's own
            assert step.command == ""
            continue
        run = str(work / "planned" / "stages" / "heads")  # is not there yet
        parse(shlex.join(str(tmp_path) if word.startswith(run) else word for word in shlex.split(step.command)))
    there = settle(recipe, making=making(clips, work / "whole"), changes=QUICK)
    found = plan_stages(there, work / "whole" / "out", pace=pace, where=where)
    assert [(step.stage, step.done) for step in found] == [(kind, True) for kind in [*kinds, *kinds]]
    # one epoch of 12 videos, a frame each, forward and back
    work_of_a_frame = look(recipe.stores["main"].read()["rgb"])[0]
    assert steps[1].hours == pytest.approx(3 * 12 * work_of_a_frame / 1000 / 3600)


def test_what_would_make_sections_one_is_refused(clips, tmp_path):
    asked = making(clips, tmp_path, extract={"backbone": "squeezenet1_1"})
    with pytest.raises(UsageError, match=r"resnet101 and inception of stfn-table6 would be one: .* SETTING@inception="):
        settle(load_recipe("stfn-table6"), making=asked, changes=QUICK)
    asked = making(clips, tmp_path, extract={"backbone@inception": "squeezenet1_1", "segments": "3"})
    plan = settle(load_recipe("stfn-table6"), making=asked, changes=QUICK)
    settings = {name: source.made.spec for name, source in plan.sources["1"].items()}
    assert [spec["backbone"] for spec in settings.values()] == ["resnet101", "squeezenet1_1"]
    assert {spec["segments"] for spec in settings.values()} == {3}


REFUSED = {
    "run stfn-table6 --finetune": "--finetune is of stores that the run makes: say of which videos, --dataset",
    "plan stfn-table6 --finetune": "say of which data set, --dataset",
    "plan stfn-table6 --dataset weizmann --backbones epochs=5": "--backbones: without --finetune or --tune a plan is",
    "plan stfn-table6 --dataset weizmann --finetune --videos 9": "--videos: with --finetune or --tune they are counted",
    "run stfn-table6 --trials 3": "--trials are of --tune: say both",
    "run stfn-table6 --name mine": "--name is of stores that the run makes",
    "run stfn-table6 --dataset weizmann --end-to-end lr=1": "--end-to-end is of networks that the run trains",
    "run stfn-table6 --dataset weizmann --keep-stores": "--keep-stores is of networks that the run trains",
    "plan stfn-table6 --dataset hmdb15": r"hmdb15 is not known here \(did you mean hmdb51\?\)",
    "run stfn-table6 --dataset hmdb15 --finetune": "unknown data set 'hmdb15'",
}


def test_what_cannot_be_is_said_before_torch_is_loaded(tmp_path):
    code = (
        "import json, sys; from click.testing import CliRunner; from avr.cli import main;"
        f"found = [CliRunner().invoke(main, ['recipe', *line.split()]) for line in {list(REFUSED)!r}];"
        "print(json.dumps(['torch' in sys.modules, *([one.exit_code, one.output] for one in found)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    torch, *found = json.loads(done.stdout)
    assert not torch
    for (status, output), message in zip(found, REFUSED.values(), strict=True):
        assert status == 2
        assert re.search(message, output)
