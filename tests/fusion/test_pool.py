"""awf's pool against independent small forms, by hand and by gradients; lapse rates; the inner choice."""

import itertools
import json

import numpy as np
import pytest

from avr.core import grouped_folds, log_softmax, write_json
from avr.fusion import load_fuser, make_fuser, save_fuser
from avr.fusion._probabilities import fit_lapses, fit_temperature, with_lapses
from avr.fusion.programs import (
    STRENGTHS,
    ClassPool,
    PoolProgram,
    class_pools,
    first_good,
    held_out_errors,
    shared_exponents,
)
from avr.fusion.programs.select import worse_by

from .conftest import make_scores


def penalised(scores, labels, shared, strength, exponents, biases):
    """What the module's page says is made small, a video and class at a time."""
    _, S, K = scores.shape
    away = scores - scores.mean(axis=2, keepdims=True)
    total = 0.0
    for video, label in zip(away, labels, strict=True):
        fused = [biases[k] + exponents[k] @ video[:, k] for k in range(K)]
        total += np.log(np.exp(fused).sum()) - fused[label]
    for k, s in itertools.product(range(K), range(S)):
        total += strength / 2 * 30 * np.mean(away[:, s] ** 2) * (exponents[k, s] - shared[s]) ** 2
    return total + strength / 2 * (biases**2).sum()


@pytest.mark.parametrize("strength", [0.3, 5.0])
def test_class_pools_are_the_penalised_likeliest(strength):
    from scipy.optimize import minimize

    X, y, _ = make_scores(40, 3, 2, seed=3)
    scores = log_softmax(X)
    shared = shared_exponents(scores, y)
    (found,) = class_pools(scores, y, [strength])

    def loss(unknowns):
        return penalised(scores, y, shared, strength, unknowns[:6].reshape(3, 2), unknowns[6:])

    start = np.concatenate([np.tile(shared, 3), np.zeros(3)])
    expected = minimize(loss, start, method="BFGS", options={"gtol": 1e-4})
    ours = np.concatenate([found.exponents.ravel(), found.biases])
    assert expected.fun <= loss(ours) <= expected.fun + 40 * 2e-5  # the precision asked for, of the mean loss
    assert loss(ours) < loss(start) - 0.01, "else this case shows nothing"
    np.testing.assert_allclose(ours, expected.x, atol=0.02)


def test_the_loss_and_its_gradient_are_the_small_forms():
    from scipy.optimize import approx_fprime

    X, y, _ = make_scores(30, 4, 2)
    scores, shared = log_softmax(X), np.array([0.5, 0.3])
    program = PoolProgram(scores, y, shared)
    unknowns = np.random.default_rng(0).normal(size=12)
    value, gradient = program.loss(unknowns, 2.0)
    pool = program.pool(unknowns)
    expected = penalised(scores, y, shared, 2.0, pool.exponents, pool.biases) / 30
    assert value == pytest.approx(expected, rel=1e-12)
    numeric = approx_fprime(unknowns, lambda at: program.loss(at, 2.0)[0], 1e-6)
    np.testing.assert_allclose(gradient, numeric, atol=1e-6)


def test_blocks_of_videos_add_up():
    X, y, _ = make_scores(1100, 3, 2)  # three blocks
    program = PoolProgram(log_softmax(X), y, np.ones(2))
    parts = [PoolProgram(log_softmax(X[at]), y[at], np.ones(2)) for at in (slice(0, 400), slice(400, 1100))]
    pool = ClassPool(np.array([[1, 2], [0.5, -1], [3, 0.1]]), np.array([0.1, -1, 0.3]))

    def unknowns(one):
        return np.concatenate([(pool.exponents * one.scale).T.ravel(), pool.biases])

    total = sum(one.loss(unknowns(one), 0.0)[0] * one.size for one in parts)
    assert program.loss(unknowns(program), 0.0)[0] * 1100 == pytest.approx(total, rel=1e-12)


def test_class_pool_by_hand():
    # One video of two streams and two classes; each row less its mean is ±ln 2 and ±ln 3 / 2.
    scores = np.log([[[0.8, 0.2], [0.25, 0.75]]])
    pool = ClassPool(np.array([[1.0, 2.0], [0.5, 0.0]]), np.array([0.0, 0.1]))
    expected = [[np.log(2) - np.log(3), -np.log(2) / 2 + 0.1]]
    np.testing.assert_allclose(pool.fused(scores), expected, rtol=1e-12)


