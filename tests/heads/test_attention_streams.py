"""GLKA's attention, composites, fusion and regulariser against plain NumPy from Zheng et al. 2020, eq. 2-20."""

import numpy as np
import pytest
import torch

from avr.core import UsageError
from avr.heads import load_checkpoint, save_tensors
from avr.heads.attention_streams import HEAD as AttentionStreams
from avr.heads.attention_streams import statistic_attention, weighted_sum

SHAPE = (4, 6, 3, 2)  # N, C, H, W


def make(shapes=None, **options):
    settings = {"hidden": 5, "layers": 2, "attention_hidden": 7, "sa": "sum", **options}
    head = AttentionStreams(shapes or {"rgb": SHAPE}, 3, **settings).double().eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=0.5)
    return head


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values - values.max()) / np.exp(values - values.max()).sum()


def pooled_by_equations(head, maps: np.ndarray) -> dict[str, np.ndarray]:
    """R_GP, R_SA, R_LA of one frame (C, H, W), position by position."""
    C, H, W = maps.shape
    W_0, b_0 = head.learned["rgb"].first.weight.detach().numpy(), head.learned["rgb"].first.bias.detach().numpy()
    W_1 = head.learned["rgb"].second.weight.detach().numpy()
    M_SA, M_LA = np.zeros((H, W)), np.zeros((H, W))
    for h in range(H):
        for w in range(W):
            M_SA[h, w] = sum(abs(maps[c, h, w]) ** 2 for c in range(C))
            M_LA[h, w] = (W_1 @ np.tanh(W_0 @ maps[:, h, w] + b_0)).item()
    T_SA, T_LA = softmax(M_SA), softmax(M_LA)
    return {
        "gp": maps.reshape(C, -1).mean(1),
        "sa": sum(T_SA[h, w] * maps[:, h, w] for h in range(H) for w in range(W)),
        "la": sum(T_LA[h, w] * maps[:, h, w] for h in range(H) for w in range(W)),
        "T_SA": T_SA,
        "T_LA": T_LA,
    }


def test_attention_and_pooling_are_the_papers_equations():
    head, maps = make(), torch.randn(2, *SHAPE, dtype=torch.float64)
    pooled, weights = head._pool("rgb", maps), head.attention({"rgb": maps})
    for video in range(2):
        for step in range(4):
            expected = pooled_by_equations(head, maps[video, step].numpy())
            for name in ("gp", "sa", "la"):
                np.testing.assert_allclose(pooled[name][video, step].detach(), expected[name], rtol=0, atol=1e-10)
            np.testing.assert_allclose(weights["rgb-sa"][video, step], expected["T_SA"], rtol=0, atol=1e-10)
            np.testing.assert_allclose(weights["rgb-la"][video, step].detach(), expected["T_LA"], rtol=0, atol=1e-10)


def test_statistic_attention_has_no_overflow_where_maps_are_large():
    maps = torch.full((1, 1, 512, 2, 2), 60.0, dtype=torch.float16)  # Σ|F|² = 1.8 million, beyond fp16
    weights = statistic_attention(maps)
    torch.testing.assert_close(weights, torch.full((1, 1, 2, 2), 0.25, dtype=torch.float16))
    torch.testing.assert_close(weighted_sum(maps, weights), maps[..., 0, 0])


@pytest.mark.parametrize(
    ("composite", "join"),
    [
        ("concatenate", lambda a, b: np.concatenate([a, b])),
        ("max", np.maximum),
        ("multiply", lambda a, b: a * b),
        ("average", lambda a, b: (a + b) / 2),
    ],
)
def test_composites_join_global_and_local(composite, join):
    head, maps = make(branches="gs", regularise=False, composite=composite), torch.randn(1, *SHAPE).double()
    vectors = [pooled_by_equations(make(branches="la"), frame.numpy()) for frame in maps[0]]
    sequence = torch.tensor(np.stack([join(v["gp"], v["sa"]) for v in vectors]))[None]
    states = head.recurrent["rgb-gs"](sequence)
    per_step = head.readouts["rgb-gs"](states)[0]  # eq. 16: linear at each step, then the mean
    torch.testing.assert_close(head({"rgb": maps})["rgb-gs"][0], per_step.mean(0), rtol=0, atol=1e-10)


