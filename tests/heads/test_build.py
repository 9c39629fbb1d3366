"""Options and settings read from texts, and what every head keeps to."""

import numpy as np
import pytest
import torch

from avr.core import UsageError, item_names, options_of
from avr.heads import Head, MemoryExamples, build_head, head_class, head_options
from avr.heads._base import fuse_probabilities
from avr.heads._loop import set_statistics
from avr.heads.stfn import spread_segments
from avr.training import Training, read_training


def test_every_option_gets_a_value():
    assert head_options("stfn", {"kernels": "3,5", "direction": "a->m"}) == {
        "design": "a",
        "fusion": "average",
        "direction": "a->m",
        "segments": 0,
        "kernels": (3, 5),
        "skip": 2,
        "blocks": 2,
        "bottleneck": 0,
        "weights": None,
        "dropout": 0.5,
    }


def test_epochs_that_are_given_hold():
    base = Training(epochs=30, min_steps=500)
    assert read_training(base, {"lr": "0.1"}) == Training(epochs=30, min_steps=500, lr=0.1)
    assert read_training(base, {"epochs": "3"}) == Training(epochs=3)
    assert read_training(base, {"epochs": 3, "min_steps": 9}) == Training(epochs=3, min_steps=9)


@pytest.mark.parametrize("name", item_names("avr.heads"))
def test_every_head_keeps_to_the_rules(name):
    made = head_class(name)
    assert issubclass(made, Head)
    assert made.source
    assert made.__doc__
    assert isinstance(made.defaults, Training)
    assert isinstance(made.paper, Training)
    assert made.reads
    assert all(option.describe() for option in options_of(made).values())
    head_options(name, {})  # every option has a default of its own type


def test_a_fused_probability_is_the_mean():
    scores = {"rgb": torch.tensor([[0.0, 0.0]]), "flow": torch.log(torch.tensor([[0.9, 0.1]]))}
    torch.testing.assert_close(fuse_probabilities(scores).exp(), torch.tensor([[0.7, 0.3]]))


def test_a_fused_probability_survives_saturated_scores():
    scores = {"rgb": torch.tensor([[1000.0, 0.0]]), "flow": torch.tensor([[1000.0, 0.0]])}
    assert fuse_probabilities(scores).tolist() == [[0.0, -1000.0]]


@pytest.mark.parametrize(
    ("stored", "wanted", "chosen"),
    [
        (7, 3, [1, 3, 5]),
        (7, 5, [0, 2, 3, 4, 6]),
        (9, 3, [1, 4, 7]),
        (7, 7, [0, 1, 2, 3, 4, 5, 6]),
        (7, 1, [3]),
        (4, 0, [0, 1, 2, 3]),
    ],
)
def test_segments_are_spread_evenly(stored, wanted, chosen):
    assert spread_segments(stored, wanted) == chosen


def test_statistics_travel_in_the_state_dict():
    head, other = (build_head("linear", {"rgb": (2, 3)}, 2) for _ in range(2))
    head.set_statistics("rgb", torch.ones(3), torch.full((3,), 2.0))
    other.load_state_dict(head.state_dict())
    features = {"rgb": torch.tensor([[[1.0, 3.0, 5.0]] * 2])}
    torch.testing.assert_close(other.standardise(features)["rgb"][0, 0], torch.tensor([0.0, 1.0, 2.0]))


