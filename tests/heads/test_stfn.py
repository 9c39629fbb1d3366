"""STFN against the paper: a Res-Inc block worked by hand and by loops in NumPy, shapes, parameter counts, figures."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from avr.core import UsageError
from avr.heads import build_head
from avr.heads.stfn import ResInc, SameConv

TWO = {"rgb": (7, 8), "flow": (7, 8)}


def made(shapes=TWO, classes=3, **options):
    return build_head("stfn", shapes, classes, options=options).eval()


def random_features(shapes=TWO, batch=2):
    return {stream: torch.randn(batch, *shape, requires_grad=True) for stream, shape in shapes.items()}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_res_inc_block_worked_by_hand():
    # One channel in, four out (one a kernel 2, 3, 4, 5), all weights 1, skip weights -1, batch norm the identity.
    block = ResInc(1, out=4).eval()
    with torch.no_grad():
        for conv in [*block.branches, block.skip]:
            conv.conv.weight.fill_(-1.0 if conv is block.skip else 1.0)
            conv.norm.eps = 0.0
    # Sequence 1 2 3. Kernel 2 sees (1 2)(2 3)(3 .); 3: (. 1 2)(1 2 3)(2 3 .); 4: (. 1 2 3)(1 2 3 .)(2 3 . .);
    # 5: (. . 1 2 3)(. 1 2 3 .)(1 2 3 . .). Their sums are positive; the skip gives -3 -5 -3 to each channel, and if
    # it had a ReLU of its own it would give 0.
    expected = [[0.0, 0.0, 0.0], [0.0, 1.0, 2.0], [3.0, 1.0, 2.0], [3.0, 1.0, 3.0]]
    sequence = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)  # time, one video, one channel
    assert block(sequence)[:, 0].T.tolist() == expected


def same_conv_by_loops(sequence, layer):
    """(D, N) float64 through a convolution and its batch norm's running statistics, written from the definition."""
    weight = layer.conv.weight.detach().double().numpy()
    out, _, kernel = weight.shape
    length = sequence.shape[1]
    result = np.zeros((out, length))
    for channel in range(out):
        for step in range(length):
            for tap in range(kernel):
                place = step + tap - (kernel - 1) // 2
                if 0 <= place < length:
                    result[channel, step] += weight[channel, :, tap] @ sequence[:, place]
    mean, variance, scale, shift = (
        tensor.detach().double().numpy()[:, None]
        for tensor in (layer.norm.running_mean, layer.norm.running_var, layer.norm.weight, layer.norm.bias)
    )
    return (result - mean) / np.sqrt(variance + layer.norm.eps) * scale + shift


