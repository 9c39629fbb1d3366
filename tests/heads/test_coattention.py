"""Co-attention against plain NumPy written from Liu et al. 2022, eq. 1-3 and Algorithm 1."""

from functools import partial

import numpy as np
import pytest
import torch

from avr.core import UsageError
from avr.fusion import fuse_features
from avr.heads import train_run
from avr.heads.coattention import HEAD as CoAttention
from avr.heads.coattention import CoAttentionOperation
from avr.store import FeatureStore, vectors_path

TIGHT = {"rtol": 0, "atol": 1e-10}  # float64: only the order of additions differs


def attend(operation, K: np.ndarray, g: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """A(K; g) for one video, items as columns as in the paper: K is (D, n)."""
    W_k = operation.items.weight.detach().numpy()
    W_g = operation.guide.weight.detach().numpy()
    w_hk = operation.score.weight.detach().numpy().T  # (hidden, 1)
    g = np.zeros(W_g.shape[1]) if g is None else g
    H = np.tanh(W_k @ K + (W_g @ g)[:, None] @ np.ones((1, K.shape[1])))
    z = (w_hk.T @ H)[0]
    a = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    return sum(a[i] * K[:, i] for i in range(K.shape[1])), a


def make(shapes, **options):
    head = CoAttention(shapes, 4, hidden=6, reduced=5, expanded=7, **options).double().eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    return head


def features(shapes, B=3):
    return {stream: torch.randn(B, *shape, dtype=torch.float64) for stream, shape in shapes.items()}


@pytest.mark.parametrize("start", ["attend", "uniform"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_two_streams_alternate_as_in_the_paper(start, rounds):
    shapes = {"rgb": (5, 8), "flow": (4, 3)}
    head, batch = make(shapes, start=start, rounds=rounds), features(shapes)
    attended, weights = head.alternate(head.items(batch))
    for video in range(3):
        S, T = batch["rgb"][video].numpy().T, batch["flow"][video].numpy().T
        s_hat = attend(head.operations["rgb"], S, None)[0] if start == "attend" else S.mean(1)
        for _ in range(rounds):
            t_hat, a_t = attend(head.operations["flow"], T, s_hat)
            s_hat, a_s = attend(head.operations["rgb"], S, t_hat)
        np.testing.assert_allclose(attended["rgb"][video].detach().numpy(), s_hat, **TIGHT)
        np.testing.assert_allclose(attended["flow"][video].detach().numpy(), t_hat, **TIGHT)
        np.testing.assert_allclose(weights["rgb"][video].detach().numpy(), a_s, **TIGHT)
        np.testing.assert_allclose(weights["flow"][video].detach().numpy(), a_t, **TIGHT)


def test_three_streams_go_round_the_ring():
    shapes = {"rgb": (5, 8), "flow": (4, 3), "pose": (2, 6)}
    head, batch = make(shapes), features(shapes)
    attended, _ = head.alternate(head.items(batch))
    rgb, flow, pose = (batch[stream][0].numpy().T for stream in shapes)
    guide = attend(head.operations["rgb"], rgb, None)[0]
    guide = attend(head.operations["flow"], flow, guide)[0]
    guide = attend(head.operations["pose"], pose, guide)[0]
    np.testing.assert_allclose(attended["pose"][0].detach().numpy(), guide, **TIGHT)
    guide = attend(head.operations["rgb"], rgb, guide)[0]
    np.testing.assert_allclose(attended["rgb"][0].detach().numpy(), guide, **TIGHT)
    assert list(attended) == ["rgb", "flow", "pose"]


def test_scores_are_each_streams_softmax_averaged_and_the_loss_both_cross_entropies():
    shapes = {"rgb": (5, 8), "flow": (5, 8)}
    head, batch = make(shapes), features(shapes)
    outputs = head(batch)
    attended, _ = head.alternate(head.items(batch))
    probabilities = []
    for stream in shapes:
        value = attended[stream].detach().numpy()
        layers = [layer for layer in head.readouts[stream] if isinstance(layer, torch.nn.Linear)]
        assert [layer.out_features for layer in layers] == [5, 7, 4]
        for index, layer in enumerate(layers):
            value = value @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
            value = np.maximum(value, 0) if index < 2 else value
        np.testing.assert_allclose(outputs[stream].detach().numpy(), value, rtol=1e-5, atol=1e-6)
        probabilities.append(np.exp(value) / np.exp(value).sum(1, keepdims=True))
    # fused in float32
    np.testing.assert_allclose(outputs["fused"].exp().detach(), np.mean(probabilities, 0), rtol=1e-5, atol=1e-6)
    labels = torch.tensor([0, 3, 1])
    expected = -sum(np.log(p[range(3), labels]).mean() for p in probabilities)
    np.testing.assert_allclose(head.loss(outputs, labels).detach(), expected, rtol=1e-5)


@pytest.mark.parametrize("over", ["positions", "both"])
def test_attention_over_positions_of_maps(over):
    shapes = {"rgb": (3, 8, 2, 2), "flow": (3, 6, 4, 2)}
    head, batch = make(shapes, over=over), features(shapes, B=2)
    weights = head.attention(batch)
    assert {stream: tuple(w.shape) for stream, w in weights.items()} == {"rgb": (2, 3, 2, 2), "flow": (2, 3, 4, 2)}
    total = weights["flow"].sum((2, 3)) if over == "positions" else weights["flow"].sum((1, 2, 3))
    torch.testing.assert_close(total, torch.ones_like(total))
    # segment 1 of video 0 (positions), or all of video 0 (both), from the equations
    chosen = slice(1, 2) if over == "positions" else slice(0, 3)
    rgb, flow = (batch[stream][0, chosen].numpy().transpose(1, 0, 2, 3) for stream in shapes)
    rgb, flow = rgb.reshape(8, -1), flow.reshape(6, -1)
    summary = attend(head.operations["rgb"], rgb, None)[0]
    t_hat, a_t = attend(head.operations["flow"], flow, summary)
    _, a_s = attend(head.operations["rgb"], rgb, t_hat)
    np.testing.assert_allclose(weights["flow"][0, chosen].detach().numpy().ravel(), a_t, **TIGHT)
    np.testing.assert_allclose(weights["rgb"][0, chosen].detach().numpy().ravel(), a_s, **TIGHT)
    assert head(batch)["fused"].shape == (2, 4)


@pytest.mark.parametrize("over", ["positions", "both"])
def test_tokens_are_positions_too(over):
    maps, tokens = {"rgb": (3, 8, 2, 2), "flow": (3, 6, 4, 2)}, {"rgb": (3, 4, 8), "flow": (3, 8, 6)}
    on_maps, on_tokens, batch = make(maps, over=over), make(tokens, over=over), features(maps)
    on_tokens.load_state_dict(on_maps.state_dict())
    laid = {stream: array.flatten(3).transpose(2, 3) for stream, array in batch.items()}
    torch.testing.assert_close(on_tokens(laid), on_maps(batch))
    summed = {stream: weights.sum((2, 3)) for stream, weights in on_maps.attention(batch).items()}
    torch.testing.assert_close(on_tokens.attention(laid), summed)  # by segment: a store keeps no grid of tokens


def test_maps_are_averaged_for_attention_over_segments():
    maps, pooled = {"rgb": (3, 8, 2, 2), "flow": (3, 8, 2, 2)}, {"rgb": (3, 8), "flow": (3, 8)}
    on_maps, batch = make(maps), features(maps)
    on_vectors = make(pooled)
    on_vectors.load_state_dict(on_maps.state_dict())
    means = {stream: array.mean((3, 4)) for stream, array in batch.items()}
    torch.testing.assert_close(on_maps(batch)["fused"], on_vectors(means)["fused"])
    assert on_maps.attend(batch)["rgb"].shape == (3, 3)


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ({"rgb": (3, 8)}, {}, "at least 2 streams"),
        ({"rgb": (3, 8), "flow": (3, 8)}, {"over": "positions"}, "layer read of rgb, flow is pooled"),
        ({"rgb": (3, 8, 2, 2), "flow": (4, 8, 2, 2)}, {"over": "positions"}, "lengths differ: rgb 3, flow 4"),
    ],
)
def test_what_cannot_be_attended_to_is_refused(shapes, options, message):
    with pytest.raises(UsageError, match=message):
        CoAttention(shapes, 4, **options)


def test_a_run_keeps_its_attended_vectors_and_early_fusion_reads_them(toy_store_of_views, tmp_path):
    """With w_hk = 0 attention is uniform, so that what is kept are the store's own means; other weights keep others."""
    store = toy_store_of_views
    training = {"epochs": 1, "min_steps": 0, "lr": 1e-12, "weight_decay": 0.0, "standardise": False}
    run = partial(train_run, store, "coattention", options={"hidden": 4, "start": "uniform"}, folds=0, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CoAttentionOperation, "forward", lambda self, items, guidance: uniform(items))
        kept = vectors_path(run(training=training, out=tmp_path / "even").folder / "split-1")
    other = vectors_path(
        run(training=training | {"lr": 0.1, "min_steps": 5}, out=tmp_path / "other").folder / "split-1"
    )
    with FeatureStore(store) as whole, FeatureStore(kept) as own, FeatureStore(other) as others:
        assert own.split_names == ("1",)
        assert set(own.arrays) == {"rgb/attended", "flow/attended"}
        places = [whole.ids.tolist().index(video) for video in own.ids]
        assert np.array_equal(np.array(whole.split("1"))[:, places], own.split("1"))
        assert np.array_equal(whole.labels[places], own.labels)
        assert np.array_equal(whole.groups[places], own.groups)
        means = whole.read("rgb", "pooled", np.array(places)).reshape(len(places), -1, 12).mean(1, dtype=np.float64)
        found = own.read("rgb", "attended", np.arange(len(own)))[:, 0]
        np.testing.assert_allclose(found, means, rtol=0, atol=2e-3)  # both are fp16
        assert np.abs(others.read("rgb", "attended", np.arange(len(own)))[:, 0] - means).max() > 0.02
    ours, stores = (
        fuse_features(path, split="1", bootstrap=20, out=tmp_path / name) for path, name in ((kept, "a"), (store, "b"))
    )
    assert [row["top1"] for row in ours.rows] == [row["top1"] for row in stores.rows]
    assert [row["log_loss"] for row in ours.rows] == pytest.approx([row["log_loss"] for row in stores.rows], abs=1e-3)


def test_attended_vectors_keep_that_their_store_was_not_whole(make_store, tmp_path):
    store = make_store(tmp_path / "store")
    for name in ("shard-00000.h5", "index.h5"):
        next(store.rglob(name)).unlink()
    told = {"options": {"hidden": 2}, "training": {"epochs": 1, "min_steps": 0}, "folds": 0}
    run = train_run(store, "coattention", **told, out=tmp_path / "run")
    with FeatureStore(vectors_path(run.folder / "split-1")) as kept:
        assert kept.lacking == run.lacking != ""
        assert kept.complete  # of its own shards


def uniform(items):
    weights = torch.full(items.shape[:2], 1 / items.shape[1])
    return items.mean(1), weights
