"""Prediction, fine-tuning and attention of one run open the same weights and videos, wherever they lie now."""

import contextlib
import shutil

import numpy as np
import pytest
import torch
from clips import SETTINGS

from avr.core import AvrError, UsageError
from avr.datasets import index_dataset
from avr.extract import build_backbone, extract, read_streams
from avr.finetune import END_TO_END, END_TO_END_TUNING, finetune_end_to_end
from avr.finetune.distributed import Processes
from avr.finetune.end_to_end import EndToEndTask
from avr.heads import save_tensors, train_run
from avr.predict import Predictor
from avr.report.attention import draw_attention

VIDEO = "red-left/scene2"


@pytest.fixture(scope="module")
def place(dataset, tmp_path_factory):
    """A folder with videos, a weights file, a store of both and a run on it."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(dataset.root, folder / "videos")
    file = folder / "weights.safetensors"
    save_tensors(file, build_backbone("squeezenet1_1", weights="random", seed=1).state_dict(), {})
    streams = {"rgb": SETTINGS["rgb"].change(weights=str(file), layers=("map",))}
    extract(index_dataset("folder", folder / "videos"), folder / "store", streams=streams)
    training = {"epochs": 1, "min_steps": 0}
    train_run(folder / "store", "attention-streams", training=training, folds=0, out=folder / "run", device="cpu")
    return folder


@contextlib.contextmanager
def moved(place, moves):
    """Inside, files and folders lie elsewhere."""
    for source, target in moves.items():
        (place / source).rename(place / target)
    try:
        yield
    finally:
        for source, target in moves.items():
            (place / target).rename(place / source)


def predict(place, *, weights=(), root=None):
    predictor = Predictor(place / "run", weights=weights, device="cpu")
    path = next((root or place / "videos").glob(f"{VIDEO}.*"))
    return predictor.opened[0].extractor.networks, predictor.predict(path).probabilities


def open_training(place, *, weights=(), root=None):
    settled = {"training": END_TO_END, "tuning": END_TO_END_TUNING, "seed": 0, "cache_folder": None}
    return EndToEndTask.open(place / "run", "1", weights=weights, root=root, processes=Processes(), **settled)


def attend(place, *, root=None):
    weights = draw_attention(place / "run", VIDEO, place / "drawn", root=root, overwrite=True).weights
    return next(iter(weights.values()))


@pytest.fixture(scope="module")
def expected(place):
    return predict(place)[1], attend(place)


@pytest.mark.parametrize(
    ("moves", "options"),
    [
        ({}, {}),
        ({"weights.safetensors": "elsewhere.safetensors"}, {"weights": ("rgb=elsewhere.safetensors",)}),
        ({"weights.safetensors": "run/weights.safetensors"}, {}),
        ({"videos": "elsewhere"}, {"root": "elsewhere"}),
    ],
    ids=["in place", "weights named", "weights in the run", "videos named"],
)
def test_all_open_the_same_weights_and_videos(place, expected, moves, options, monkeypatch):
    monkeypatch.chdir(place)
    root = {"root": place / options["root"]} if "root" in options else {}
    with moved(place, moves):
        networks, probabilities = predict(place, **options | root)
        task = open_training(place, **options | root)
        weights = attend(place, **root)
        paths = {video.id: video.path for video in task.dataset.videos}
        assert paths[VIDEO].is_file()
        assert paths[VIDEO].is_relative_to(place / options.get("root", "videos"))
    theirs, own = networks.readers["rgb"].trunk_state(), task.networks.readers["rgb"].trunk_state()
    assert all(torch.equal(theirs[name], own[name]) for name in theirs)
    assert np.array_equal(probabilities, expected[0])
    assert np.array_equal(weights, expected[1])


@pytest.mark.parametrize(
    ("moves", "stage", "message"),
    [
        ({"weights.safetensors": "gone"}, predict, r"the weights of stream rgb are gone .*--weights rgb=FILE"),
        ({"weights.safetensors": "gone"}, open_training, r"the weights of stream rgb are gone .*--weights rgb=FILE"),
        ({"videos": "gone"}, open_training, r"24 videos are not where they were, .*: give their folder, --root"),
        ({"videos": "gone"}, attend, "the video is not at .*--root"),
        ({"store": "gone"}, attend, "the run's store is not at .*: name it with --store"),
    ],
)
def test_what_is_missing_is_asked_for(place, moves, stage, message):
    with moved(place, moves), pytest.raises(AvrError, match=message):
        stage(place)


def test_another_weights_file_is_refused_by_its_sha256(place):
    with moved(place, {"weights.safetensors": "right.safetensors"}):
        other = build_backbone("squeezenet1_1", weights="random", seed=2).state_dict()
        save_tensors(place / "weights.safetensors", other, {})
        for stage in (predict, open_training):
            with pytest.raises(UsageError, match=r"is not the weights file of stream rgb .*SHA-256"):
                stage(place)
        (place / "weights.safetensors").unlink()


def test_a_network_of_a_local_folder_is_found_where_it_lies_now(dataset, tmp_path):
    tf = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    tf.ViTModel(tf.ViTConfig(**sizes, image_size=32, patch_size=16)).save_pretrained(tmp_path / "tiny")
    tf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "tiny")
    streams = read_streams(["rgb"], {"backbone": f"transformers:{tmp_path / 'tiny'}", "segments": 2})
    extract(dataset, tmp_path / "store", streams=streams)
    training = {"epochs": 1, "min_steps": 0}
    run = train_run(tmp_path / "store", "linear", training=training, folds=0, out=tmp_path / "run", device="cpu").folder
    video = dataset.videos[0].path
    before = Predictor(run, device="cpu").predict(video).probabilities
    (tmp_path / "tiny").rename(tmp_path / "other")
    with pytest.raises(UsageError, match=r"the weights of stream rgb are gone .*tiny"):
        Predictor(run, device="cpu")
    after = Predictor(run, device="cpu", weights=[f"rgb={tmp_path / 'other'}"]).predict(video).probabilities
    np.testing.assert_array_equal(before, after)
    with pytest.raises(UsageError, match="stream rgb is of transformers:tiny, a local folder's network"):
        finetune_end_to_end(run, weights=(f"rgb={tmp_path / 'other'}",), device="cpu")
