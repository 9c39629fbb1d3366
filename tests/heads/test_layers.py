"""The shared layers against references written from the papers' equations."""

from typing import get_args

import numpy as np
import pytest
import torch

from avr.heads.layers import (
    SRU,
    Cell,
    Fusion3d,
    LayerNormLSTM,
    MultiScaleConv3d,
    SRULayer,
    interleave,
    temporal_pyramid,
)


def randomise(module: torch.nn.Module) -> None:
    """Give every parameter, scales and shifts too, a value of its own, so that none can be left out unnoticed."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)


def normalised(values: torch.Tensor) -> torch.Tensor:
    """Layer norm over the last axis from its definition (eq. 3-5), epsilon as PyTorch's."""
    mean = values.mean(-1, keepdim=True)
    variance = ((values - mean) ** 2).mean(-1, keepdim=True)
    return (values - mean) / torch.sqrt(variance + 1e-5)


def reference_ln_lstm(layer: LayerNormLSTM, sequence: torch.Tensor, direction: int) -> list[torch.Tensor]:
    """torch.nn.LSTMCell's algebra, one step and one gate at a time, with the norm put in before each non-linearity."""
    hidden_size = layer.hidden_size
    cell_weights = torch.nn.LSTMCell(sequence.shape[2], hidden_size, bias=False).double()
    with torch.no_grad():
        rows = slice(direction * 4 * hidden_size, (direction + 1) * 4 * hidden_size)
        cell_weights.weight_ih.copy_(layer.input_weight[rows])
        cell_weights.weight_hh.copy_(layer.hidden_weight[direction])
    h = c = sequence.new_zeros(sequence.shape[0], hidden_size)
    states = []
    for step in range(sequence.shape[1]):
        z = sequence[:, step] @ cell_weights.weight_ih.T + h @ cell_weights.weight_hh.T
        parts = [z[:, k * hidden_size : (k + 1) * hidden_size] for k in range(4)]
        scale, shift = layer.scale[direction], layer.shift[direction]
        i, f, g, o = (normalised(parts[k]) * scale[k] + shift[k] for k in range(4))
        if layer.cell == "printed":  # Ou & Sun 2019, section 3.3: "the parameters of each input sigmoid function"
            g = parts[2] + shift[2]
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        if layer.cell == "tensorflow":  # LayerNormBasicLSTMCell: new_c is normalised, and is the next step's c
            c = normalised(c) * scale[4] + shift[4]
        h = torch.sigmoid(o) * torch.tanh(c)
        states.append(h)
    return states


@pytest.mark.parametrize("cell", get_args(Cell))
def test_layer_norm_lstm_is_lstm_algebra_with_normalised_gates(cell):
    layer = LayerNormLSTM(6, 5, cell=cell).double()
    randomise(layer)
    sequence = torch.randn(3, 7, 6, dtype=torch.float64)
    states, last = layer(sequence)
    expected = reference_ln_lstm(layer, sequence, 0)
    # float64: only the order of additions differs
    torch.testing.assert_close(states, torch.stack(expected, 1), rtol=0, atol=1e-10)
    torch.testing.assert_close(last, expected[-1], rtol=0, atol=1e-10)


def test_layer_norm_lstm_in_two_directions_reads_the_sequence_from_both_ends():
    layer = LayerNormLSTM(4, 3, bidirectional=True).double()
    randomise(layer)
    sequence = torch.randn(2, 5, 4, dtype=torch.float64)
    states, last = layer(sequence)
    forward = reference_ln_lstm(layer, sequence, 0)
    backward = reference_ln_lstm(layer, sequence.flip(1), 1)
    assert states.shape == (2, 5, 6)
    torch.testing.assert_close(states[..., :3], torch.stack(forward, 1), rtol=0, atol=1e-10)
    torch.testing.assert_close(states[..., 3:], torch.stack(backward[::-1], 1), rtol=0, atol=1e-10)
    torch.testing.assert_close(last, torch.cat([forward[-1], backward[-1]], 1), rtol=0, atol=1e-10)


def test_dropout_of_the_candidate_forgets_what_enters():
    """With all candidates dropped nothing enters a cell, which begins at 0."""
    layer = LayerNormLSTM(6, 5, dropout=1.0).train()
    states, _ = layer(torch.randn(3, 7, 6))
    assert (states == 0).all()
    assert (layer.eval()(torch.randn(3, 7, 6))[0] != 0).any()


