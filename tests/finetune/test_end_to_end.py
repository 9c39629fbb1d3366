"""End to end: what it starts from is the run, what it writes is a run, and it trains what it says."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from clips import SETTINGS

from avr.core import UsageError
from avr.datasets import Split
from avr.extract import Origin
from avr.finetune import END_TO_END, END_TO_END_TUNING, Tuning, finetune_end_to_end
from avr.finetune import end_to_end as stage
from avr.finetune.backbone import PAPER
from avr.heads import head_class, load_run
from avr.store import FeatureStore, RunRecord, read_scores, write_record

SHORT = replace(END_TO_END, epochs=2, batch_size=8, lr=1e-3)


def videos_of(run):
    trained = load_run(run)
    return Origin.of(trained.metadata, trained.folder).restore_dataset()


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


@pytest.fixture(scope="module")
def quick(workplace):
    """One epoch from small steps, on the CPU."""
    return {"training": replace(SHORT, epochs=1, lr=1e-5), "cache": workplace / "cache", "device": "cpu"}


@pytest.fixture(scope="module")
def quickly_tuned(stfn_run, linear_run, workplace, quick):
    """Both runs, trained on so."""
    runs = {"stfn": stfn_run, "linear": linear_run}
    return {name: finetune_end_to_end(run, out=workplace / f"{name}-quick", **quick) for name, run in runs.items()}


@pytest.fixture(scope="module")
def few(dataset):
    """Half of the clips."""
    videos = tuple(video for video in dataset.videos if video.group in ("scene0", "scene1", "scene2"))
    test = tuple(video.id for video in videos if video.group == "scene0")
    train = tuple(video.id for video in videos if video.id not in test)
    return replace(dataset, videos=videos, splits={"1": Split("1", train, test)})


def test_it_starts_from_the_very_run(tuned, stfn_run):
    """Backbones and head rebuilt from the run's provenance give the scores that were stored with it."""
    stored = json.loads((stfn_run / "run.json").read_text())["splits"]["1"]["results"]
    assert tuned.before["1"] == stored


def test_what_it_writes_is_a_run_and_its_fresh_store_gives_its_scores(tuned, workplace):
    scores = read_scores(tuned.folder / "split-1" / "scores.h5")
    trained = load_run(tuned.folder)
    with FeatureStore(workplace / "fresh") as store:
        place = {name: index for index, name in enumerate(store.ids.tolist())}
        assert [store.settings(name)["weights"] for name in ("rgb", "flow")] == ["rgb.safetensors", "flow.safetensors"]
        for row, name in enumerate(scores.ids.tolist()):
            features = {s: store.read(s, "pooled", [place[name]]) for s in ("rgb", "flow")}
            for output, found in trained.predict(features).items():
                # The store rounds features to fp16 (relative 5e-4); the scores here are log-probabilities.
                np.testing.assert_allclose(found, scores.streams[output][row], atol=5e-3)
    assert scores.fused == "fused"
    assert set(scores.streams) == {"rgb", "flow", "fused"}


def test_backbones_and_head_both_moved(tuned, stfn_run):
    from avr.extract import build_backbone

    start = build_backbone("squeezenet1_1", weights="random", seed=SETTINGS["rgb"].seed)
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
    with pytest.raises(UsageError, match=r"other settings \(training.lr 0.001 → 0.5\): choose another --out"):
        finetune_end_to_end(stfn_run, training=replace(SHORT, lr=0.5), out=tuned.folder, device="cpu")


def test_interrupted_and_continued_gives_the_same_files(tuned, stfn_run, workplace):
    own = {"training": SHORT, "cache": workplace / "cache", "device": "cpu", "out": workplace / "stfn-parts"}
    assert finetune_end_to_end(stfn_run, tuning=replace(END_TO_END_TUNING, save_every=1), stop_after=1, **own) is None
    done = finetune_end_to_end(stfn_run, **own)
    for name in ("rgb.safetensors", "flow.safetensors"):
        assert (done.folder / "split-1" / name).read_bytes() == (tuned.folder / "split-1" / name).read_bytes()
    whole, parts = load_run(tuned.folder).head.state_dict(), load_run(done.folder).head.state_dict()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_recomputed_activations_and_pieces_change_nothing_but_rounding(stfn_run, quickly_tuned, quick, tmp_path):
    tuning = replace(END_TO_END_TUNING, recompute=True, micro_batch=3)
    plain, saved = quickly_tuned["stfn"], finetune_end_to_end(stfn_run, out=tmp_path / "saved", tuning=tuning, **quick)
    # Convolutions over one video at a time sum in another order.
    assert saved.history["1"][0]["loss"] == pytest.approx(plain.history["1"][0]["loss"], abs=1e-4)


