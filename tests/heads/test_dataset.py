"""A store as torch's dataset: the features, labels and views of the videos that were asked for."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from avr.core import UsageError
from avr.heads import FeatureDataset, train_run
from avr.store import FeatureStore, read_scores


def test_every_view_of_chosen_videos_through_a_loader_with_workers(toy_store_of_views):
    store = FeatureStore(toy_store_of_views)
    test = store.split("1")[1]
    data = FeatureDataset(store, ["rgb/pooled", "flow/pooled"], test, every_view=True)
    features, labels = zip(*DataLoader(data, batch_size=7, num_workers=1), strict=True)
    for name in ("rgb/pooled", "flow/pooled"):
        found = torch.cat([batch[name] for batch in features])
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found.numpy(), store.read(*name.split("/"), test).astype(np.float32))
    np.testing.assert_array_equal(torch.cat(labels).numpy(), np.repeat(store.labels[test], 3))
    np.testing.assert_array_equal(data.videos, np.repeat(np.flatnonzero(test), 3))


def test_one_view_a_video_is_drawn_each_time_by_torchs_generator(toy_store_of_views):
    data = FeatureDataset(toy_store_of_views, videos=["class0/v000", "class1/v001"])
    assert len(data) == 2
    views = data.store.read("rgb", "pooled", 1)

    def drawn() -> list[int]:
        found = [data[1][0]["rgb/pooled"].numpy() for _ in range(20)]
        return [next(n for n, view in enumerate(views) if (view == one).all()) for one in found]

    torch.manual_seed(1)
    first = drawn()
    assert set(first) == {0, 1, 2}
    torch.manual_seed(1)
    assert drawn() == first
    features, label = data[-1]
    assert set(features) == {"rgb/pooled", "flow/pooled", "rgb/map"}
    assert label == 1
    with pytest.raises(IndexError):
        data[2]


def test_what_is_not_there_is_refused(toy_store):
    with pytest.raises(UsageError, match="no array 'rgb/none'"):
        FeatureDataset(toy_store, ["rgb/none"])
    assert len(FeatureDataset(toy_store, videos=[], every_view=True)) == 0


def test_results_print_in_a_line(toy_store, tmp_path):
    result = train_run(toy_store, "linear", folds=0, training={"epochs": 1}, out=tmp_path / "run")
    assert repr(result).startswith("RunResult(rgb ")
    assert repr(result).endswith(f"top-1, splits 1; {tmp_path / 'run'})")
    scores = read_scores(tmp_path / "run/split-1/scores.h5")
    assert repr(scores) == "Scores(linear, rgb, flow: 24 test of 24 videos, 4 classes, split 1)"
