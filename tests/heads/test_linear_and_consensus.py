"""The single-stream heads: what they compute, and how they are one another's limits."""

import pytest
import torch

from avr.core import UsageError
from avr.heads import build_head

SHAPE = {"flow": (5, 6)}


def test_linear_is_a_layer_on_the_mean_over_segments():
    head = build_head("linear", SHAPE, 3).eval()
    features = torch.randn(2, 5, 6)
    expected = features.mean(dim=1) @ head.classifier.weight.T + head.classifier.bias
    torch.testing.assert_close(head({"flow": features})["flow"], expected)
    assert sum(parameter.numel() for parameter in head.parameters()) == 3 * (6 + 1)


def test_linear_takes_the_mean_over_positions_of_a_map():
    head = build_head("linear", {"rgb": (5, 6, 2, 2)}, 3).eval()
    maps = torch.randn(2, 5, 6, 2, 2)
    expected = head.classifier(maps.mean(dim=(1, 3, 4)))
    torch.testing.assert_close(head({"rgb": maps})["rgb"], expected)


@pytest.mark.parametrize("name", ["linear", "consensus", "stfn", "coattention"])
def test_tokens_are_read_by_their_mean_over_a_segment(name):
    streams = ("rgb", "flow") if name in ("stfn", "coattention") else ("rgb",)
    on_tokens = build_head(name, dict.fromkeys(streams, (5, 7, 6)), 3).eval()
    on_vectors = build_head(name, dict.fromkeys(streams, (5, 6)), 3).eval()
    on_vectors.load_state_dict(on_tokens.state_dict())
    tokens = {stream: torch.randn(2, 5, 7, 6) for stream in streams}
    means = {stream: array.mean(dim=2) for stream, array in tokens.items()}
    torch.testing.assert_close(on_tokens(tokens), on_vectors(means))


@pytest.mark.parametrize("over", ["average", "maximum", "weighted"])
def test_consensus_is_taken_over_the_segments_scores(over):
    head = build_head("consensus", SHAPE, 3, options={"over": over}).eval()
    features = torch.randn(2, 5, 6)
    each = torch.stack([head.classifier(features[:, n]) for n in range(5)])  # (N, B, K)
    # The learned weights start even.
    expected = each.amax(dim=0) if over == "maximum" else each.mean(dim=0)
    torch.testing.assert_close(head({"flow": features})["flow"], expected)


def test_average_consensus_is_linear_where_nothing_is_dropped():
    consensus, linear = (build_head(name, SHAPE, 3).eval() for name in ("consensus", "linear"))
    linear.load_state_dict(consensus.state_dict())
    features = {"flow": torch.randn(2, 5, 6)}
    # The mean passes through the layer: equal but for float32's order of sums.
    torch.testing.assert_close(consensus(features)["flow"], linear(features)["flow"], atol=1e-6, rtol=1e-5)


def test_consensus_drops_each_segment_by_itself():
    head = build_head("consensus", {"flow": (2, 1000)}, 3, options={"dropout": 0.5}).train()
    dropped = []
    head.classifier.register_forward_pre_hook(lambda _, given: dropped.append(given[0]))
    head({"flow": torch.ones(1, 2, 1000)})
    first, second = (dropped[0][0] == 0).unbind()
    assert 400 < first.sum() < 600
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", ["linear", "consensus"])
def test_two_streams_are_refused(name):
    with pytest.raises(UsageError, match="reads one stream, but is given rgb, flow"):
        build_head(name, {"rgb": (5, 6), "flow": (5, 6)}, 3)
