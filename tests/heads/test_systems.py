"""Every head of the papers learns: it knows its training clips, and beats `linear` of its best stream on shapes."""

import dataclasses

import numpy as np
import pytest

from avr.core import options_of
from avr.datasets import Split, shapes
from avr.extract import extract, read_streams
from avr.heads import head_class, load_run, train_run
from avr.store import FeatureStore

SCENES = 24  # of shapes' scenes: a third of them tests
FEW = 16
# Small layers and short trainings: the point is that each head learns, not what it reaches. Layers as small as these
# bear a larger step than the default, which is for the papers' widths.
SMALL = {
    "stfn": ({"kernels": "2,3"}, {"min_steps": 40}),  # 512 wide
    "coattention": ({"hidden": 32, "reduced": 32, "expanded": 32, "over": "both"}, {"lr": 3e-3}),
    "attention-streams": (
        {"hidden": 32, "layers": 1, "dropout": 0.2, "attention_hidden": 16},
        {"lr": 2e-3},
    ),
    "frame-attention": ({"reduce": 8, "fc6_width": 32, "fc6_dropout": 0.1, "lstm_dropout": 0.1}, {"lr": 3e-3}),
    "temporal-pyramid": ({"reduce": 8, "dropout": 0.1, "lstm_dropout": 0.1}, {"lr": 3e-3}),
}


@pytest.fixture(scope="session")
def shapes_store(tmp_path_factory):
    """A store of some scenes of shapes, with a randomly started SqueezeNet; split "few" trains on 16 clips."""
    folder = tmp_path_factory.mktemp("shapes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "NUM_SCENES", SCENES)
        whole = shapes.index(folder / "videos")
    ids = sorted((video.id for video in whole.videos), key=lambda name: name[-2:])  # scene by scene, so all classes
    few = Split("few", tuple(ids[:FEW]), tuple(ids[FEW:]))
    dataset = dataclasses.replace(whole, splits={"1": whole.splits["1"], "few": few})
    made = {"backbone": "squeezenet1_1", "weights": "random", "layers": ("pooled", "map")}
    own = {"segments": 3, "stack": 4, "resize": 64, "crop": 64}  # maps of 3×3
    extract(dataset, folder / "store", streams=read_streams(["rgb", "flow"], made | own))
    return folder / "store"


def train(store, head, out, **more):
    options, training = SMALL.get(head, ({}, {}))
    layers = {} if head in ("linear", "consensus", "stfn") else {"": "map"}
    options = options | more.pop("options", {})
    steps = {} if head == "linear" else {"epochs": 8, "min_steps": 160}
    training = steps | training | more.pop("training", {})
    return train_run(store, head, layers=layers, options=options, training=training, folds=0, out=out, **more)


def known(store, run, split):
    """How many of 16 training clips a run's prediction is right for."""
    trained = load_run(run.folder)
    right = 0
    with FeatureStore(store) as opened:
        for video in np.flatnonzero(opened.split(split)[0])[:FEW]:
            features = {stream: opened.read(stream, layer, [video]) for stream, layer in run.layers.items()}
            right += trained.predict(features)[trained.prediction].argmax() == opened.labels[video]
    return right


@pytest.fixture(scope="session")
def best_stream(shapes_store, tmp_path_factory):
    """Test accuracy of `linear` on its better stream."""
    out = tmp_path_factory.mktemp("linear")
    summary = train(shapes_store, "linear", out, split="1", training={"epochs": 200}).summary
    return max(summary["rgb"]["top1"], summary["flow"]["top1"])


@pytest.mark.parametrize("head", list(SMALL))
def test_a_head_knows_its_clips_and_beats_linear_of_its_best_stream(shapes_store, best_stream, tmp_path, head):
    run = train(shapes_store, head, tmp_path / "run", split="1")
    assert run.summary["fused"]["top1"] > best_stream
    assert known(shapes_store, run, "1") == FEW


@pytest.mark.parametrize("head", ["linear", "consensus", "attentive"])
def test_a_head_of_one_stream_overfits_16_clips(shapes_store, tmp_path, head):
    options = dict.fromkeys({"dropout"} & set(options_of(head_class(head))), 0.0)
    run = train(
        shapes_store,
        head,
        tmp_path / "run",
        split="few",
        options=options,
        training={"epochs": 200, "weight_decay": 1e-4} if head == "linear" else {"min_steps": 100, "weight_decay": 0.0},
    )
    assert known(shapes_store, run, "few") == FEW