def test_lstm_without_the_norm_is_torchs_own(monkeypatch):
    """With the norm made the identity, the layer must be torch.nn.LSTM: its gate order and scan are the usual ones."""
    layer = LayerNormLSTM(6, 5, bidirectional=True).double()
    layer.shift.data.zero_()
    monkeypatch.setattr("torch.nn.functional.layer_norm", lambda values, shape: values)
    reference = torch.nn.LSTM(6, 5, bias=False, bidirectional=True, batch_first=True).double()
    with torch.no_grad():
        for direction, suffix in enumerate(("", "_reverse")):
            getattr(reference, f"weight_ih_l0{suffix}").copy_(layer.input_weight[direction * 20 : direction * 20 + 20])
            getattr(reference, f"weight_hh_l0{suffix}").copy_(layer.hidden_weight[direction])
    sequence = torch.randn(2, 4, 6, dtype=torch.float64)
    states, last = layer(sequence)
    expected, (hidden, _) = reference(sequence)
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(last, hidden.transpose(0, 1).reshape(2, -1), rtol=0, atol=1e-10)


def reference_sru(sequence: np.ndarray, weight: np.ndarray, bias: np.ndarray, hidden_size: int) -> np.ndarray:
    """Zheng et al., eq. 11-15, one video, one step and one unit at a time."""

    def sigmoid(value: float) -> float:
        return 1 / (1 + np.exp(-value))

    out = np.zeros((*sequence.shape[:2], hidden_size))
    for video, steps in enumerate(sequence):
        c = np.zeros(hidden_size)
        for t, x in enumerate(steps):
            z = weight @ x
            for u in range(hidden_size):
                new = z[u]
                f = sigmoid(z[hidden_size + u] + bias[0, u])
                r = sigmoid(z[2 * hidden_size + u] + bias[1, u])
                c[u] = f * c[u] + (1 - f) * new
                highway = x[u] if len(x) == hidden_size else z[3 * hidden_size + u]
                out[video, t, u] = r * np.tanh(c[u]) + (1 - r) * highway
    return out


@pytest.mark.parametrize("width", [4, 6], ids=["equal widths", "projected highway"])
def test_sru_layer_is_the_papers_loop(width):
    layer = SRULayer(width, 4).double()
    randomise(layer)
    sequence = torch.randn(2, 5, width, dtype=torch.float64)
    expected = reference_sru(sequence.numpy(), layer.weight.detach().numpy(), layer.bias.detach().numpy(), 4)
    np.testing.assert_allclose(layer(sequence).detach().numpy(), expected, rtol=0, atol=1e-10)


def test_sru_rescales_a_highway_that_is_not_projected():
    """Shut gates, f = r = 0, let the highway through alone."""
    for width, factor in ((4, 3**0.5), (6, 1.0)):
        layer, sequence = SRULayer(width, 4, rescale=True), torch.randn(2, 5, width)
        with torch.no_grad():
            layer.bias.fill_(-30.0)
        highway = sequence if width == 4 else sequence @ layer.weight[-4:].T
        torch.testing.assert_close(layer(sequence), factor * highway)


def test_sru_stacks_its_layers():
    stack = SRU(6, 4, layers=3).double()
    randomise(stack)
    sequence = torch.randn(2, 5, 6, dtype=torch.float64)
    expected = sequence.numpy()
    for layer in stack.layers:
        expected = reference_sru(expected, layer.weight.detach().numpy(), layer.bias.detach().numpy(), 4)
    np.testing.assert_allclose(stack(sequence).detach().numpy(), expected, rtol=0, atol=1e-10)
    assert [tuple(layer.weight.shape) for layer in stack.layers] == [(16, 6), (12, 4), (12, 4)]


def test_sru_dropout_hides_the_same_units_at_every_step_and_is_off_in_evaluation():
    layer = SRULayer(64, 64, dropout=0.5)
    sequence = torch.ones(1, 3, 64)
    with torch.no_grad():
        layer.bias.fill_(-20.0)  # both gates shut: f = r = 0, so that h = R_t exactly, whatever the dropout
        torch.testing.assert_close(layer.train()(sequence), sequence)
        layer.bias[1].fill_(20.0)  # r = 1: h = tanh(W R_t), and every step sees the same units
        states = layer(sequence)
        assert not torch.allclose(states, layer.eval()(sequence), atol=1e-3)
        torch.testing.assert_close(states[:, 0], states[:, 2])


