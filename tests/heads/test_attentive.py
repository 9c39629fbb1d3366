"""The attentive probe against its equations written plainly, on every kind of layer; that it finds what to look at."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from avr.heads import build_head, load_run, train_run
from avr.heads.attentive import QueryAttention
from avr.store import FeatureStore

LAYERS = {"pooled": (4, 12), "tokens": (4, 6, 12), "map": (4, 12, 2, 3)}
TIGHT = {"rtol": 0, "atol": 1e-12}


def make(shape, **options):
    """A probe of random weights, in float64."""
    head = build_head("attentive", {"rgb": shape}, 5, options=options).double().eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=0.5)
    return head


def as_items(features):
    """All positions of all segments as rows, `(B, n, D)`."""
    if features.dim() == 5:
        features = features.permute(0, 1, 3, 4, 2)
    return features.reshape(len(features), -1, features.shape[-1])


def test_attention_of_one_query_is_torchs_multi_head_attention():
    ours = QueryAttention(12, heads=4).double()
    theirs = torch.nn.MultiheadAttention(12, 4, batch_first=True).double()
    three = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([layer.weight for layer in three]))
        # whatever the keys' bias is, the softmax takes it away
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, torch.ones(12), ours.value.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    query, items = torch.randn(12).double(), torch.randn(3, 5, 12).double()
    found, weights = ours(query, items)
    expected, shares = theirs(query.expand(3, 1, 12), items, items, average_attn_weights=False)
    torch.testing.assert_close(found, expected[:, 0], **TIGHT)
    torch.testing.assert_close(weights, shares[:, :, 0], **TIGHT)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("width", [0, 8])
def test_scores_are_the_papers_block_on_all_positions(layer, width):
    head, features = make(LAYERS[layer], heads=4, width=width), torch.randn(3, *LAYERS[layer]).double()
    items = head.project(as_items(features))
    block, D = head.attend_to, width or 12
    normed = F.layer_norm(items, (D,), head.norm_items.weight, head.norm_items.bias)
    query = block.query(head.query).view(4, D // 4)
    keys, values = (layer(normed).unflatten(-1, (4, D // 4)) for layer in (block.key, block.value))  # (B, n, heads, d)
    weights = torch.softmax(torch.einsum("hd,bnhd->bhn", query, keys) / math.sqrt(D // 4), dim=-1)
    attended = block.out(torch.einsum("bhn,bnhd->bhd", weights, values).flatten(1))
    z = head.query + attended
    normed = F.layer_norm(z, (D,), head.norm_attended.weight, head.norm_attended.bias)
    z = z + head.contract(F.gelu(head.expand(normed)))
    torch.testing.assert_close(head({"rgb": features})["rgb"], head.classifier(z), **TIGHT)
    shown = weights.mean(1).view(3, 4, -1)  # (B, N, P)
    shown = shown.view(3, 4, 2, 3) if layer == "map" else shown.sum(2)
    torch.testing.assert_close(head.attend({"rgb": features})["rgb"], shown, **TIGHT)


@pytest.mark.parametrize(("width", "heads"), [(12, 12), (10, 10), (7, 7), (34, 2), (64, 16), (1280, 16)])
def test_as_many_heads_as_divide_the_width(width, heads):
    with torch.device("meta"):
        assert (
            build_head("attentive", {"rgb": (2, width)}, 3, options={"heads": 16, "width": 0}).attend_to.heads == heads
        )


@pytest.mark.parametrize("layers", [{"rgb": "pooled"}, {"rgb": "map"}])
def test_a_run_on_two_streams_says_where_each_looks(toy_store_of_views, tmp_path, layers):
    faster = {"lr": 0.01}  # the default is for wide features
    result = train_run(toy_store_of_views, "attentive", layers=layers, training=faster, folds=0, out=tmp_path / "run")
    assert result.summary["average"]["top1"] >= 0.85  # a stream alone reaches a half
    head = load_run(result.folder).head
    with FeatureStore(toy_store_of_views) as store:
        features = {
            stream: torch.as_tensor(store.read(stream, layer, [0]).astype(np.float32))
            for stream, layer in result.layers.items()
        }
    weights = head.attend(features)
    assert list(weights) == ["rgb", "flow"]
    assert weights["flow"].shape == (3, 4)
    assert weights["rgb"].shape == ((3, 4) if layers["rgb"] == "pooled" else (3, 4, 2, 2))
    for stream, values in weights.items():
        torch.testing.assert_close(values.flatten(1).sum(1), torch.ones(3))
        own = head.heads[stream].attend({stream: features[stream]})  # by its own training videos' statistics
        torch.testing.assert_close(values, own[stream])


def test_it_looks_at_the_position_that_tells_the_class_which_a_mean_loses():
    """One token of 32, marked, says the class; the others say any, as strongly."""
    random = np.random.default_rng(0)
    labels = np.arange(240) % 3
    tokens = np.concatenate([3 * np.eye(3)[random.integers(3, size=(240, 32))], np.zeros((240, 32, 5))], axis=2)
    marked = random.integers(32, size=240)
    tokens[np.arange(240), marked, :3] = 3 * np.eye(3)[labels]
    tokens[np.arange(240), marked, 3] = 6
    features = torch.as_tensor(tokens + 0.3 * random.normal(size=tokens.shape)).float().unflatten(1, (4, 8))
    right = {}
    for name in ("linear", "attentive"):
        torch.manual_seed(0)
        head = build_head(name, {"rgb": (4, 8, 8)}, 3, options={"dropout": 0.0})
        optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=0.1)
        for _ in range(300):
            optimizer.zero_grad()
            torch.autograd.backward(
                head.loss(head({"rgb": features[:160]}), torch.as_tensor(labels[:160])), inputs=list(head.parameters())
            )
            optimizer.step()
        head.eval()
        scores = head({"rgb": features[160:]})["rgb"]
        right[name] = (scores.argmax(1).numpy() == labels[160:]).mean()
    assert right["linear"] < 0.7
    assert right["attentive"] > 0.9
    looked = head.attend({"rgb": features[160:]})["rgb"].argmax(1).numpy()  # the segment, of 8 tokens each
    assert (looked == marked[160:] // 8).mean() > 0.9
