"""Videos that go together from flow to network: the same as one by one, as many as fill a call."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from altering import altered
from small import TOLD

from avr.core import UsageError
from avr.extract import Extractor, Running, extract, flow, read_streams
from avr.extract.flow._tvl1 import Parameters
from avr.store import FeatureStore
from avr.video import decode

SETTINGS = read_streams(["rgb,flow"], TOLD | {"flow": "tvl1"})


@pytest.fixture
def in_torch(monkeypatch):
    """TV-L1 in its PyTorch form, on the CPU: the one that has a form on the device."""
    load, quick = flow.load, Parameters(warps=1, scales=2)
    monkeypatch.setattr(flow, "load", lambda name, device: load(name, device, backend="torch", parameters=quick))


def decoded(dataset, extractor):
    return [decode(video, extractor.needs) for video in dataset.videos[:5]]  # two frame sizes


def test_a_store_is_not_continued_with_another_flow_backend(dataset, tmp_path, request):
    """The backends of a method differ by roundings."""
    dataset = replace(dataset, videos=dataset.videos[:2], splits={})
    settings, running = altered(SETTINGS, only=("flow",)), Running(device="cpu", decoders=1, shard_videos=1)
    extract(dataset, tmp_path / "store", streams=settings, running=running)
    with FeatureStore(tmp_path / "store") as store:
        assert store.provenance["settings"]["flow_backend"] == "numpy"
    for file in ("index.h5", "shard-00001.h5"):
        (tmp_path / "store" / "flow" / file).unlink()
    request.getfixturevalue("in_torch")
    with pytest.raises(UsageError, match='flow_backend "numpy" → "torch"'):
        extract(dataset, tmp_path / "store", streams=settings, running=running)


@pytest.mark.usefixtures("in_torch")
@pytest.mark.parametrize("quantise", [True, False])
def test_flow_together_is_flow_one_by_one(dataset, quantise):
    extractor = Extractor(altered(SETTINGS, quantise=quantise), running=Running(device="cpu"))
    videos = decoded(dataset, extractor)
    computed = videos[0].answers["flow"]
    own = np.zeros((len(computed.pairs.firsts), 2, 48, 64), np.uint8)
    answers = {**videos[0].answers, "flow": replace(computed, images=np.zeros((0, 0, 0), np.uint8), ready=own)}
    videos.insert(2, replace(videos[0], answers=answers))
    together = extractor.images(videos)["flow"]
    assert torch.equal(together[2], torch.from_numpy(own))
    for video, found in zip(videos, together, strict=True):
        assert torch.equal(found, extractor.images([video])["flow"][0])
        assert len(found) == len(video.answers["flow"].pairs.firsts)


def test_a_form_on_the_device_gives_what_arrays_give(dataset, in_torch):
    extractor = Extractor(SETTINGS, running=Running(device="cpu"))
    assert extractor.settings["flow"].flow_backend == "torch"
    video = decoded(dataset, extractor)[0]
    flow_answer = video.answers["flow"]
    first, second = flow_answer.images[flow_answer.pairs.ends]
    wanted = flow.encode_flow(torch.from_numpy(extractor.streams["flow"].method(first, second)))
    assert torch.equal(extractor.images([video])["flow"][0], wanted)


def test_features_together_are_features_one_by_one(dataset):
    """Each in its own place, whatever call its items were in. Tolerance: float32, other rows of a call."""
    settings = altered(SETTINGS, flow="dis", views=2, crops="corners")
    extractor = Extractor(settings, running=Running(device="cpu", batch_size=7))  # calls end inside videos
    videos = decoded(dataset, extractor)
    group = extractor.prepare(videos)
    calls = extractor.calls(group)
    sizes = [call.stop - call.start for call in calls if call.stream == "rgb"]
    assert set(sizes[:-1]) == {7}
    assert sum(sizes) == 4 * sum(len(video.answers["rgb"].steps.frames) for video in videos)
    found = group.features([extractor.forward(group, call) for call in calls])
    for video, features in zip(videos, found, strict=True):
        for name, rows in extractor.features_of(video).items():
            assert rows.shape == (8, 2, 512)
            np.testing.assert_allclose(features[name], rows, rtol=1e-5, atol=1e-5)


def test_videos_fit_together_until_a_call_or_the_memory_is_full(dataset, monkeypatch):
    extractor = Extractor(altered(SETTINGS, flow="dis"), running=Running(device="cpu", batch_size=8))
    videos = decoded(dataset, extractor)  # two frames each
    assert [extractor.fits(videos[:count]) for count in range(1, 6)] == [True] * 4 + [False]
    pixels = sum(len(video.answers["flow"].pairs.firsts) * 48 * 64 for video in videos[:2])
    monkeypatch.setattr("avr.extract.extractor.GROUP_PIXELS", pixels)
    assert [extractor.fits(videos[:count]) for count in range(1, 4)] == [True, True, False]
