"""End to end: what it starts from is the run, what it writes is a run, and it trains what it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from clips import SETTINGS

from avr.core import UsageError
from avr.finetune import Tuning, finetune_end_to_end
from avr.finetune.end_to_end import DEFAULTS, TUNING
from avr.finetune.record import paper_training
from avr.heads import load_run
from avr.store import FeatureStore, read_scores

SHORT = replace(DEFAULTS, epochs=2, batch_size=8, lr=1e-3)


@pytest.fixture(scope="module")
def tuned(stfn_run, workplace):
    return finetune_end_to_end(
        stfn_run,
        training=SHORT,
        out=workplace / "stfn-tuned",
        cache=workplace / "cache",
        store=workplace / "fresh",
        device="cpu",
    )


def test_it_starts_from_the_very_run(tuned, stfn_run):
    """Backbones and head rebuilt from the run's provenance give the scores that were stored with it."""
    import json

    stored = json.loads((stfn_run / "run.json").read_text())["splits"]["1"]["results"]
    assert tuned.before["1"] == stored


def test_what_it_writes_is_a_run_and_its_fresh_store_gives_its_scores(tuned, workplace):
    scores = read_scores(tuned.folder / "split-1" / "scores.h5")
    trained = load_run(tuned.folder)
    with FeatureStore(workplace / "fresh") as store:
        place = {name: index for index, name in enumerate(store.ids.tolist())}
        assert store.provenance["settings"]["weights"] == ["rgb=rgb.safetensors", "flow=flow.safetensors"]
        for row, name in enumerate(scores.ids.tolist()):
            features = {s: store.read(s, "pooled", [place[name]]) for s in ("rgb", "flow")}
            for output, found in trained.predict(features).items():
                # The store rounds features to fp16 (relative 5e-4); the scores here are log-probabilities.
                np.testing.assert_allclose(found, scores.streams[output][row], atol=5e-3)
    assert scores.fused == "fused"
    assert set(scores.streams) == {"rgb", "flow", "fused"}


def test_backbones_and_head_both_moved(tuned, stfn_run):
    from avr.extract.backbones import build_backbone

    start = build_backbone("squeezenet1_1", weights="random", seed=SETTINGS.seed)
    end = build_backbone("squeezenet1_1", weights=str(tuned.folder / "split-1" / "rgb.safetensors"))
    assert not torch.equal(start.features[0].weight, end.features[0].weight)
    before, after = load_run(stfn_run).head, load_run(tuned.folder).head
    assert not torch.equal(before.readouts["rgb"].weight, after.readouts["rgb"].weight)
    assert torch.equal(before.mean_rgb, after.mean_rgb)


def test_a_finished_run_is_not_made_again(tuned, stfn_run, workplace):
    before = (tuned.folder / "split-1" / "rgb.safetensors").stat().st_mtime_ns
    again = finetune_end_to_end(stfn_run, training=SHORT, out=tuned.folder, cache=workplace / "cache", device="cpu")
    assert again == tuned
    assert (tuned.folder / "split-1" / "rgb.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match=r"other settings \(training.lr 0.001, now 0.5\): choose another --out"):
        finetune_end_to_end(stfn_run, training=replace(SHORT, lr=0.5), out=tuned.folder, device="cpu")


def test_interrupted_and_continued_gives_the_same_files(tuned, stfn_run, workplace):
    own = {"training": SHORT, "cache": workplace / "cache", "device": "cpu", "out": workplace / "stfn-parts"}
    assert finetune_end_to_end(stfn_run, tuning=replace(TUNING, save_every=1), stop_after=1, **own) is None
    done = finetune_end_to_end(stfn_run, **own)
    for name in ("rgb.safetensors", "flow.safetensors"):
        assert (done.folder / "split-1" / name).read_bytes() == (tuned.folder / "split-1" / name).read_bytes()
    whole, parts = load_run(tuned.folder).head.state_dict(), load_run(done.folder).head.state_dict()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_recomputed_activations_and_pieces_change_nothing_but_rounding(stfn_run, workplace):
    own = {"training": replace(SHORT, epochs=1, lr=1e-5), "cache": workplace / "cache", "device": "cpu"}
    plain = finetune_end_to_end(stfn_run, out=workplace / "plain", **own)
    saved = finetune_end_to_end(stfn_run, out=workplace / "saved", tuning=replace(TUNING, recompute=True), **own)
    # Convolutions over one video at a time sum in another order.
    assert saved.history["1"][0]["loss"] == pytest.approx(plain.history["1"][0]["loss"], abs=1e-4)


def test_single_stream_heads_train_too(linear_run, workplace):
    result = finetune_end_to_end(
        linear_run, training=replace(SHORT, epochs=1), out=workplace / "linear-tuned", cache=workplace / "cache"
    )
    assert set(result.results["1"]) == {"rgb", "flow", "average"}
    assert set(read_scores(result.folder / "split-1" / "scores.h5").streams) == {"rgb", "flow"}
    assert load_run(result.folder).head.streams == ("rgb", "flow")


def test_weights_that_are_others_than_in_training_are_refused(tuned, stfn_run, tmp_path):
    import shutil

    copy = tmp_path / "moved"
    shutil.copytree(tuned.folder, copy)
    swapped = (copy / "split-1" / "flow.safetensors").read_bytes()
    (copy / "split-1" / "rgb.safetensors").write_bytes(swapped)
    with pytest.raises(UsageError, match=r"rgb.safetensors is not the weights file of stream rgb that the features"):
        finetune_end_to_end(
            copy, out=tmp_path / "never", device="cpu", weights=(f"rgb={copy}/split-1/rgb.safetensors",)
        )


@pytest.mark.parametrize(
    ("head", "optimizer", "rate"),
    [("stfn", "sgd", 1e-3), ("frame-attention", "adam", 1e-6), ("attention-streams", "adam", 1e-5)],
)
def test_the_papers_settings(head, optimizer, rate):
    training = paper_training(head)
    assert (training.optimizer, training.lr) == (optimizer, rate)


def test_unknown_settings_are_named():
    with pytest.raises(UsageError, match="unknown batch norm 'both'; known: local, sync, partial, frozen"):
        Tuning(batch_norm="both")


def test_a_head_on_maps_of_clips_trains_on_one_clip_a_video(dataset, workplace):
    """GLKA's way: clips as views, `map`, and activations held for one video at a time."""
    from avr.extract import extract
    from avr.heads import train_run

    settings = SETTINGS.change(streams=("rgb",), layers=("map",), plan="clips", segments=4, clip_stride=5, views=20)
    extract(dataset, workplace / "clips", settings=settings)
    run = train_run(
        workplace / "clips", "attention-streams", training={"epochs": 1, "min_steps": 0}, folds=0,
        out=workplace / "attention-streams", device="cpu",
    ).folder  # fmt: skip
    result = finetune_end_to_end(
        run,
        training=replace(SHORT, epochs=1, lr=1e-5),
        tuning=replace(TUNING, recompute=True, augmentation="random-resized"),
        out=workplace / "attention-tuned",
        cache=workplace / "cache",
        device="cpu",
    )
    import json

    stored = json.loads((run / "run.json").read_text())["splits"]["1"]["results"]
    assert result.before["1"] == stored
    assert np.isfinite(result.history["1"][0]["loss"])