def test_single_stream_heads_train_too(quickly_tuned):
    result = quickly_tuned["linear"]
    assert set(result.results["1"]) == {"rgb", "flow", "average", "multiply"}
    assert set(read_scores(result.folder / "split-1" / "scores.h5").streams) == {"rgb", "flow"}
    assert load_run(result.folder).head.streams == ("rgb", "flow")


def test_weights_that_are_others_than_in_training_are_refused(tuned, stfn_run, tmp_path):
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
    training = head_class(head).end_to_end or PAPER
    assert (training.optimizer, training.lr) == (optimizer, rate)


def test_unknown_settings_are_named():
    with pytest.raises(UsageError, match=r"batch_norm takes local\|sync\|partial\|frozen"):
        Tuning(batch_norm="both")
    with pytest.raises(UsageError, match="new_factor takes float > 0, finite"):
        Tuning(new_factor=float("nan"))


def test_a_head_on_maps_of_clips_trains_on_one_clip_a_video(few, workplace):
    """GLKA's way: clips as views, `map`, and activations held for one video at a time."""
    from avr.extract import extract
    from avr.heads import train_run

    settings = SETTINGS["rgb"].change(layers=("map",), plan="clips", segments=4, clip_stride=5, views=4)
    extract(few, workplace / "clips", streams={"rgb": settings})
    run = train_run(
        workplace / "clips", "attention-streams", training={"epochs": 1, "min_steps": 0}, folds=0,
        out=workplace / "attention-streams", device="cpu",
    ).folder  # fmt: skip
    result = finetune_end_to_end(
        run,
        training=replace(SHORT, epochs=1, lr=1e-5),
        tuning=replace(END_TO_END_TUNING, recompute=True, augmentation="random-resized"),
        out=workplace / "attention-tuned",
        cache=workplace / "cache",
        device="cpu",
    )
    stored = json.loads((run / "run.json").read_text())["splits"]["1"]["results"]
    assert result.before["1"] == stored
    assert np.isfinite(result.history["1"][0]["loss"])


@pytest.mark.parametrize("head", ["linear", "stfn"])
def test_label_smoothing_reaches_every_head(linear_run, stfn_run, quickly_tuned, quick, tmp_path, head):
    smoothed = quick | {"training": replace(quick["training"], label_smoothing=0.3)}
    result = finetune_end_to_end({"linear": linear_run, "stfn": stfn_run}[head], out=tmp_path / "tuned", **smoothed)
    assert abs(result.history["1"][0]["loss"] - quickly_tuned[head].history["1"][0]["loss"]) > 1e-3


def test_in_bfloat16_the_scores_are_those_of_prediction(few, workplace, quick, tmp_path):
    """Only the backbones run in bfloat16: the head reads rounded features in float32, as from a store."""
    from avr.extract import extract
    from avr.heads import train_run
    from avr.predict import Predictor

    extract(few, workplace / "half", streams={name: own.change(precision="bfloat16") for name, own in SETTINGS.items()})
    training = {"epochs": 2, "min_steps": 0, "batch_size": 8}
    run = train_run(workplace / "half", "stfn", training=training, folds=0, split="1", out=tmp_path / "r", device="cpu")
    result = finetune_end_to_end(run.folder, out=tmp_path / "tuned", **quick)
    scores = read_scores(result.folder / "split-1" / "scores.h5")
    predictor = Predictor(result.folder, device="cpu")
    by_id = {video.id: video for video in few.videos}
    for row, name in enumerate(scores.ids.tolist()[:3]):
        for output, found in predictor.predict(by_id[name].path).outputs.items():
            # fp16's rounding; convolutions in bfloat16 of other batch sizes are the same sums.
            np.testing.assert_allclose(found, scores.streams[output][row], atol=2e-3, err_msg=output)


def test_the_fresh_store_holds_the_split_that_its_backbones_were_trained_on_alone(tuned, stfn_run, workplace):
    assert set(videos_of(stfn_run).splits) == {"1", "2"}
    with FeatureStore(workplace / "fresh") as store:
        assert tuple(store.split_names) == ("1",)


