"""Settings: what they refuse, how they come back from a store."""

import json

import pytest

from avr.core import UsageError
from avr.extract import Settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"streams": ("rgb", "sound")}, "unknown stream 'sound'; known: flow, rgb"),
        ({"streams": ()}, "streams must be one or more"),
        ({"streams": ("rgb", "rgb")}, "each once"),
        ({"plan": "sometimes"}, "plan=sometimes is not possible; plan takes segments.strided.clips"),
        ({"crops": "six"}, "crops takes center.corners.five.ten"),
        ({"crops": "ten", "mirror": True}, "mirrored already"),
        ({"stack": 0}, "stack=0 is not possible; stack takes int ≥ 1"),
        ({"resize": 200, "crop": 224}, "crop 224 does not fit into frames resized to 200"),
        ({"layers": ("rgb=pooled",)}, "no layer of stream flow"),
        ({"weights": ("rgb=a.pth", "rgb=b.pth")}, "2 weights for stream rgb"),
        ({"plan": "strided", "views": 3}, "need --view random"),
        ({"plan": "clips", "view": "random"}, "no random view"),
    ],
)
def test_nonsense_is_refused(values, message):
    with pytest.raises(UsageError, match=message):
        Settings(**values)


def test_settings_come_back_from_json():
    settings = Settings(streams=("flow",), layers=("conv4_2",), plan="strided", view="random", views=3, std=(0.5,))
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    with pytest.raises(UsageError, match="does not know: colour"):
        Settings.from_dict({"colour": 1})


def test_entries_for_one_stream():
    settings = Settings(
        layers=("pooled", "rgb=conv5_3", "flow=conv4_2"), weights=("DEFAULT", "flow=a=b.pth"), backbone="vgg16"
    )
    assert settings.layers_of("rgb") == ("pooled", "conv5_3")
    assert settings.layers_of("flow") == ("pooled", "conv4_2")
    assert settings.weights_of("rgb") == "DEFAULT"
    assert settings.weights_of("flow") == "a=b.pth"