def test_interleave_alternates_channels():
    rgb = torch.tensor([1.0, 2.0]).view(1, 1, 2, 1, 1)
    flow = torch.tensor([10.0, 20.0]).view(1, 1, 2, 1, 1)
    assert interleave([rgb, flow]).flatten().tolist() == [1.0, 10.0, 2.0, 20.0]


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_fusion_with_an_identity_kernel_sums_matching_channels(streams):
    fusion = Fusion3d(5, streams=streams)
    fusion.start_as_sum(noise=0.0)
    maps = [torch.randn(2, 4, 5, 3, 3) for _ in range(streams)]
    # exact but for the order in which float32 products with 0 and 1 are added
    torch.testing.assert_close(fusion(maps), sum(maps), rtol=0, atol=1e-6)


def test_fusion_convolves_over_time_and_space_with_zeros_outside():
    """One output value from the definition of a 3×3×3 convolution, at a corner in time and space."""
    fusion = Fusion3d(2, start="random").double()
    maps = [torch.randn(1, 3, 2, 3, 3, dtype=torch.float64) for _ in range(2)]
    volume = torch.stack([maps[0][0, :, 0], maps[1][0, :, 0], maps[0][0, :, 1], maps[1][0, :, 1]])  # (4, N, H, W)
    kernel, bias = fusion.convolution.weight[1], fusion.convolution.bias[1]
    expected = bias + sum(
        kernel[c, n + 1, h + 1, w + 1] * volume[c, n, h, w]
        for c in range(4)
        for n in range(2)
        for h in range(2)
        for w in range(2)
    )
    torch.testing.assert_close(fusion(maps)[0, 0, 1, 0, 0], expected, rtol=0, atol=1e-12)


def test_pyramid_holds_the_papers_175_616_values():
    assert temporal_pyramid(torch.zeros(1, 8, 512, 7, 7)).numel() == 175_616


def test_pyramid_means_over_one_two_and_four_spans():
    steps = torch.arange(8.0).view(1, 8, 1)
    assert temporal_pyramid(steps).flatten().tolist() == [3.5, 1.5, 5.5, 0.5, 2.5, 4.5, 6.5]
    assert temporal_pyramid(steps, levels=(2,)).shape == (1, 2, 1)


def test_mst3d_concatenates_three_scales_that_reach_as_far_as_their_kernels():
    layer = MultiScaleConv3d(2, 4)
    assert [tuple(branch.space.weight.shape) for branch in layer.branches] == [
        (4, 2, 1, 1, 1),
        (4, 2, 1, 3, 3),
        (4, 2, 1, 5, 5),
    ]
    assert [tuple(branch.time.weight.shape) for branch in layer.branches] == [
        (4, 4, 3, 1, 1),
        (4, 4, 3, 1, 1),
        (4, 4, 5, 1, 1),
    ]
    volume = torch.randn(1, 2, 7, 7, 7, requires_grad=True)
    out = layer(volume)
    assert out.shape == (1, 12, 7, 7, 7)
    reach = []
    for branch in layer.branches:
        # the pair is linear before its ReLU: its gradient at the centre shows which inputs the centre sees
        centre = branch.time(branch.space(volume))[0, :, 3, 3, 3].sum()
        (gradient,) = torch.autograd.grad(centre, volume)
        seen = gradient[0].abs().sum(0) > 0
        reach.append((int(seen.any(2).any(1).sum()), int(seen.any(2).any(0).sum())))
    assert reach == [(3, 1), (3, 3), (5, 5)]


def test_a_stores_cost_is_told_from_its_shapes():
    """temporal-pyramid's paper store of UCF101: 24 steps of 512·(14² + 28²) values of two bytes, 13 320 videos."""
    from avr.heads import store_bytes
    from avr.heads.temporal_pyramid import HEAD

    assert store_bytes(HEAD.paper_shapes, videos=1) == 24_084_480
    assert store_bytes(HEAD.paper_shapes, videos=13_320, views=2) == 2 * 13_320 * 24_084_480
