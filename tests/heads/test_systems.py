"""Every head of the papers learns: it overfits 16 clips, and beats `linear` of its best stream on shapes."""

import dataclasses

import pytest

from avr.datasets import Dataset, Split, index_dataset
from avr.extract import Settings, extract
from avr.heads import train_run

SCENES = 18  # of shapes' scenes: a third of them tests
# Small layers and short trainings: the point is that each head learns, not what it reaches.
SMALL = {
    "coattention": {"hidden": 64, "reduced": 64, "expanded": 64},
    "attention-streams": {"hidden": 64, "layers": 2, "dropout": 0.3, "attention_hidden": 32},
    "frame-attention": {"reduce": 16, "fc6_width": 64, "hidden": 32},
    "temporal-pyramid": {"reduce": 16, "hidden": 32},
}
MAPS = {"rgb": "map", "flow": "map"}


@pytest.fixture(scope="session")
def shapes_store(tmp_path_factory):
    """A store of some scenes of shapes, with a randomly started SqueezeNet; also a split of 16 clips to overfit."""
    folder = tmp_path_factory.mktemp("shapes")
    whole = index_dataset("shapes", folder / "videos")
    scenes = sorted({video.group for video in whole.videos})[:SCENES]
    videos = tuple(video for video in whole.videos if video.group in scenes)
    kept = {video.id for video in videos}
    part = whole.splits["1"]
    first = tuple(video.id for video in videos if video.group in scenes[:2])  # each class twice
    splits = {
        "1": Split("1", tuple(v for v in part.train if v in kept), tuple(v for v in part.test if v in kept)),
        "overfit": Split("overfit", first, first),
    }
    dataset: Dataset = dataclasses.replace(whole, videos=videos, splits=splits)
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


def train(store, head, tmp_path, **more):
    layers = {} if head in ("linear", "coattention") else MAPS
    options = SMALL.get(head, {}) | more.pop("options", {})
    return train_run(store, head, layers=layers, options=options, folds=0, out=tmp_path / head, **more).summary


@pytest.fixture(scope="session")
def best_stream(shapes_store, tmp_path_factory):
    """Test accuracy of `linear` on its better stream."""
    summary = train(shapes_store, "linear", tmp_path_factory.mktemp("linear"), split="1")
    return max(summary["rgb"]["top1"], summary["flow"]["top1"])


@pytest.mark.slow
@pytest.mark.parametrize("head", list(SMALL))
def test_a_head_beats_linear_of_its_best_stream(shapes_store, best_stream, tmp_path, head):
    summary = train(shapes_store, head, tmp_path, split="1")
    assert summary["fused"]["top1"] > best_stream


@pytest.mark.parametrize("head", list(SMALL))
def test_a_head_overfits_16_clips(shapes_store, tmp_path, head):
    dropouts = ("dropout", "fc6_dropout", "lstm_dropout")
    options = dict.fromkeys(dropouts, 0.0)
    from avr.heads._build import option_types

    options = {name: value for name, value in options.items() if name in option_types(head)}
    training = {"epochs": 60, "min_steps": 60, "weight_decay": 0.0}
    summary = train(shapes_store, head, tmp_path, split="overfit", options=options, training=training)
    assert summary["fused"]["top1"] == 1.0