def test_res_inc_block_against_loops_in_numpy():
    block = ResInc(8).double().eval()
    with torch.no_grad():
        for norm in (layer.norm for layer in [*block.branches, block.skip]):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
            norm.weight.normal_()
            norm.bias.normal_()
    sequence = torch.randn(8, 5, dtype=torch.float64)
    inception = np.concatenate([np.maximum(same_conv_by_loops(sequence.numpy(), b), 0) for b in block.branches])
    expected = np.maximum(inception + same_conv_by_loops(sequence.numpy(), block.skip), 0)
    # float64 on both sides: only the order of the sums differs.
    found = block(sequence.T[:, None])[:, 0].T
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def plain_forward(layer, sequence):
    """SameConv as torch's own layers have it."""
    (kernel,) = layer.conv.kernel_size
    padded = F.pad(sequence.permute(1, 2, 0), ((kernel - 1) // 2, kernel // 2))
    return layer.norm(layer.conv(padded)).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("widths", "segments", "options"),
    [
        ((8, 8), 7, {}),
        ((10, 6), 7, {}),  # no multiple of the kernels, streams of unequal width
        ((8, 8), 2, {"kernels": (5, 7, 1), "skip": 9}),  # taps that see padding alone
        ((9, 9), 1, {"kernels": (4, 2, 2), "skip": 0}),
        ((8, 4), 4, {"design": "c", "kernels": (3, 8), "skip": 5}),
    ],
)
def test_products_are_the_convolutions_of_plain_layers(widths, segments, options, monkeypatch):
    """Outputs, running statistics, and the gradients of all weights and of the features, in training."""
    torch.manual_seed(0)
    shapes = {"rgb": (segments, widths[0]), "flow": (segments, widths[1])}
    ours = build_head("stfn", shapes, 3, options={"dropout": 0.0, **options}).double().train()
    theirs = copy.deepcopy(ours)
    features = {stream: torch.randn(4, *shape, dtype=torch.float64) for stream, shape in shapes.items()}
    results = []
    for head, forward in ((ours, SameConv.forward), (theirs, plain_forward)):
        monkeypatch.setattr(SameConv, "forward", forward)
        given = {stream: array.clone().requires_grad_() for stream, array in features.items()}
        outputs = head(given)
        head.loss(outputs, torch.tensor([0, 1, 2, 0])).backward()
        gradients = {name: parameter.grad for name, parameter in head.named_parameters()}
        results.append([outputs, gradients, {stream: array.grad for stream, array in given.items()}, head.state_dict()])
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("remake", [lambda layer: layer, copy.deepcopy, lambda layer: layer.to(torch.float64)])
def test_weights_are_drawn_as_torchs_and_lie_a_matrix_a_tap(remake):
    torch.manual_seed(0)
    layer = remake(SameConv(6, 4, kernel=3))
    torch.manual_seed(0)
    theirs = torch.nn.Conv1d(6, 4, 3, bias=False).to(layer.conv.weight.dtype)
    assert torch.equal(layer.conv.weight, theirs.weight)
    layer.load_state_dict({"conv.weight": theirs.weight}, strict=False)
    assert layer.conv.weight.permute(2, 0, 1).is_contiguous()
    layer(torch.randn(5, 2, 6, dtype=layer.conv.weight.dtype)).sum().backward()
    assert layer.conv.weight.grad.stride() == layer.conv.weight.stride()


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 6])
def test_same_padding_keeps_the_length_and_leans_behind_for_even_kernels(kernel):
    layer = SameConv(1, 1, kernel=kernel).eval()
    with torch.no_grad():
        layer.conv.weight.fill_(1.0)
        layer.norm.eps = 0.0
    impulse = torch.zeros(13, 1, 1)
    impulse[6] = 1.0
    reached = torch.nonzero(layer(impulse).flatten()).flatten()
    # An output looks (kernel - 1) // 2 back and kernel // 2 ahead, so a value is seen that far ahead and back.
    assert reached.tolist() == list(range(6 - kernel // 2, 6 + (kernel - 1) // 2 + 1))


def test_parameter_counts_of_the_papers_network():
    # Worked by hand for D = 2048, K = 51. Res-Inc: 512 · 2048 · (2+3+4+5) = 14 680 064, its batch norms 2 · 2048; skip
    # 2 · 2048² = 8 388 608, its batch norm 2 · 2048: 23 076 864. A readout: 2048 · 51 + 51 = 104 499.
    shapes = {"rgb": (7, 2048), "flow": (7, 2048)}
    with torch.device("meta"):
        assert count(ResInc(2048)) == 23_076_864
        assert count(made(shapes, 51)) == 4 * 23_076_864 + 2 * 104_499
        assert count(made(shapes, 51, design="b")) == 2 * 23_076_864 + 2 * 104_499
        # Design c is one block of width 4096: 1024 · 4096 · 14 + 2 · 4096² + 4 · 4096 = 92 291 072, one readout.
        assert count(made(shapes, 51, design="c")) == 92_291_072 + 4096 * 51 + 51


def test_widths_that_four_kernels_do_not_divide_are_shared_out():
    assert [branch.conv.out_channels for branch in ResInc(10).branches] == [3, 3, 2, 2]


@pytest.mark.parametrize(("design", "names"), [("a", ["rgb", "flow", "fused"]), ("b", ["rgb", "flow", "fused"])])
def test_outputs_of_designs_with_a_readout_a_stream(design, names):
    outputs = made(design=design)(random_features())
    assert {name: tuple(scores.shape) for name, scores in outputs.items()} == dict.fromkeys(names, (2, 3))


def test_design_c_has_one_readout():
    outputs = made(design="c")(random_features())
    assert {name: tuple(scores.shape) for name, scores in outputs.items()} == {"fused": (2, 3)}


def test_fused_is_the_mean_of_the_streams_softmax_scores():
    outputs = made()(random_features())
    mean = (outputs["rgb"].softmax(1) + outputs["flow"].softmax(1)) / 2
    torch.testing.assert_close(outputs["fused"].exp(), mean)


def test_loss_is_that_of_the_added_scores():
    head, labels = made(), torch.tensor([0, 2])
    outputs = head(random_features())
    expected = -torch.log(outputs["fused"].exp()[[0, 1], labels]).mean()
    torch.testing.assert_close(head.loss(outputs, labels), expected)


# Which inputs reach which readout, by figure 5: in b there is no second block to hide it.
REACHES = {
    "both": {("rgb", "rgb"), ("rgb", "flow"), ("flow", "rgb"), ("flow", "flow")},
    "a<-m": {("rgb", "rgb"), ("flow", "rgb"), ("flow", "flow")},
    "a->m": {("rgb", "rgb"), ("rgb", "flow"), ("flow", "flow")},
}


@pytest.mark.parametrize("design", ["a", "b"])
@pytest.mark.parametrize("direction", list(REACHES))
def test_directions_connect_the_streams_as_figure_5_draws_them(design, direction):
    head, reached = made(design=design, direction=direction), set()
    for output in ("rgb", "flow"):
        features = random_features()
        head(features)[output].sum().backward()
        reached |= {(s, output) for s, f in features.items() if f.grad is not None and f.grad.abs().sum() > 0}
    assert reached == REACHES[direction]


@pytest.mark.parametrize(
    ("direction", "reads"),
    [
        ("both", {"rgb": "rfx", "flow": "rfx", "extra": "rfx"}),
        ("a<-m", {"rgb": "rfx", "flow": "f", "extra": "x"}),
        ("a->m", {"rgb": "r", "flow": "rf", "extra": "rx"}),
    ],
)
def test_directions_with_three_streams(direction, reads):
    shapes = {**TWO, "extra": (7, 8)}
    head = made(shapes, direction=direction)
    for output, letters in reads.items():
        features = random_features(shapes)
        head(features)[output].sum().backward()
        reached = {s for s, f in features.items() if f.grad is not None and f.grad.abs().sum() > 0}
        assert reached == {{"r": "rgb", "f": "flow", "x": "extra"}[letter] for letter in letters}


@pytest.mark.parametrize(
    ("fusion", "expected"), [("average", [2.0, 3.0]), ("maximum", [3.0, 4.0]), ("multiply", [3.0, 8.0])]
)
def test_fusion_operations_are_equations_4_to_6(fusion, expected):
    signals = {"rgb": torch.tensor([1.0, 4.0]).view(2, 1, 1), "flow": torch.tensor([3.0, 2.0]).view(2, 1, 1)}
    fused = made(fusion=fusion)._fuse(signals)
    assert fused["rgb"].flatten().tolist() == fused["flow"].flatten().tolist() == expected


def test_weighted_and_scaled_fusion_are_means_by_hand():
    signals = {"rgb": torch.tensor([1.0, 4.0]).view(2, 1, 1), "flow": torch.tensor([3.0, 2.0]).view(2, 1, 1)}
    weighted = made(fusion="weighted", weights="60,20")._fuse(signals)
    assert weighted["rgb"].flatten().tolist() == weighted["flow"].flatten().tolist() == [1.5, 3.5]  # 3/4 and 1/4
    head = made(fusion="scaled")
    assert head._fuse(signals)["rgb"].flatten().tolist() == [2.0, 3.0]  # at first the mean
    with torch.no_grad():
        head.scales["flow"].factor.fill_(2.0)
        head.scales["rgb"].shift.fill_(-1.0)
    assert head._fuse(signals)["rgb"].flatten().tolist() == [3.0, 3.5]


def test_more_blocks_follow_one_another_behind_the_fusion():
    head, features = made(blocks=3), {stream: torch.randn(2, *shape) for stream, shape in TWO.items()}
    dynamics = {stream: head.first[stream](features[stream].transpose(0, 1)) for stream in TWO}
    mixed = head._fuse(dynamics)
    for stream in TWO:
        first, second = head.second[stream]
        expected = head.readouts[stream](second(first(mixed[stream])).mean(0))
        torch.testing.assert_close(head(features)[stream], expected)
    assert set(made(blocks=1).state_dict()) == set(made(design="b").state_dict())


def test_a_bottleneck_is_a_convolution_of_kernel_one_before_each_branch():
    block = ResInc(8, kernels=(2, 3), bottleneck=3).double().eval()
    sequence = torch.randn(8, 5, dtype=torch.float64)
    reduced = [np.maximum(same_conv_by_loops(sequence.numpy(), layer), 0) for layer in block.reduced]
    made = [np.maximum(same_conv_by_loops(x, layer), 0) for x, layer in zip(reduced, block.branches, strict=True)]
    expected = np.maximum(np.concatenate(made) + same_conv_by_loops(sequence.numpy(), block.skip), 0)
    found = block(sequence.T[:, None])[:, 0].T
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_design_a_has_a_second_block_a_stream_and_b_has_none():
    assert set(made().second) == {"rgb", "flow"}
    assert len(made(design="b").second) == 0


def test_segments_takes_evenly_spread_ones():
    head, features = made(segments=3), random_features()
    head(features)["fused"].sum().backward()
    seen = features["rgb"].grad.abs().sum(dim=(0, 2)) > 0
    assert seen.tolist() == [False, True, False, True, False, True, False]  # the middles of three thirds of seven


def test_kernels_and_skip_are_the_blocks():
    head = made(kernels="3,5", skip="3")
    block = head.first["rgb"]
    assert [branch.conv.kernel_size for branch in block.branches] == [(3,), (5,)]
    assert block.skip.conv.kernel_size == (3,)
    assert isinstance(made(skip=0).first["rgb"].skip, torch.nn.Identity)


def test_streams_of_unequal_width_meet_at_the_first_ones():
    shapes = {"rgb": (7, 8), "flow": (7, 12)}
    assert made(shapes)(random_features(shapes))["flow"].shape == (2, 3)


def test_maps_are_averaged_over_positions():
    head = made({"rgb": (7, 8, 3, 3), "flow": (7, 8)})
    maps, flow = torch.randn(2, 7, 8, 3, 3), torch.randn(2, 7, 8)
    pooled = made({"rgb": (7, 8), "flow": (7, 8)})
    pooled.load_state_dict(head.state_dict())
    expected = pooled({"rgb": maps.mean(dim=(3, 4)), "flow": flow})["fused"]
    torch.testing.assert_close(head({"rgb": maps, "flow": flow})["fused"], expected)


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ({"rgb": (7, 8)}, {}, "at least 2 streams, but is given rgb"),
        ({"rgb": (7, 8), "flow": (5, 8)}, {}, "segment by segment, but their lengths differ: rgb 7, flow 5"),
        (TWO, {"segments": 9}, "the store holds 7 a video"),
        (TWO, {"design": "d"}, "design takes a|b|c"),
        ({"rgb": (7, 8), "flow": (7, 12)}, {"skip": 0}, "equal width"),
        (TWO, {"fusion": "weighted"}, "takes a weight a stream"),
        (TWO, {"fusion": "weighted", "weights": "1,2,3"}, "takes a weight a stream"),
    ],
)
def test_what_cannot_be_built_is_refused(shapes, options, message):
    with pytest.raises(UsageError) as refused:
        made(shapes, **options)
    assert message in str(refused.value)
