"""Runs that earlier code wrote (`tests/data/runs-v*`) are read, predicted with, fused, reported on and continued."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from avr.fusion import fuse, gather, load_fuser
from avr.heads import load_run, train_run
from avr.predict import Predictor
from avr.recipes import Changes, load_recipe, run_recipe
from avr.report import read_outcomes
from avr.store import FeatureStore, finished_runs, is_run, read_head_record, read_record, read_scores, score_paths

VERSIONS = sorted((Path(__file__).parents[1] / "data").glob("runs-v*"))
HEADS = ("linear-toy-1", "stfn-toy-1")
TRAINING = {"epochs": 6, "min_steps": 0, "batch_size": 6, "lr": 0.02}
STEPS = {"optimizer": "adamw", "weight_decay": 3.0, "schedule": "cosine", "views": "one"}  # as `linear` had it then


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def old(request, tmp_path, monkeypatch) -> Path:
    """A copy of one version's folder, worked in."""
    folder = tmp_path / request.param.name
    shutil.copytree(request.param, folder)
    monkeypatch.chdir(folder)
    return folder


def test_every_record_reads(old):
    found = {run.name: read_record(run) for run in sorted(old.glob("*/*")) if is_run(run)}
    assert {name: (record.kind, record.complete, list(record.splits)) for name, record in found.items()} == {
        "linear-toy-1": ("head", True, ["1", "2"]),
        "linear-toy-2": ("head", False, ["1"]),
        "stfn-toy-1": ("head", True, ["1", "2"]),
        "linear-tiny-tuned-1": ("end-to-end", True, ["1"]),
        "linear-tiny-tuned-2": ("end-to-end", False, []),
        "squeezenet1_1-rgb-tiny-1-1": ("backbone", True, ["1"]),
        "squeezenet1_1-rgb-tiny-1-2": ("backbone", False, []),
    }
    linear, tuned = found["linear-toy-1"], found["linear-tiny-tuned-1"]
    assert (linear.head, linear.seed, linear.dataset, linear.training["lr"]) == ("linear", 1, "toy", 0.02)
    assert linear.splits["2"].folds == 3
    assert set(linear.splits["1"].results) == {"rgb", "flow", "average"}
    assert set(tuned.splits["1"].before) == {"rgb", "flow", "average"}
    assert len(tuned.splits["1"].history) == 2
    backbone = found["squeezenet1_1-rgb-tiny-1-1"].splits["1"]
    assert (set(backbone.results), len(backbone.losses)) == ({"rgb"}, 4)
    assert found["squeezenet1_1-rgb-tiny-1-2"].wanted == ("1",)
    assert {run.name for run in finished_runs(but="fuse-")} == {"linear-tiny-tuned-1", *HEADS}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("split", ["1", "2"])
def test_a_head_predicts_what_it_wrote(old, name, split):
    run = load_run(Path("runs") / name, split=split)
    scores = read_scores(run.folder / "scores.h5")
    with FeatureStore(Path("features/toy.h5")) as store:
        for place in np.flatnonzero(scores.fold == -1)[:3]:
            video = store.ids.tolist().index(scores.ids[place])
            predicted = run.predict({stream: store.read(stream, "pooled", [video]) for stream in ("rgb", "flow")})
            for stream, values in scores.streams.items():
                np.testing.assert_allclose(predicted[stream], values[place], atol=1e-5)  # other batches


def test_runs_fuse_to_what_they_fused_to(old):
    before = Path("runs/fuse-average-1")
    now = fuse("average", [Path("runs/linear-toy-1")], split="1").out
    assert now.name == "fuse-average-2"  # the old fusion counts
    assert len(score_paths(now)) == len(score_paths(before)) > 0
    for ours, theirs in zip(score_paths(now), score_paths(before), strict=True):
        np.testing.assert_array_equal(read_scores(ours).streams["fused"], read_scores(theirs).streams["fused"])


@pytest.mark.parametrize("split", ["1", "2"])
def test_an_old_rule_fuses_as_it_did(old, split):
    """By what it learnt, though its default and its options have changed since."""
    folder = Path("runs/fuse-awf-1") / f"split-{split}"
    table = gather([(run, read_scores(Path("runs") / run / f"split-{split}" / "scores.h5")) for run in HEADS])
    expected = read_scores(folder / "scores.h5")
    rows = [table.ids.tolist().index(video) for video in expected.ids]
    fused = load_fuser(folder).predict_proba(table.X[rows])
    np.testing.assert_array_equal(fused.astype(np.float32), expected.streams["fused"])


def test_everything_with_scores_is_reported_on(old):
    runs = finished_runs()
    outcomes = {outcome.name: outcome for outcome in read_outcomes([*runs, Path("recipes/mine-toy")])}
    assert set(outcomes) == {run.name for run in runs} | {"mine-toy"}
    for name in HEADS:
        record = read_head_record(Path("runs") / name)
        for split, kept in record.splits.items():
            for output, figures in kept.results.items():
                assert outcomes[name].rows[split][output] == pytest.approx(figures)
        assert outcomes[name].curves


def test_an_old_fusion_is_predicted_with_where_its_runs_lie(old):
    for fused in ("fuse-awf-1", "fuse-awf-1/split-2", "fuse-average-1"):
        with pytest.raises(Exception, match="backbone"):  # as far as the store's made-up backbone
            Predictor(fuse=Path("runs") / fused, device="cpu")


def test_an_interrupted_head_goes_on(old):
    """Its splits are those asked for now; what is finished stays, to the byte."""
    kept = (old / "runs/linear-toy-2/split-1/scores.h5").read_bytes()
    told = {"split": "all", "folds": 0, "training": TRAINING | STEPS, "seed": 2}
    result = train_run(Path("features/toy.h5"), "linear", **told)
    assert result.folder == Path("runs/linear-toy-2")
    assert read_record(result.folder).complete
    assert (old / "runs/linear-toy-2/split-1/scores.h5").read_bytes() == kept
    whole = train_run(Path("features/toy.h5"), "linear", **told, out=Path("w"))
    assert whole.summary.pop("multiply")["top1"] >= 0.5  # which the old splits do not tell
    assert whole.summary == result.summary


def test_a_recipes_outcome_is_found_again(old, monkeypatch):
    monkeypatch.setattr("avr.heads._run.run_tasks", None)  # cannot be called
    outcome = run_recipe(
        load_recipe("recipes/mine.toml"),
        stores=[("", Path("features/toy.h5"))],
        out=Path("recipes/mine-toy"),
        splits="1",
        changes=Changes(training={"epochs": 4, "min_steps": 0, "batch_size": 6}),
    )
    assert [round(measured.values[0, "1"], 1) for measured in outcome.rows] == [50.0, 66.7]
