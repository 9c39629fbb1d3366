"""Settings: what they refuse, how they come back from a store, how each stream gets its own."""

import json

import pytest

from avr.core import UsageError
from avr.extract import Settings, read_streams


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"kind": "flwo"},
            r"unknown kind of stream 'flwo' \(did you mean flow\?\); known: clip, difference, flow, rgb",
        ),
        ({"layers": ()}, "no layer is asked for"),
        ({"plan": "sometimes"}, "plan=sometimes is not possible; plan takes segments.strided.clips"),
        ({"crops": "six"}, "crops takes center.corners.five.ten"),
        ({"crops": "ten", "mirror": True}, "mirrored already"),
        ({"stack": -1}, "stack=-1 is not possible; stack takes int ≥ 0"),
        ({"resize": 200, "crop": 224}, "crop 224 does not fit into frames resized to 200"),
        ({"resize": (200, 300, 1)}, "resize=200,300,1 is not possible"),
        ({"plan": "strided", "views": 3}, "need --view random"),
        ({"plan": "clips", "view": "random"}, "no random view"),
    ],
)
def test_nonsense_is_refused(values, message):
    with pytest.raises(UsageError, match=message):
        Settings(**values)


def test_settings_come_back_from_json():
    settings = Settings(kind="flow", layers=("conv4_2",), plan="strided", view="random", views=3, std=(0.5,))
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict())), "flow") == settings
    assert "runtime" not in settings.to_dict()  # as stores and runs that were begun before there was a choice say it
    with pytest.raises(UsageError, match=r"stream slow has settings .* does not know: colour"):
        Settings.from_dict({"colour": 1}, "slow")
    with pytest.raises(UsageError, match="stream slow was imported"):
        Settings.from_dict({"kind": "imported", "rule": "average"}, "slow")


# As stores kept the settings of all streams together.
TOGETHER = {
    "streams": ["rgb", "flow"],
    "backbone": "vgg16",
    "weights": ["rgb=a.pth", "flow=random"],
    "weights_sha256": ["rgb=12ab", "flow="],
    "layers": ["pooled", "rgb=conv5_3"],
    "stack": 4,
    "flow": "tvl1",
    "flow_backend": "numpy",
    "flow_size": 120,
    "resize": 256,
    "crop": 224,
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
    "flow_mean": 0.5,
    "flow_std": 0.226,
    "segments": 24,
    "plan": "strided",
}


def test_settings_that_were_kept_for_all_streams_together():
    shared = {"backbone": "vgg16", "resize": 256, "crop": 224, "segments": 24, "plan": "strided", "decoder": "opencv"}
    rgb = {"weights": "a.pth", "weights_sha256": "12ab", "layers": ("pooled", "conv5_3"), "flow": ""}
    flow = {"kind": "flow", "weights": "random", "stack": 4, "flow": "tvl1", "flow_backend": "numpy", "flow_size": 120}
    expected = Settings(**shared, **rgb, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert Settings.from_dict(TOGETHER, "rgb") == expected
    assert Settings.from_dict(TOGETHER, "old-rgb") == expected  # of a store called old, beside another rgb
    assert Settings.from_dict(TOGETHER, "flow") == Settings(**shared, **flow, mean=(0.5,), std=(0.226,))


def test_each_stream_has_its_own():
    given = {"backbone": ["vgg16", "slow=resnet18"], "weights": ["rgb=a=b.pth"], "flow": ["slow=tvl1", "raft=w.pth"]}
    streams = read_streams(["rgb", "slow=flow,fast=flow"], {**given, "segments": 3, "crop": ["112"], "mirror": True})
    assert list(streams) == ["rgb", "slow", "fast"]
    assert [one.kind for one in streams.values()] == ["rgb", "flow", "flow"]
    assert [one.backbone for one in streams.values()] == ["vgg16", "resnet18", "vgg16"]
    assert [one.weights for one in streams.values()] == ["a=b.pth", "DEFAULT", "DEFAULT"]
    assert [one.flow for one in streams.values()] == ["raft=w.pth", "tvl1", "raft=w.pth"]
    assert {(one.segments, one.crop, one.mirror) for one in streams.values()} == {(3, 112, True)}


@pytest.mark.parametrize(
    ("streams", "given", "message"),
    [
        (["rgb", "sound"], {}, "unknown kind of stream 'sound'"),
        ([], {}, "no stream is named"),
        (["rgb,rgb"], {}, "stream rgb is named twice"),
        (["a/b=rgb"], {}, "a stream's name is letters, digits"),
        (["index=rgb"], {}, "not 'index'"),
        (["rgb"], {"weights": ["a.pth", "b.pth"]}, "weights is told twice: a.pth and b.pth; .* NAME=VALUE"),
        (["rgb"], {"weights": ["rgb=a.pth", "rgb=b.pth"]}, "weights of stream rgb is told twice: a.pth and b.pth"),
        (["rgb"], {"weights": ["flow=a.pth"]}, "weights flow=a.pth: there is no stream flow; there are rgb"),
        (["rgb"], {"crop": ["wide"]}, "crop=wide is not possible"),
    ],
)
def test_streams_that_make_no_sense_are_refused(streams, given, message):
    with pytest.raises(UsageError, match=message):
        read_streams(streams, given)
