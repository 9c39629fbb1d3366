"""Settings: what they refuse, how they come back from a store; plans applied to one video."""

import json

import numpy as np
import pytest

from avr.core import UsageError
from avr.extract import Settings
from avr.extract.plan import needs_of, plan_frames


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"streams": ("rgb", "sound")}, "unknown stream 'sound'; known: rgb, flow"),
        ({"streams": ()}, "streams must be one or more"),
        ({"streams": ("rgb", "rgb")}, "each once"),
        ({"plan": "sometimes"}, "unknown plan 'sometimes'; known: segments, strided, clips"),
        ({"crops": "six"}, "known: center, corners, five, ten"),
        ({"crops": "ten", "mirror": True}, "mirrored already"),
        ({"stack": 0}, "stack must be at least 1, not 0"),
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


@pytest.mark.parametrize(
    ("values", "num_frames", "shape"),
    [
        ({}, 100, (1, 7)),
        ({"segments": 3, "per_segment": 4}, 100, (1, 12)),
        ({"views": 5}, 100, (5, 7)),
        ({"view": "random", "views": 4}, 100, (4, 7)),
        ({"plan": "strided"}, 100, (1, 17)),
        ({"plan": "strided", "segments": 24, "stack": 4}, 20, (1, 24)),
        ({"plan": "clips"}, 20, (1, 30)),
        ({"plan": "clips"}, 75, (4, 30)),
    ],
)
def test_shapes_of_plans(values, num_frames, shape):
    settings = Settings(**values)
    views = plan_frames(settings, num_frames, key="a")
    assert views.shape == shape
    assert settings.num_steps == shape[1]


def test_random_views_depend_on_the_seed_and_the_video_alone():
    settings = Settings(view="random", views=5)
    views = plan_frames(settings, 90, key="brush_hair/clip1")
    np.testing.assert_array_equal(views, plan_frames(settings, 90, key="brush_hair/clip1"))
    assert (views != plan_frames(settings, 90, key="brush_hair/clip2")).any()
    assert (views != plan_frames(settings.change(seed=1), 90, key="brush_hair/clip1")).any()
    assert len({tuple(view) for view in views}) == 5


def test_shared_frames_and_pairs_are_needed_once():
    settings = Settings(stack=4)
    needs = needs_of(settings, np.array([[2, 4], [4, 9]]), 10)
    assert needs.frames.tolist() == [2, 4, 9]
    assert needs.views.tolist() == [[0, 1], [1, 2]]
    assert needs.pairs.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]  # 0-3 around 2, 2-5 around 4, 5-8 moved in from 9
    assert needs.stacks.tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [5, 6, 7, 8]]
    assert needs.following.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert needs.flow_frames.tolist() == list(range(10))


def test_without_flow_no_pair_is_needed():
    needs = needs_of(Settings(streams=("rgb",)), np.array([[2, 4]]), 10)
    assert len(needs.pairs) == len(needs.flow_frames) == 0


def test_one_frame_is_paired_with_itself():
    needs = needs_of(Settings(stack=3), np.array([[0, 0]]), 1)
    assert (needs.pairs.tolist(), needs.following.tolist(), needs.stacks.tolist()) == ([0], [0], [[0, 0, 0]])
