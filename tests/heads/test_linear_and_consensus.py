"""The single-stream heads: what they compute, and how they are one another's limits."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from avr.core import UsageError, grouped_folds
from avr.heads import MemoryExamples, build_head, head_class, predict, train, train_run

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


@pytest.fixture(scope="module")
def uneven():
    """90 videos of one to three views, more channels than training views or fewer; classes of 45, 30 and 15 videos;
    15 groups of six."""
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(3), (45, 30, 15))
    views = random.integers(1, 4, 90)
    centres = random.normal(size=(3, 8, 1))

    def make(width: int) -> MemoryExamples:
        noise = random.normal(size=(int(views.sum()), 4, width))
        seen = np.repeat(np.resize(centres[:, :, 0], (3, width))[labels], views, axis=0)[:, None]
        arrays = {"rgb": (0.4 * seen + noise).astype(np.float32)}
        return MemoryExamples(arrays, views, labels, device=torch.device("cpu"))

    return make


def fit(examples: MemoryExamples, **settings):
    """A head trained on all videos but the first ten, and its log."""
    training = dataclasses.replace(head_class("linear").defaults, **settings)
    head, groups = build_head("linear", examples.shapes, 3), np.arange(90) % 15
    videos = np.arange(10, 90)
    return head, train(head, examples, videos, training=training, groups=groups, names=groups.astype(str), seed=3).rows


@pytest.mark.parametrize(
    ("width", "balanced", "standardise"), [(6, False, False), (6, False, True), (300, True, False), (300, True, True)]
)
def test_linear_is_scikit_learns_logistic_regression(uneven, width, balanced, standardise):
    """Each video weighs the same, whatever its views; or each class."""
    examples = uneven(width)
    weights = "balanced" if balanced else "none"
    head, rows = fit(examples, weight_decay=0.05, class_weights=weights, standardise=standardise)
    owner = np.repeat(np.arange(90), examples.rows)
    vectors = examples.arrays["rgb"].mean(1).numpy()
    if standardise:
        vectors = StandardScaler().fit(vectors[owner >= 10]).transform(vectors)
    seen, labels = owner >= 10, examples.labels[owner]
    share = 1 / examples.rows[owner]
    if balanced:
        share = share / np.bincount(examples.labels[10:])[labels]
    share = share[seen] / share[seen].sum()
    theirs = LogisticRegression(C=1 / 0.05, tol=1e-8, max_iter=5000).fit(vectors[seen], labels[seen], share)
    logs = theirs.predict_log_proba(vectors[seen])
    with torch.no_grad():
        ours = torch.log_softmax(head({"rgb": examples.arrays["rgb"]})["rgb"], 1)[seen]
    np.testing.assert_allclose(ours, logs, atol=0.01)
    expected = -share @ logs[np.arange(len(logs)), labels[seen]]
    assert [row["weight_decay"] for row in rows] == [0.05]
    assert rows[-1]["loss"] == pytest.approx(expected, abs=1e-4)


def test_linear_chooses_the_weight_decay_that_scikit_learn_would_by_the_same_folds(uneven):
    examples = uneven(300)
    _, rows = fit(examples, standardise=False)
    path, chosen = rows[:-1], rows[-1]["weight_decay"]
    owner = np.repeat(np.arange(90), examples.rows)
    vectors = examples.arrays["rgb"].mean(1).numpy()
    fold = grouped_folds(examples.labels[10:], groups=np.arange(10, 90) % 15, folds=5, seed=3)
    fold_of = np.concatenate([np.full(10, -1), fold])[owner]
    losses = []
    for row in path:
        found = []
        for held in range(5):
            seen, out = (fold_of >= 0) & (fold_of != held), fold_of == held
            share = 1 / examples.rows[owner]
            theirs = LogisticRegression(C=1 / row["weight_decay"], max_iter=500)
            theirs.fit(vectors[seen], examples.labels[owner][seen], share[seen] / share[seen].sum())
            scores = theirs.predict_proba(vectors[out])
            found.append(log_loss(examples.labels[owner][out], scores, sample_weight=share[out]))
        losses.append(np.mean(found))
    np.testing.assert_allclose([row["validation_loss"] for row in path], losses, atol=0.01)
    assert chosen == path[int(np.argmin(losses))]["weight_decay"]
    assert path[0]["weight_decay"] > chosen > path[-1]["weight_decay"]


def test_linear_of_one_group_takes_a_weight_decay_without_choosing(uneven):
    examples = uneven(6)
    groups = np.zeros(90)
    head = build_head("linear", examples.shapes, 3)
    rows = train(
        head, examples, np.arange(90), training=head.defaults, groups=groups, names=groups.astype(str), seed=0
    ).rows
    assert [row["weight_decay"] for row in rows] == [0.1]


@pytest.mark.parametrize(
    ("head", "options"), [("stfn", {}), ("linear", {"dropout": 0.5}), ("consensus", {"over": "maximum", "dropout": 0})]
)
def test_lbfgs_is_refused_where_the_problem_is_not_convex(toy_store, tmp_path, head, options):
    with pytest.raises(UsageError, match="optimizer lbfgs solves a convex problem"):
        train_run(toy_store, head, options=options, training={"optimizer": "lbfgs"}, out=tmp_path / "run")


def test_balanced_class_weights_reach_every_heads_loss(uneven):
    """A head that learns nothing but its biases says each class alike, or as often as it is there."""
    examples = uneven(6)
    examples = MemoryExamples(
        {"rgb": examples.arrays["rgb"] * 0}, examples.rows, examples.labels, device=torch.device("cpu")
    )
    groups = np.arange(90)
    found = {}
    for weights in ("none", "balanced"):
        head = build_head("consensus", examples.shapes, 3, options={"dropout": 0})
        training = dataclasses.replace(
            head.defaults, class_weights=weights, batch_size=0, steps=150, lr=0.1, weight_decay=0.0
        )
        train(head, examples, groups, training=training, groups=groups, names=groups.astype(str), seed=0)
        found[weights] = np.exp(predict(head, examples, groups[:1])["rgb"][0])
    np.testing.assert_allclose(found["none"], [1 / 2, 1 / 3, 1 / 6], atol=0.02)
    np.testing.assert_allclose(found["balanced"], [1 / 3] * 3, atol=0.02)


def test_scores_of_no_class_take_no_class_weight():
    head = build_head("consensus", {"rgb": (4, 6)}, 3)
    head.class_weights = torch.tensor([1.0, 2.0, 3.0])
    scores, labels = torch.randn(5, 7), torch.tensor([0, 1, 2, 2, 0])
    expected = torch.nn.functional.cross_entropy(scores, labels, weight=torch.tensor([1.0, 2, 3, 9, 9, 9, 9]))
    torch.testing.assert_close(head.cross_entropy(scores, labels), expected)


def test_no_epochs_leave_the_weights_as_drawn(uneven):
    examples = uneven(6)
    head, rows = fit(examples, epochs=0)
    assert not rows
    assert any(weight.abs().sum() for weight in head.parameters())


def test_a_training_ends_where_its_loss_is_nil(uneven):
    examples = uneven(300)
    groups = np.arange(90)
    head = build_head("consensus", examples.shapes, 3, options={"dropout": 0})
    training = dataclasses.replace(head.defaults, weight_decay=0.0, epochs=500, lr=0.1, schedule="constant")
    rows = train(head, examples, groups, training=training, groups=groups, names=groups.astype(str), seed=0).rows
    assert len(rows) < 100
    assert rows[-1]["loss"] < 1e-4 <= rows[-2]["loss"]