def test_learnt_statistic_attention_is_a_softmax_of_the_raw_maps_relative_energy():
    head, raw = make(branches="sa", sa="learnt"), torch.randn(2, *SHAPE).double() + 1
    mean, deviation = torch.randn(6).double(), torch.rand(6).double() + 1
    head.set_statistics("rgb", mean, deviation)
    weights = head.attend({"rgb": raw})["rgb-sa"].detach().numpy()  # which standardises first
    s, expected = head.statistic["rgb"].sharpness.item(), np.zeros((2, 4, 3, 2))
    mean_energy = np.mean([mean[c] ** 2 + deviation[c] ** 2 for c in range(6)])
    for video, step in np.ndindex(2, 4):
        energy = [np.mean(raw[video, step, :, h, w].numpy() ** 2) for h in range(3) for w in range(2)]
        expected[video, step] = softmax(s * np.array(energy) / mean_energy).reshape(3, 2)
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-6)  # buffers are float32 once


def test_learnt_statistic_attention_does_not_see_the_maps_scale_and_learns_its_sharpness():
    head, maps = make(branches="sa", sa="learnt"), torch.randn(2, *SHAPE).double()
    mean, deviation = torch.zeros(6).double(), torch.ones(6).double()
    seen = []
    for scale in (1.0, 100.0):
        head.set_statistics("rgb", scale * mean, scale * deviation, standardise=False)
        assert (head.mean_rgb == 0).all()
        assert (head.scale_rgb == 1).all()
        seen.append(head.attend({"rgb": scale * maps})["rgb-sa"])
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-6, atol=1e-8)
    head.loss(head({"rgb": 100 * maps}), torch.tensor([2, 0])).backward()
    assert head.statistic["rgb"].sharpness.grad.abs() > 0


def test_fusion_is_the_mean_of_probabilities_or_of_logits():
    batch = {"rgb": torch.randn(2, *SHAPE).double()}
    for fusion, expected in (("average", lambda z: z.softmax(-1).mean(0)), ("logits", lambda z: z.mean(0).softmax(-1))):
        outputs = make(branches="gp+sa+la", fusion=fusion)(batch)
        logits = torch.stack([outputs[f"rgb-{name}"] for name in ("gp", "sa", "la")])
        torch.testing.assert_close(outputs["fused"].softmax(1).double(), expected(logits), rtol=1e-5, atol=1e-6)


def test_options_of_the_published_code():
    maps = torch.randn(2, *SHAPE).double()
    head = make(branches="la", la_tanh=True)
    layer = head.learned["rgb"]
    scores = np.tanh(
        maps.permute(0, 1, 3, 4, 2).numpy() @ layer.first.weight.detach().numpy().T + layer.first.bias.detach().numpy()
    )
    scores = np.tanh(scores @ layer.second.weight.detach().numpy()[0] + layer.second.bias.item())
    expected = np.exp(scores) / np.exp(scores).sum((2, 3), keepdims=True)
    np.testing.assert_allclose(layer(maps).detach(), expected, rtol=0, atol=1e-12)
    dropping = make(branches="gp", readout_dropout=1.0, dropout=0.0).train()
    bias = dropping.readouts["rgb-gp"].bias
    torch.testing.assert_close(dropping({"rgb": maps})["rgb-gp"], bias.expand(2, -1))


def test_loss_adds_the_hinge_on_the_true_class_for_each_attention_branch():
    head, labels = make(), torch.tensor([2, 0])
    outputs = head({"rgb": torch.randn(2, *SHAPE).double()})
    probability = {name: outputs[f"rgb-{name}"].softmax(1).detach().numpy() for name in ("gp", "gs", "gl")}
    expected = 0.0
    for video, label in enumerate(labels.tolist()):
        fused = sum(p[video, label] for p in probability.values()) / 3
        expected -= np.log(fused) / 2
        for name in ("gs", "gl"):
            expected += max(0.0, probability["gp"][video, label] - probability[name][video, label] + 0.1) / 2
    np.testing.assert_allclose(head.loss(outputs, labels).item(), expected, rtol=1e-5)  # in float32


def test_without_regulariser_the_loss_is_cross_entropy_alone():
    head, labels = make(regularise=False), torch.tensor([2, 0])
    outputs = head({"rgb": torch.randn(2, *SHAPE).double()})
    torch.testing.assert_close(head.loss(outputs, labels), torch.nn.functional.nll_loss(outputs["fused"], labels))


