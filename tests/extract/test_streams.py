"""Streams as items: another one is one file, from decoding to fine-tuning's input."""

import sys

import numpy as np
import pytest
import torch

import avr.extract.streams
from avr.core import UsageError
from avr.extract import ClipCache, Extractor, Running, Settings, extract, load_networks
from avr.extract.streams import open_streams
from avr.finetune import Tuning
from avr.finetune.samples import VideoSamples
from avr.store import FeatureStore
from avr.video import decode

# Differences of two frames on either side of the step: grey, one channel an image.
TOY = '''"""What changes from frame to frame."""

import torch

from avr.extract.streams import Stream
from avr.video import Need


class Change(Stream):
    """Two differences, 128 for none."""

    image_channels = 1
    pairs = 2

    @property
    def need(self):
        return Need(pairs=2, colour=False)

    def make(self, answers):
        frames = [torch.from_numpy(answer.images[answer.pairs.ends]).int() for answer in answers]  # (2, P, H, W)
        return [(128 + (second - first) // 2)[:, None].to(torch.uint8) for first, second in frames]

    def normalise(self, inputs):
        return inputs.float() / 255 - 0.5


STREAM = Change
'''
SETTINGS = Settings(backbone="squeezenet1_1", weights=("random",), layers=("pooled",), segments=3, resize=40, crop=36)


@pytest.fixture
def change(tmp_path, monkeypatch):
    """The toy, found as if it lay in streams/."""
    (tmp_path / "change.py").write_text(TOY)
    room = avr.extract.streams
    monkeypatch.setattr(room, "__path__", [*room.__path__, str(tmp_path)])
    monkeypatch.setattr(room.__spec__, "submodule_search_locations", room.__path__)
    yield SETTINGS.change(streams=("change", "rgb"), layers=("pooled", "change=map"))
    sys.modules.pop("avr.extract.streams.change", None)
    vars(room).pop("change", None)


def test_a_stream_is_one_file(change, dataset, tmp_path):
    running = Running(device="cpu", decoders=1)
    summary = extract(dataset, tmp_path / "store", settings=change, running=running)
    assert summary.failures == []
    extractor = Extractor(change, running=running)
    with FeatureStore(tmp_path / "store") as store:
        assert store.streams == ("change", "rgb")
        features = store.read("change", "map", [1])
    assert features.shape == (1, 3, 512, 2, 2)
    expected, _ = extractor.features(dataset.videos[1])
    np.testing.assert_allclose(features, expected["change/map"], atol=5e-3)  # float16 of values near one

    cache = ClipCache(tmp_path / "cache", extractor.settings)
    assert cache.build(dataset.videos[:2]) == {}
    cached = cache.decoded(dataset.videos[1], extractor.settings)
    np.testing.assert_array_equal(extractor.features_of(cached)["change/map"], expected["change/map"])
    samples = VideoSamples(dataset.videos[:2], cache, settings=extractor.settings, tuning=Tuning())
    inputs, _ = samples.prepare(samples.read([0, 1], 0), torch.device("cpu"))
    assert {name: tuple(images.shape) for name, images in inputs.items()} == {
        "change": (6, 2, 36, 36),
        "rgb": (6, 3, 36, 36),
    }


def test_an_unknown_stream_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"unknown stream 'flwo' \(did you mean flow\?\); known: flow, rgb"):
        Settings(streams=("flwo",))


def test_a_store_of_one_stream_keeps_the_settings_of_all(change):
    """Whichever streams are asked for, so that stores of one and of both agree on what they share."""
    alone = load_networks(change.change(streams=("change",))).settings
    assert (alone.mean, alone.flow_mean) == ((0.485, 0.456, 0.406), 0.5)


@pytest.mark.parametrize("flow", ["dis", "farneback"])
def test_images_lie_on_the_device_whatever_made_them(dataset, flow):
    settings = SETTINGS.change(streams=("rgb", "flow"), flow=flow, stack=2)
    filled = load_networks(settings).settings
    streams = open_streams(filled, "meta")  # no CUDA is needed to see where they end
    needs = {name: stream.need for name, stream in streams.items()}
    decoded = decode(dataset.videos[0], filled, needs)
    for name, stream in streams.items():
        assert {images.device.type for images in stream.images([decoded.answers[name]])} == {"meta"}
