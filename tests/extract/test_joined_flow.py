"""Flow of several videos in one call: the same as one by one, and cut where shards end."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avr.extract import Extractor, Running, Settings, extract
from avr.extract import _joined as joined_module
from avr.extract import flow as flow_room
from avr.extract._joined import compute_flows, encode, groups
from avr.extract.encoding import encode_flow
from avr.video import Answer, decode

SETTINGS = Settings(
    backbone="squeezenet1_1",
    weights=("random",),
    layers=("pooled",),
    segments=2,
    stack=2,
    resize=48,
    crop=40,
    flow="tvl1",
)


@pytest.fixture
def in_torch(monkeypatch):
    """TV-L1 in its PyTorch form, on the CPU: the one that has a form on the device."""
    load = flow_room.load
    monkeypatch.setattr(flow_room, "load", lambda name, device: load(name, device, backend="torch"))
    return monkeypatch


def test_groups_fill_up_or_end_with_their_shard(monkeypatch):
    monkeypatch.setattr(joined_module, "PAIRS", 100)
    items = [(70, False), (70, False), (0, False), (30, True), (99, False), (0, True), (120, False), (5, False)]
    found = groups(items, pairs=lambda item: item[0], last=lambda item: item[1])
    assert [[pairs for pairs, _ in group] for group in found] == [[70, 70], [0, 30], [99, 0], [120], [5]]


@pytest.mark.parametrize("quantise", [True, False])
def test_a_tensor_is_encoded_as_an_array(quantise):
    flow = torch.linspace(-25, 25, 20001).reshape(1, 1, 1, -1)
    wanted = encode_flow(flow.numpy().copy(), quantise=quantise)
    np.testing.assert_array_equal(encode(flow, quantise=quantise).numpy(), wanted)


@pytest.mark.usefixtures("in_torch")
def test_together_as_one_by_one(dataset):
    extractor = Extractor(SETTINGS, running=Running(device="cpu"))
    sampling, needs = extractor.settings.sampling, extractor.settings.needs()
    videos = [decode(video, sampling, needs) for video in dataset.videos]  # two frame sizes
    own = np.zeros((3, 2, 48, 64), np.uint8)
    flow = videos[0].answers["flow"]
    videos.append(replace(videos[0], answers={"flow": Answer(flow.images[:0], flow.pairs, own)}))
    found = compute_flows(extractor, videos)
    assert found[6] is own
    for video, flow in zip(videos[:6], found, strict=False):
        np.testing.assert_array_equal(flow.numpy(), extractor.compute_flow(video))


def test_a_run_gives_the_same_features(dataset, tmp_path, in_torch):
    text = tmp_path / "text.avi"
    text.write_text("no video")
    broken = replace(dataset.videos[1], path=text)
    dataset = replace(dataset, videos=(dataset.videos[0], broken, *dataset.videos[2:]))
    running = Running(device="cpu", shard_videos=3)
    in_torch.setattr("avr.extract.run._commit", lambda _: "")
    assert extract(dataset, tmp_path / "joined", settings=SETTINGS, running=running).extracted == 5

    class WithoutDevice(flow_room.FlowMethod):
        def __init__(self, *arguments, on_device=None, **options) -> None:
            super().__init__(*arguments, **options)

    in_torch.setattr("avr.extract.flow.tvl1.FlowMethod", WithoutDevice)
    assert extract(dataset, tmp_path / "single", settings=SETTINGS, running=running).extracted == 5
    for name in ("plan.h5", "index.h5", "shard-00000.h5", "shard-00001.h5"):
        assert (tmp_path / "joined" / name).read_bytes() == (tmp_path / "single" / name).read_bytes(), name