def test_a_store_asked_for_later_is_made_of_a_finished_runs_weights(
    quickly_tuned, stfn_run, quick, tmp_path, monkeypatch
):
    own = quick | {"out": tmp_path / "tuned"}
    shutil.copytree(quickly_tuned["stfn"].folder, own["out"])
    assert finetune_end_to_end(stfn_run, **own).stores == {}
    asked = []
    monkeypatch.setattr(stage, "extract", lambda *a, **k: asked.append(k["running"].device) or stage_extract(*a, **k))
    again = finetune_end_to_end(stfn_run, store=tmp_path / "later", **own)
    assert asked == ["cpu"]
    assert again.stores == {"1": str((tmp_path / "later").resolve())}
    trained = load_run(tmp_path / "tuned")
    assert trained.metadata["store"]["path"] == again.stores["1"]
    with FeatureStore(tmp_path / "later") as store:
        scores = read_scores(tmp_path / "tuned" / "split-1" / "scores.h5")
        row = scores.ids.tolist()[0]
        place = store.ids.tolist().index(row)
        found = trained.predict({s: store.read(s, "pooled", [place]) for s in ("rgb", "flow")})
        np.testing.assert_allclose(found["fused"], scores.streams["fused"][0], atol=5e-3)
    finetune_end_to_end(stfn_run, store=tmp_path / "later", **own)
    assert len(asked) == 1


stage_extract = stage.extract


def test_a_run_without_a_store_of_its_own_still_finds_its_videos(stfn_run, quickly_tuned, quick, tmp_path):
    first = quickly_tuned["stfn"]
    assert load_run(first.folder).metadata["store"]["path"] == ""
    second = finetune_end_to_end(first.folder, out=tmp_path / "second", **quick)
    assert [video.path for video in videos_of(second.folder).videos] == [v.path for v in videos_of(stfn_run).videos]
    assert second.before["1"] == first.results["1"]


def test_killed_while_it_writes_the_training_is_not_lost(stfn_run, quick, tmp_path, monkeypatch):
    own = quick | {"out": tmp_path / "killed"}
    with monkeypatch.context() as patch:

        def die(*_):
            raise KeyboardInterrupt

        patch.setattr(stage, "record_split", die)
        with pytest.raises(KeyboardInterrupt):
            finetune_end_to_end(stfn_run, **own)
    assert (tmp_path / "killed" / "split-1" / "state.pt").exists()
    written = (tmp_path / "killed" / "split-1" / "rgb.safetensors").read_bytes()
    done = finetune_end_to_end(stfn_run, **own)
    assert (done.folder / "split-1" / "rgb.safetensors").read_bytes() == written
    assert not (done.folder / "split-1" / "state.pt").exists()


def test_a_folder_that_is_no_finished_run_is_named_for_what_it_is(tmp_path, quick):
    write_record(tmp_path / "backbone", RunRecord("backbone", complete=True))
    with pytest.raises(UsageError, match=r"is a backbone's folder, not a head's run: extract a store"):
        finetune_end_to_end(tmp_path / "backbone", **quick)
    write_record(tmp_path / "begun", RunRecord("end-to-end", {"run": "elsewhere"}))
    with pytest.raises(UsageError, match="is not finished: run the command that began it again"):
        finetune_end_to_end(tmp_path / "begun", **quick)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("rgb=/nowhere", r"own weights are no file \(random\)"),
        ("rbg=x", "no stream 'rbg' to read them; known: rgb, flow"),
    ],
)
def test_weights_that_nothing_reads_are_refused(stfn_run, quick, tmp_path, weights, message):
    with pytest.raises(UsageError, match=message):
        finetune_end_to_end(stfn_run, out=tmp_path / "never", weights=(weights,), **quick)


def test_impossible_seeds_and_devices_are_one_line(stfn_run, quick, tmp_path):
    with pytest.raises(UsageError, match="the seed must be at least 0, not -1"):
        finetune_end_to_end(stfn_run, out=tmp_path / "never", seed=-1, **quick)
    with pytest.raises(UsageError, match="unknown device 'mps'; known: auto, cpu, cuda"):
        finetune_end_to_end(stfn_run, out=tmp_path / "never", **quick | {"device": "mps"})