@pytest.mark.parametrize("shape", [(4, 3), (4, 5, 3), (4, 3, 3, 3)])
@pytest.mark.parametrize("kept", [False, True])
def test_statistics_are_of_channels_whatever_the_layer(shape, kept, monkeypatch):
    """Pooled, tokens and maps: each stored channel over segments and positions of the training videos, every view."""
    monkeypatch.setattr("avr.heads._features.CACHE_VALUES", 100)  # a few views at once
    array = (100 + torch.randn(12, *shape, dtype=torch.float64)).half()  # a mean far from 0
    examples = MemoryExamples({"rgb": array}, np.full(6, 2), np.zeros(6), device=torch.device("cpu"))
    head = build_head("linear", {"rgb": shape}, 2)
    if kept:
        examples = examples.kept(head)
        assert examples.shapes["rgb"] == (1, 3)
    names = np.array(list("abcdef"))
    set_statistics(head, examples.only("rgb"), np.arange(4), np.random.default_rng(0), names=names)
    channels = array[:8].double().movedim(2 if len(shape) == 4 else -1, -1).reshape(-1, 3)
    torch.testing.assert_close(head.mean_rgb.double(), channels.mean(0), rtol=1e-6, atol=0)
    torch.testing.assert_close(1 / head.scale_rgb.double(), channels.std(0, correction=0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("head", item_names("avr.heads"))
@pytest.mark.parametrize("shape", [(4, 6), (4, 5, 6), (4, 6, 5, 5)])
def test_what_a_head_keeps_is_kept_once_for_all(head, shape):
    """Taken again it stays, and standardising may come before or after; the head says the same of it."""
    made = head_class(head)
    if made.needs_maps and len(shape) < 4:
        return
    shapes = dict.fromkeys(("rgb", "flow") if made.joint else ("rgb",), shape)
    options = {"size": 3} if head == "frame-attention" else {"dropout": 0.0} if head == "consensus" else {}
    built = build_head(head, shapes, 2, options=options).double().eval()
    features = {stream: torch.randn(3, *shape, dtype=torch.float64).add(4) for stream in shapes}
    for stream in shapes:
        built.set_statistics(stream, torch.linspace(3, 5, 6), torch.linspace(1, 2, 6))
    kept = built.keep(features)
    torch.testing.assert_close(built.keep(kept), kept, rtol=0, atol=0)
    torch.testing.assert_close(built.keep(built.standardise(features)), built.standardise(kept))
    torch.testing.assert_close(built(kept), built(features), rtol=0, atol=0)
    if head in ("linear", "consensus", "frame-attention") or (head == "stfn" and len(shape) > 2):
        assert all(kept[stream].numel() < features[stream].numel() for stream in shapes)


@pytest.mark.parametrize("head", ["attention-streams", "frame-attention", "temporal-pyramid"])
@pytest.mark.parametrize(("shape", "held"), [((4, 3), "pooled"), ((4, 5, 3), "tokens")])
def test_heads_on_maps_say_what_to_read_instead(head, shape, held):
    with pytest.raises(UsageError, match=f"of rgb is {held}: read maps with --layer ") as refused:
        build_head(head, {"rgb": shape}, 2)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("spatial", ["", "gone", "slow"])
def test_the_first_stream_of_the_pyramid_is_spatial_unless_another_is_named(spatial):
    shapes = {"fast": (4, 3, 2, 2), "slow": (4, 3, 2, 2)}
    head = build_head("temporal-pyramid", shapes, 2, options={"spatial": spatial, "reduce": 2})
    assert list(head.tails) == (["fast"] if spatial == "slow" else ["slow"])


@pytest.mark.parametrize(
    ("head", "given", "message"),
    [
        ("stfn", {"dropout": "2"}, "dropout=2 is not possible; dropout takes 0 ≤ float < 1"),
        ("stfn", {"dropout": "nan"}, "dropout takes 0 ≤ float < 1, finite"),
        ("stfn", {"kernels": "2,0"}, "kernels=2,0 is not possible; kernels takes int ≥ 1,…"),
        ("stfn", {"skip": -1}, "skip takes int ≥ 0"),
        ("frame-attention", {"hidden": -1}, "hidden takes int ≥ 0"),
        ("attention-streams", {"attention_hidden": 0}, "attention_hidden takes int ≥ 1"),
        ("attention-streams", {"layers": "0"}, "layers takes int ≥ 1"),
        ("coattention", {"rounds": 0}, "rounds takes int ≥ 1"),
        ("stfn", {"kernels": ()}, "kernels takes int ≥ 1,…"),
        (
            "stfn",
            {"desing": "a"},
            "unknown option of head stfn 'desing' (did you mean design?); known: design=a|b|c (a); ",
        ),
        ("temporal-pyramid", {"steps": "0"}, "steps takes int ≥ 1"),
    ],
)
def test_numbers_no_head_can_be_built_with_are_refused(head, given, message):
    with pytest.raises(UsageError) as refused:
        head_options(head, given)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": "nan"}, "lr takes float > 0, finite"),
        ({"clip_norm": -1}, "clip_norm takes float ≥ 0"),
        ({"momentum": 1}, "momentum takes 0 ≤ float < 1"),
    ],
)
def test_training_settings_out_of_range_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        read_training(Training(), given)


def test_a_stream_whose_name_has_a_dot_is_refused():
    with pytest.raises(UsageError, match=r"stream 'a\.b'"):
        build_head("linear", {"a.b": (2, 4)}, 3)


@pytest.mark.parametrize("name", ["a.b", "training", "keys"])
def test_a_stream_whose_name_torch_cannot_keep_weights_by_is_refused(name):
    with pytest.raises(UsageError, match=f"stream '{name}': heads keep weights by a stream's name"):
        build_head("linear", {name: (3, 4)}, 2)
