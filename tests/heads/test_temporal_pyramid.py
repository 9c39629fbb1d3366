"""TPN-BiLSTM: its wiring, the paper's sizes, and maps of other sizes."""

import pytest
import torch

from avr.core import UsageError
from avr.heads.layers import temporal_pyramid
from avr.heads.temporal_pyramid import HEAD as TemporalPyramid


def features(shapes, B=2):
    return {stream: torch.randn(B, *shape) for stream, shape in shapes.items()}


def test_sizes_are_the_papers():
    with torch.device("meta"):
        head = TemporalPyramid({"rgb": (24, 512, 14, 14), "flow": (24, 512, 28, 28)}, 101)
    tail = head.tails["flow"]
    assert [branch.space.weight.shape[:2] for branch in tail.first.branches] == [(512, 512)] * 3
    assert [tuple(layer.space.weight.shape[:2]) for layer in (tail.rest[0], tail.rest[2])] == [(512, 1536)] * 2
    assert isinstance(tail.pool4, torch.nn.MaxPool3d)
    assert head.map_size == (14, 14)
    assert head.pyramid_size == (8, 7, 7)
    assert tuple(head.fusion.convolution.weight.shape) == (512, 1024, 3, 3, 3)
    assert head.lstm.input_weight.shape[1] * 7 == 175_616
    assert head.lstm.hidden_size == 101
    assert (head.dropout.p, head.lstm_dropout.p) == (0.5, 0.25)


def test_wiring_from_fusion_to_readout():
    shapes = {"rgb": (8, 3, 4, 4), "flow": (8, 3, 8, 8)}
    head, batch = TemporalPyramid(shapes, 5, readout="hidden", hidden=6, size=2, steps=4).eval(), features(shapes)
    fused = head.fusion([batch["rgb"], head.tails["flow"](batch["flow"])])
    # 8×4×4 to 4×2×2 by maxima over windows of 2×2×2
    pooled = fused.view(2, 4, 2, 3, 2, 2, 2, 2).amax((2, 5, 7))
    spans = temporal_pyramid(pooled).reshape(2, 7, -1)
    states, _ = head.lstm(spans)
    expected = (states[:, -1, :6] + states[:, 0, 6:])[:, :5]  # each direction after all seven; of 6 units 5 classes
    torch.testing.assert_close(head(batch)["fused"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shapes", "options", "map_size"),
    [
        ({"rgb": (5, 8, 13, 13), "flow": (5, 8, 13, 13)}, {}, (13, 13)),
        ({"rgb": (5, 8, 7, 7), "flow": (5, 6, 14, 14)}, {}, (7, 7)),
        ({"rgb": (5, 8, 7, 7), "flow": (5, 6, 10, 10)}, {"reduce": 4}, (7, 7)),
        ({"rgb": (3, 8, 6, 6)}, {}, (6, 6)),
        ({"flow": (4, 8, 3, 3), "pose": (4, 5, 2, 2), "rgb": (4, 8, 4, 4)}, {}, (2, 2)),
    ],
    ids=["equal maps", "halved", "averaged down", "one stream", "three streams"],
)
def test_other_maps_work_too(shapes, options, map_size):
    head = TemporalPyramid(shapes, 3, hidden=4, spatial="rgb", **options)
    assert head.map_size == map_size
    assert set(head.tails) == set(shapes) - {"rgb"}
    outputs = head(features(shapes))
    assert outputs["fused"].shape == (2, 3)
    head.loss(outputs, torch.tensor([0, 2])).backward()
    assert [name for name, parameter in head.named_parameters() if parameter.grad is None] == []


def test_narrowed_maps_are_the_1x1_convolution_of_standardised_ones():
    """Also of one video, in float64, and of gradients: only the order in memory and of sums may differ."""
    torch.manual_seed(0)
    head = TemporalPyramid({"rgb": (4, 6, 3, 3), "flow": (4, 5, 6, 6)}, 3, reduce=2).double()
    batch = features(head.shapes, B=3)
    for stream, width in (("rgb", 6), ("flow", 5)):
        head.set_statistics(stream, torch.randn(width), torch.rand(width) + 0.5)
    found, weights = head.standardise(batch), [head.narrow[stream].weight for stream in batch]
    means, scales = (
        [getattr(head, f"{kind}_{stream}")[:, None, None] for stream in batch] for kind in ("mean", "scale")
    )
    for stream, weight, mean, scale in zip(batch, weights, means, scales, strict=True):
        expected = torch.einsum("dc,bnchw->bndhw", weight, (batch[stream].double() - mean) * scale)
        torch.testing.assert_close(found[stream], expected)
        gradients = [torch.autograd.grad(maps.square().sum(), weight)[0] for maps in (found[stream], expected)]
        torch.testing.assert_close(*gradients)


def test_bad_requests_are_refused():
    with pytest.raises(UsageError, match="lengths differ: rgb 3, flow 4"):
        TemporalPyramid({"rgb": (3, 4, 6, 6), "flow": (4, 4, 6, 6)}, 5)
    with pytest.raises(UsageError, match="layer read of rgb is pooled"):
        TemporalPyramid({"rgb": (3, 4)}, 5)
    with pytest.raises(UsageError, match=r"hidden must be at least 5 \(or 0\), not 4"):
        TemporalPyramid({"rgb": (3, 4, 6, 6)}, 5, readout="hidden", hidden=4)