@pytest.mark.parametrize("branches", ["gp+sa+la", "gp+la"])
def test_branches_without_composites_learn_as_if_alone(branches):
    """The loss is the sum of their own, and no branch's gradient depends on another's weights."""
    head, labels, batch = make(branches=branches), torch.tensor([2, 0]), {"rgb": torch.randn(2, *SHAPE).double()}

    def gradients() -> list[torch.Tensor]:
        parts = (head.recurrent["rgb-la"], head.readouts["rgb-la"], head.learned["rgb"])
        weights = [weight for part in parts for weight in part.parameters()]
        return torch.autograd.grad(head.loss(head(batch), labels), weights)

    outputs, before = head(batch), gradients()
    expected = sum(torch.nn.functional.cross_entropy(outputs[f"rgb-{name}"].float(), labels) for name in head.branches)
    torch.testing.assert_close(head.loss(outputs, labels), expected)
    with torch.no_grad():
        head.readouts["rgb-gp"].weight.add_(1.0)
    for one, other in zip(before, gradients(), strict=True):
        assert one.abs().sum() > 0
        assert torch.equal(one, other)


def test_a_reference_apart_learns_by_its_own_loss_and_not_from_the_hinge():
    head, labels = make(branches="gs"), torch.tensor([2, 0])
    batch = {"rgb": torch.randn(2, *SHAPE).double()}
    outputs = head(batch)
    assert set(outputs) == {"rgb-gs", "rgb-gp", "fused"}
    torch.testing.assert_close(outputs["fused"], torch.log_softmax(outputs["rgb-gs"].float(), 1))
    reference = head.readouts["rgb-gp"].weight
    (by_loss,) = torch.autograd.grad(head.loss(outputs, labels), reference)
    (alone,) = torch.autograd.grad(head.cross_entropy(head(batch)["rgb-gp"], labels), reference)
    torch.testing.assert_close(by_loss, alone)
    assert alone.abs().sum() > 0


def test_several_streams_each_have_their_branches():
    shapes = {"rgb": SHAPE, "flow": (4, 5, 2, 2)}
    head = make(shapes, branches="gp+la")
    outputs = head({stream: torch.randn(2, *shape).double() for stream, shape in shapes.items()})
    assert set(outputs) == {"rgb-gp", "rgb-la", "flow-gp", "flow-la", "fused"}
    mean = torch.stack([outputs[name].softmax(1) for name in outputs if name != "fused"]).mean(0)
    torch.testing.assert_close(outputs["fused"].exp().double(), mean, rtol=1e-5, atol=1e-6)  # in float32


def test_defaults_are_the_papers_sizes():
    head = AttentionStreams({"rgb": (30, 512, 7, 7)}, 51)
    assert [tuple(layer.weight.shape) for layer in head.recurrent["rgb-gs"].layers] == [(3072, 1024)] * 3
    assert [layer.weight.shape[1] for layer in head.recurrent["rgb-gp"].layers] == [512, 1024, 1024]
    assert head.recurrent["rgb-gl"].layers[0].dropout == 0.6
    assert head.learned["rgb"].first.weight.shape == (128, 512)


def test_pooled_layers_are_refused():
    with pytest.raises(UsageError, match=r"layer read of rgb is pooled: .* --layers pooled,map$"):
        AttentionStreams({"rgb": (4, 512)}, 3)


def test_a_checkpoint_of_before_has_the_attention_that_it_was_trained_with(tmp_path):
    options = {"branches": "sa", "hidden": 5, "layers": 1, "sa": "sum"}
    head = AttentionStreams({"rgb": SHAPE}, 3, **options).eval()
    about = {"head": "attention-streams", "shapes": {"rgb": list(SHAPE)}, "class_names": ["a", "b", "c"]}
    about["options"] = {name: value for name, value in options.items() if name != "sa"}  # which it does not name
    save_tensors(tmp_path / "checkpoint.safetensors", head.state_dict(), about)
    again, _ = load_checkpoint(tmp_path / "checkpoint.safetensors")
    maps = {"rgb": torch.randn(2, *SHAPE)}
    assert torch.equal(again(maps)["fused"], head(maps)["fused"])