def test_the_weaker_the_hold_the_likelier_the_data_and_an_infinite_one_is_the_pool():
    X, y, _ = make_scores(200, 5, 3)
    scores = log_softmax(X)
    pools = list(class_pools(scores, y, STRENGTHS))
    assert pools[0].exponents.tolist() == [shared_exponents(scores, y).tolist()] * 5
    assert not pools[0].biases.any()
    losses = [-log_softmax(pool.fused(scores))[np.arange(200), y].mean() for pool in pools]
    assert losses == sorted(losses, reverse=True)
    (held,) = class_pools(scores, y, [1e9])
    np.testing.assert_allclose(held.exponents, pools[0].exponents, atol=1e-5)


def test_lapse_rates_are_the_likeliest():
    from scipy.optimize import minimize

    X, y, _ = make_scores(400, 5, 2)
    X[:, 1] *= 20
    scores = log_softmax(X)
    temperatures, lapses = fit_lapses(scores, y)

    def loss(unknowns, stream):
        temperature, lapse = np.exp(unknowns[0]), 1 / (1 + np.exp(-unknowns[1]))
        sharp = np.exp(log_softmax(scores[:, stream] / temperature))[np.arange(400), y]
        return -np.log((1 - lapse) * sharp + lapse / 5).mean()

    for stream in range(2):
        expected = minimize(
            loss, [np.log(temperatures[stream]) + 0.3, -2], (stream,), "Nelder-Mead", options={"fatol": 1e-12}
        )
        ours = [np.log(temperatures[stream]), np.log(lapses[stream] / (1 - lapses[stream]))]
        assert loss(ours, stream) == pytest.approx(expected.fun, abs=1e-4)
    again = np.exp(with_lapses(scores, temperatures, lapses))
    np.testing.assert_allclose(again.sum(axis=2), 1, rtol=1e-12)
    assert (again >= lapses[:, None] / 5 - 1e-12).all()


def test_a_stream_that_is_sometimes_sure_and_wrong_keeps_its_temperature():
    random = np.random.default_rng(0)
    y = random.integers(0, 4, 2000)
    X = random.normal(size=(2000, 1, 4))
    X[np.arange(2000), 0, y] += 3
    scores = log_softmax(X)
    right = fit_temperature(scores[:, 0], y)
    lapsed = np.arange(2000) % 10 == 0
    X[lapsed, 0] = 40 * np.eye(4)[random.integers(0, 4, 200)]  # sure, of any class
    scores = log_softmax(X)
    (temperature,), (lapse,) = fit_lapses(scores, y)
    assert right / 2 < temperature <= right
    assert lapse == pytest.approx(0.1, abs=0.02)
    assert fit_temperature(scores[:, 0], y) > 4 * right, "what a temperature alone makes of it"


@pytest.mark.parametrize("factor", [0.01, 1.0, 100.0])
def test_the_scale_of_logits_does_not_matter(factor):
    X, y, groups = make_scores(200, 5, 2)
    expected = make_fuser("awf").fit(X, y, groups)
    given = np.stack([X[:, 0] * factor, X[:, 1]], axis=1)
    fuser = make_fuser("awf").fit(given, y, groups)
    assert fuser.temperatures_[0] == pytest.approx(expected.temperatures_[0] * factor, rel=1e-2)
    np.testing.assert_allclose(fuser.predict_proba(given), expected.predict_proba(X), atol=2e-3)


def test_held_out_errors_are_those_of_rules_that_never_saw_the_fold():
    X, y, groups = make_scores(150, 4, 2)
    scores = log_softmax(X)
    wrong = held_out_errors(scores, y, groups)
    fold = grouped_folds(y, groups=groups, folds=4)
    for number in range(4):
        fit, held = fold != number, fold == number
        temperatures, lapses = fit_lapses(scores[fit], y[fit])
        calibrated = with_lapses(scores, temperatures, lapses)
        for row, pool in zip(wrong, class_pools(calibrated[fit], y[fit], STRENGTHS), strict=True):
            assert row[held].tolist() == (pool.fused(calibrated[held]).argmax(axis=1) != y[held]).tolist()


def test_first_good_is_the_simplest_within_a_standard_error():
    groups = np.arange(100)
    wrong = np.zeros((3, 100))
    wrong[0, :12], wrong[1, :3] = 1, 1  # 12, 3 and 0 errors: 3 more are 1.76 standard errors
    assert first_good(wrong, groups) == 2
    wrong[2, 50:53] = 1  # as many as the second: the simpler is taken
    assert first_good(wrong, groups) == 1


def test_worse_by_counts_groups_not_videos():
    # Four groups of 25 equal videos: as much evidence as four videos.
    change = np.array([0.1, 0.2, 0.1, 0.2])
    once = worse_by(change, np.zeros(4), np.arange(4))
    assert worse_by(np.repeat(change, 25), np.zeros(100), np.repeat(np.arange(4), 25)) == pytest.approx(once)
    assert worse_by(change, change, np.arange(4)) == 0


