"""Every head of the papers learns: it overfits 16 clips, and beats `linear` of its best stream on shapes."""

import dataclasses

import numpy as np
import pytest

from avr.core import options_of
from avr.datasets import Split, shapes
from avr.extract import Settings, extract
from avr.heads import head_class, load_run, train_run
from avr.store import FeatureStore

SCENES = 30  # of shapes' scenes: a third of them tests
FEW = 16
# Small layers and short trainings: the point is that each head learns, not what it reaches.
SMALL = {
    "stfn": {},
    "coattention": {"hidden": 64, "reduced": 64, "expanded": 64},
    "attention-streams": {"hidden": 64, "layers": 2, "dropout": 0.3, "attention_hidden": 32},
    "frame-attention": {"reduce": 16, "fc6_width": 64, "hidden": 32},
    "temporal-pyramid": {"reduce": 16, "hidden": 32},
}
# Layers as small as these bear a larger step than the default, which is for the papers' 1024 units.
TRAINING = {"attention-streams": {"lr": 1e-3, "min_steps": 200}}
MAPS = {"rgb": "map", "flow": "map"}


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
    settings = Settings(
        backbone="squeezenet1_1",
        weights=("random",),
        layers=("pooled", "map"),
        segments=4,
        stack=4,
        resize=96,
        crop=96,
    )
    extract(dataset, folder / "store", settings=settings)
    return folder / "store"


def train(store, head, out, **more):
    layers = {} if head in ("linear", "consensus", "coattention") else MAPS
    options = SMALL.get(head, {}) | more.pop("options", {})
    training = {"epochs": 10, "min_steps": 150} | TRAINING.get(head, {}) | more.pop("training", {})
    return train_run(store, head, layers=layers, options=options, training=training, folds=0, out=out, **more)


@pytest.fixture(scope="session")
def best_stream(shapes_store, tmp_path_factory):
    """Test accuracy of `linear` on its better stream."""
    summary = train(shapes_store, "linear", tmp_path_factory.mktemp("linear"), split="1").summary
    return max(summary["rgb"]["top1"], summary["flow"]["top1"])


@pytest.mark.slow
@pytest.mark.parametrize("head", list(SMALL))
def test_a_head_beats_linear_of_its_best_stream(shapes_store, best_stream, tmp_path, head):
    summary = train(shapes_store, head, tmp_path / "run", split="1").summary
    assert summary["fused"]["top1"] > best_stream


@pytest.mark.parametrize("head", ["linear", "consensus", *SMALL])
def test_a_head_overfits_16_clips(shapes_store, tmp_path, head):
    options = dict.fromkeys({"dropout", "fc6_dropout", "lstm_dropout"} & set(options_of(head_class(head))), 0.0)
    training = {"min_steps": 100, "weight_decay": 0.0}
    run = train(shapes_store, head, tmp_path / "run", split="few", options=options, training=training)
    trained = load_run(run.folder)
    with FeatureStore(shapes_store) as store:
        few = np.flatnonzero(store.split("few")[0])
        assert len(few) == FEW
        for video in few:
            features = {stream: store.read(stream, layer, [video]) for stream, layer in run.layers.items()}
            assert trained.predict(features)[trained.prediction].argmax() == store.labels[video], store.ids[video]
