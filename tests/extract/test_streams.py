"""Streams as items: another one is one file, from decoding to fine-tuning's input."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import avr.extract.streams
from avr.core import UsageError
from avr.extract import ClipCache, Extractor, Running, Settings, extract, load_networks, read_streams
from avr.extract.streams import open_streams, stream_class
from avr.finetune import Tuning
from avr.finetune.samples import VideoSamples
from avr.store import FeatureStore
from avr.video import decode, read_frames

DOCS = Path(__file__).parents[2] / "docs" / "extract.md"
SETTINGS = {"backbone": "squeezenet1_1", "weights": "random", "segments": 3, "resize": 40, "crop": 36}
RUNNING = Running(device="cpu", decoders=1)


@pytest.fixture
def change(tmp_path, monkeypatch):
    """The kind that docs/extract.md adds, found as if it lay in streams/."""
    (block,) = (one for one in re.findall("```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "STREAM =" in one)
    (tmp_path / "change.py").write_text(block)
    room = avr.extract.streams
    monkeypatch.setattr(room, "__path__", [*room.__path__, str(tmp_path)])
    monkeypatch.setattr(room.__spec__, "submodule_search_locations", room.__path__)
    yield read_streams(["change", "rgb"], SETTINGS | {"layers": ["pooled", "change=map"]})
    sys.modules.pop("avr.extract.streams.change", None)
    vars(room).pop("change", None)


def test_a_kind_of_stream_is_one_file(change, dataset, tmp_path):
    summary = extract(dataset, tmp_path / "store", streams=change, running=RUNNING)
    assert summary.failures == []
    extractor = Extractor(change, running=RUNNING)
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
    samples = VideoSamples(dataset.videos[:2], cache, streams=extractor.settings, tuning=Tuning())
    inputs, _ = samples.prepare(samples.read([0, 1], 0), torch.device("cpu"))
    assert {name: tuple(images.shape) for name, images in inputs.items()} == {
        "change": (6, 2, 36, 36),
        "rgb": (6, 3, 36, 36),
    }


def test_what_a_kind_does_not_read_does_not_change_its_settings():
    told = SETTINGS | {"flow": "tvl1", "stack": 3, "clip_frames": 9}
    loaded = load_networks(read_streams(["rgb", "flow"], told)).settings
    assert (loaded["rgb"].flow, loaded["rgb"].stack, loaded["rgb"].mean) == ("", 0, (0.485, 0.456, 0.406))
    assert (loaded["flow"].flow, loaded["flow"].stack, loaded["flow"].mean) == ("tvl1", 3, (0.5,))
    assert {one.clip_frames for one in loaded.values()} == {0}


@pytest.mark.parametrize("flow", ["dis", "farneback"])
def test_images_lie_on_the_device_whatever_made_them(dataset, flow):
    settings = read_streams(["rgb", "flow", "difference"], SETTINGS | {"flow": flow, "stack": 2})
    streams = open_streams(load_networks(settings).settings, "meta")  # no CUDA is needed to see where they end
    decoded = decode(dataset.videos[0], {name: stream.need for name, stream in streams.items()})
    for name, stream in streams.items():
        if name != "difference":  # which are made there
            assert {images.device.type for images in stream.images([decoded.answers[name]])} == {"meta"}


@pytest.mark.parametrize("quantise", [True, False])
def test_differences_by_hand(dataset, quantise):
    """L differences about each step; the network sees them as differences of normalised frames."""
    told = SETTINGS | {"stack": 3, "quantise": quantise}
    (settings,) = load_networks(read_streams(["difference"], told)).settings.values()
    stream = stream_class("difference")(settings)
    frames = read_frames(dataset.videos[0], range(20)).astype(np.int64).transpose(0, 3, 1, 2)
    answer = decode(dataset.videos[0], {"d": stream.need}).answers["d"]
    (images,) = stream.images([answer])
    assert answer.steps.frames.tolist() == [3, 10, 16]
    change = frames[[9, 10, 11, 12]]
    for pair, image in zip(answer.stacks[1], range(3), strict=True):
        wanted = change[image + 1] - change[image]
        wanted = wanted.clip(-128, 127) if quantise else wanted
        np.testing.assert_array_equal(images[pair].numpy() - 128.0, wanted)
    stacks = images[torch.as_tensor(answer.stacks)]
    inputs = stream.network_input(stacks)
    assert inputs.shape == (3, 9, 48, 64)
    std = np.mean([0.229, 0.224, 0.225])
    np.testing.assert_allclose(inputs, (stacks.flatten(1, 2).numpy() - 128.0) / 255 / std, atol=1e-4)


def test_clips_by_hand(dataset):
    """T frames, a stride apart, centred on each step, moved inside at the ends."""
    settings = Settings(kind="clip", segments=3, clip_frames=4, frame_stride=2, mean=(0.5,) * 3, std=(0.25,) * 3)
    stream = stream_class("clip")(settings)
    answer = decode(dataset.videos[1], {"c": stream.need}).answers["c"]  # of nine frames
    (images,) = stream.images([answer])
    stacks = images[torch.as_tensor(answer.stacks)]
    inputs = stream.network_input(stacks)
    assert inputs.shape == (3, 3, 4, 48, 64)
    frames = read_frames(dataset.videos[1], range(9)).transpose(0, 3, 1, 2)
    for number, wanted in enumerate(([0, 2, 4, 6], [0, 2, 4, 6], [2, 4, 6, 8])):
        np.testing.assert_array_equal(stacks[number].numpy(), frames[wanted])
    np.testing.assert_allclose(inputs[2, :, 1], (frames[4] / 255 - 0.5) / 0.25, atol=1e-5)


def test_networks_of_clips_and_of_images_are_told_apart():
    with pytest.raises(UsageError, match="stream clip is of kind clip, but squeezenet1_1 reads images: give it anothe"):
        load_networks(read_streams(["clip"], SETTINGS))
    with pytest.raises(UsageError, match=r"stream rgb is of kind rgb, but r3d_18 reads clips: .* --stream rgb=clip"):
        load_networks(read_streams(["rgb"], SETTINGS | {"backbone": "r3d_18"}))