def test_noise_beside_a_good_stream_is_left_out():
    X, y, groups = make_scores(1500, 6, 2, strength=1.2)
    X[:, 1] = 3 * np.random.default_rng(1).normal(size=X[:, 1].shape)
    known = groups < 100  # of 300
    fuser = make_fuser("awf").fit(X[known], y[known], groups[known])
    right = (fuser.predict(X[~known]) == y[~known]).mean()
    assert (make_fuser("average").fit(X, y).predict(X[~known]) == y[~known]).mean() < right - 0.1
    assert right >= (X[~known, 0].argmax(axis=1) == y[~known]).mean() - 0.01


def test_where_nothing_is_to_gain_the_weights_are_the_pools():
    # Two streams equally good on every class.
    X, y, groups = make_scores(200, 5, 2, per_class=0.0)
    fuser = make_fuser("awf").fit(X, y, groups)
    assert fuser.strength_ is None
    assert np.ptp(fuser.exponents_, axis=0).max() == 0
    assert not fuser.biases_.any()
    assert fuser.held_out_errors_.shape == (len(STRENGTHS),)
    (note,) = fuser.notes()
    assert note.startswith("awf: weights shared by all classes: a class's own, and a bias, paid too little")


def test_where_classes_differ_much_the_weights_follow():
    # Each stream knows half of the classes and is noise on the others.
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(6), 80)
    X = random.normal(size=(480, 2, 6))
    X[np.arange(480), (y >= 3).astype(int), y] += 3
    fuser = make_fuser("awf").fit(X, y)
    assert fuser.strength_ is not None
    assert (fuser.weights_[:3, 0] > fuser.weights_[3:, 0].max()).all()
    assert fuser.notes()[0].startswith("awf: each class has weights and a bias of its own, held to the shared ones")


def test_a_class_that_all_streams_favour_is_held_back_by_its_bias():
    X, y, groups = make_scores(600, 4, 2, seed=1)
    X[:, :, 2] += 3
    fuser = make_fuser("awf").fit(X, y, groups)
    assert fuser.biases_.argmin() == 2
    shared = make_fuser("log-linear-pool").fit(X, y)
    assert (fuser.predict(X) == y).mean() > (shared.predict(X) == y).mean() + 0.05


def test_videos_of_one_group_are_pooled_and_it_says_so():
    X, y, _ = make_scores(60, 3, 2)
    fuser = make_fuser("awf").fit(X, y, np.zeros(60))
    assert fuser.strength_ is None
    assert "allow no inner folds" in fuser.notes()[0]
    assert fuser.held_out_errors_.size == 0


def test_negative_exponents_count_as_no_weight():
    X, y, groups = make_scores(500, 3, 2, seed=2)
    X[:, 1, 0] *= -1  # this stream's vote for class 0 speaks against it
    fuser = make_fuser("awf").fit(X, y, groups)
    assert fuser.exponents_[0, 1] < 0
    assert fuser.weights_[0].tolist() == [1, 0]
    np.testing.assert_allclose(fuser.class_weights().sum(axis=1), 1)


def test_float32_and_float64_agree():
    X, y, _groups = make_scores(300, 5, 2)
    scores = log_softmax(X)
    (wide,) = class_pools(scores, y, [1.0])
    (narrow,) = class_pools(scores.astype(np.float32), y, [1.0])
    np.testing.assert_allclose(narrow.fused(scores), wide.fused(scores), atol=0.02)


def test_a_fit_is_the_same_bit_for_bit(scores):
    first, second = make_fuser("awf").fit(*scores), make_fuser("awf").fit(*scores)
    for name in ("exponents_", "biases_", "temperatures_", "lapses_"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("rule", ["awf", "lp-beta"])
def test_a_margin_fuser_of_before_is_loaded(rule, scores, tmp_path):
    """Its options held choices that are no more; what was chosen is among what it learnt."""
    X, y, _ = scores
    options = {"objective": "margin", "nu": 0.5, "delta": 0.2} if rule == "awf" else {"nu": 0.5}
    fuser = make_fuser(rule, **options).fit(X, y)
    path = save_fuser(tmp_path, fuser)
    content = json.loads(path.read_text())
    content["options"] |= {"nu": "auto"} | ({"delta": "auto", "shared": "auto"} if rule == "awf" else {})
    content["learnt"] |= {"pulled_": 0.0, "shared_": "learnt"}
    write_json(path, content)
    again = load_fuser(tmp_path)
    assert np.array_equal(again.decision_function(X), fuser.decision_function(X))
    assert again.notes() == fuser.notes()
    assert "ν 0.5" in again.notes()[0]
