"""What the papers do end to end: from the start, every clip a sample, their augmentation; and who wins."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from clips import SETTINGS, make_run

from avr.core import UsageError
from avr.extract import ClipCache
from avr.finetune import END_TO_END_TUNING, Tuning, finetune_end_to_end
from avr.finetune.networks import start_flow
from avr.finetune.samples import VideoSamples
from avr.finetune.tuning import is_fresh, settle_tuning
from avr.heads import head_class, load_head
from avr.store import FeatureStore, read_head_record, vectors_path


def test_every_clip_of_every_video_is_a_sample(dataset, tmp_path):
    rgb = SETTINGS["rgb"].change(plan="clips", segments=4, clip_stride=5, views=4)
    videos = [dataset.videos[0], dataset.videos[7]]  # of 14 frames each
    cache = ClipCache(tmp_path, {"rgb": rgb})
    cache.build(videos)
    made = {
        every: VideoSamples(videos, cache, streams={"rgb": rgb}, tuning=Tuning(), every_clip=every)
        for every in (True, False)
    }
    assert made[False].names == [video.id for video in videos]
    assert made[True].names == [video.id for video in videos for _ in range(3)]
    seen = [drawn.decoded.answers["rgb"].steps.shown.tolist() for drawn in made[True].read(range(6), epoch=0)]
    assert seen == 2 * [[[0, 1, 2, 3]], [[5, 6, 7, 8]], [[10, 11, 12, 13]]]
    assert [drawn.label for drawn in made[True].read(range(6), epoch=0)] == [v.label for v in videos for _ in range(3)]
    plain = VideoSamples(videos, cache, streams=SETTINGS, tuning=Tuning(), every_clip=True)
    assert plain.names == made[False].names  # of segments a view is drawn


def test_the_papers_tuning_holds_and_what_is_given_wins():
    papers = replace(END_TO_END_TUNING, **head_class("attention-streams").end_to_end_tuning)
    assert settle_tuning(papers, {"micro_batch": "2"}).augmentation == "random-resized"
    assert settle_tuning(papers, {"augmentation": "corners"}).augmentation == "corners"
    assert replace(END_TO_END_TUNING, **head_class("stfn").end_to_end_tuning).batch_norm == "local"
    with pytest.raises(UsageError, match="unknown setting of fine-tuning 'augment'"):
        settle_tuning(papers, {"augment": "corners"})


def test_a_head_of_no_epochs_is_trained_with_its_backbones_from_the_start(dataset, workplace, tmp_path):
    """Ou and Sun's first training, both stages, of a head that has seen nothing; its flow network's first convolution
    is drawn."""
    training = {"epochs": 0, "schedule": "two-stage", "second_epochs": 2, "batch_size": 8}
    run = make_run(workplace, dataset, "stfn", name="no-epochs", training=training)
    assert is_fresh(read_head_record(run).training)
    assert np.isfinite(read_head_record(run).summary["fused"]["top1"])
    short = {"epochs": 1, "second_epochs": 1, "schedule": "two-stage", "batch_size": 8, "lr": 1e-3}
    result = finetune_end_to_end(
        run, training=short, tuning={"flow_start": "random"}, paper=True, out=tmp_path / "tuned", device="cpu",
        cache=workplace / "cache",
    )  # fmt: skip
    assert len(result.history["1"]) == 2
    before, after = (load_head(folder / "split-1")[0].state_dict() for folder in (run, result.folder))
    assert not torch.equal(before["readouts.rgb.weight"], after["readouts.rgb.weight"])


def test_flow_starts_at_random_where_asked():
    network = torch.nn.Sequential(torch.nn.Conv2d(4, 3, 3), torch.nn.Conv2d(3, 3, 3))
    first, second = network[0].weight.clone(), network[1].weight.clone()
    start_flow(network, 1)
    assert not torch.equal(network[0].weight, first)
    assert torch.equal(network[1].weight, second)
    drawn = network[0].weight.clone()
    start_flow(network, 1)
    assert torch.equal(network[0].weight, drawn)


def test_a_tuned_run_keeps_the_vectors_that_its_head_makes(dataset, workplace, tmp_path):
    """Of a training that stands still, those of the run that it started from."""
    options = {"hidden": 8, "reduced": 8, "expanded": 8}
    run = make_run(workplace, dataset, "coattention", options=options)
    still = {"steps": 1, "lr": 1e-12, "weight_decay": 0.0, "batch_size": 2}
    tuned = finetune_end_to_end(
        run, training=still, out=tmp_path / "tuned", device="cpu", cache=workplace / "cache"
    ).folder
    with FeatureStore(vectors_path(run / "split-1")) as one, FeatureStore(vectors_path(tuned / "split-1")) as other:
        assert sorted(one.ids) == sorted(other.ids)
        assert len(other) == len(dataset.videos)
        assert other.split_names == one.split_names == ("1",)
        at = [other.ids.tolist().index(video) for video in one.ids]
        assert np.array_equal(np.array(one.split("1")), np.array(other.split("1"))[:, at])
        for stream in ("rgb", "flow"):
            first, second = (store.read(stream, "attended", np.arange(len(store)))[:, 0] for store in (one, other))
            np.testing.assert_allclose(first, second[at], rtol=2e-2, atol=2e-2)  # in fp16
