"""Random score sets: nothing crashes, weights stay in bounds, both programs keep their promises.

A thousand sets by default; AVR_TEST_EXAMPLES=full draws ten thousand.
"""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avr.core import log_softmax
from avr.fusion import make_fuser
from avr.fusion._probabilities import calibrate, log_loss, with_lapses
from avr.fusion.programs import margins, soft_margin, stilt_gains

SCARCE = 1 if os.environ.get("AVR_TEST_EXAMPLES") == "full" else 10
PLAIN = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}


@st.composite
def score_sets(draw):
    """Scores of any nature that files hold: logits of any size, saturated, tied, rounded, one-hot, all alike."""
    M, S, K = draw(st.integers(2, 12)), draw(st.integers(1, 3)), draw(st.integers(2, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = random.integers(0, K, M)
    labels[:2] = [0, 1]
    X = random.normal(size=(M, S, K)) * draw(st.sampled_from([0.0, 1e-6, 1.0, 30.0, 1e4]))
    X[np.arange(M), :, labels] += draw(st.sampled_from([0.0, 1.0, 100.0, -5.0]))
    nature = draw(st.sampled_from(["logits", "logits", "probabilities", "rounded", "one-hot", "integers"]))
    if nature == "integers":
        X = np.round(np.clip(X, -3, 3))
    elif nature != "logits":
        X = np.exp(X - X.max(axis=2, keepdims=True))
        X /= X.sum(axis=2, keepdims=True)
        if nature == "one-hot":
            X = np.eye(K)[X.argmax(axis=2)]
        elif nature == "rounded":
            X = np.round(X, 4)
    groups = random.integers(0, draw(st.integers(1, M)), M)
    return X, labels, groups


def check_weights(weights):
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-9)


def check_stilt(X, y, balance):
    fuser = make_fuser("awf", objective="stilt", balance=balance).fit(X, y)
    check_weights(fuser.weights_)
    gains = stilt_gains(fuser._probabilities(np.asarray(X, dtype=float)), y, balance)
    assert ((gains * fuser.weights_).sum(axis=1) == gains.max(axis=1)).all()
    assert fuser.one_stream_classes_ == len(gains)
    return fuser


def check_margin(X, y, groups, **options):
    fuser = make_fuser("awf", objective="margin", tolerance=1e-3, **options).fit(X, y, groups)
    check_weights(fuser.weights_)
    assert np.isfinite([fuser.objective_, fuser.lower_bound_]).all()
    scores = calibrate(fuser._log_probabilities(np.asarray(X, dtype=float)), fuser.temperatures_)
    S, K = scores.shape[1:]

    def value(weights):
        return soft_margin(margins(scores, y, weights)[0], fuser.nu_)[0]

    rules = [*np.eye(S), np.full(S, 1 / S), fuser.temperatures_ / fuser.temperatures_.sum()]
    best = min(value(np.tile(rule, (K, 1))) for rule in rules)
    assert value(fuser.weights_) <= best + 1e-9 * max(1, abs(best))  # rounding of the same sums in another order
    assert fuser.lower_bound_ <= fuser.objective_ + 1e-9
    return fuser


@pytest.mark.slow
@settings(max_examples=3500 // SCARCE, **PLAIN)
@given(score_sets(), st.sampled_from([0.0, 0.01, 1.0]))
def test_stilt_is_always_the_best_vertex(scores, balance):
    X, y, _ = scores
    fuser = check_stilt(X, y, balance)
    assert np.isfinite(fuser.predict_proba(X)).all()


@pytest.mark.slow
@settings(max_examples=1000 // SCARCE, **PLAIN)
@given(score_sets(), st.sampled_from([0.2, 0.6, 1.0]), st.sampled_from([0.0, 0.2, 1.0]))
def test_margin_is_never_below_its_untrained_rules(scores, nu, delta):
    X, y, groups = scores
    fuser = check_margin(X, y, groups, nu=nu, delta=delta)
    assert np.isfinite(fuser.predict_proba(X)).all()


@pytest.mark.slow
@settings(max_examples=400 // SCARCE, **PLAIN)
@given(score_sets())
def test_likelihood_is_never_below_its_untrained_rules(scores):
    X, y, groups = scores
    fuser = make_fuser("awf").fit(X, y, groups)
    check_weights(fuser.weights_)
    proba = fuser.predict_proba(X)
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-9)
    calibrated = with_lapses(fuser._log_probabilities(np.asarray(X, dtype=float)), fuser.temperatures_, fuser.lapses_)
    rules = [*np.eye(X.shape[1]), np.full(X.shape[1], 1 / X.shape[1])]
    best = min(log_loss(log_softmax(np.einsum("msk,s->mk", calibrated, rule)), y) for rule in rules)
    # A class's own weights are not bought at any price: what they cost is in the likelihood that is made large.
    assert log_loss(log_softmax(fuser.decision_function(X)), y) <= best + 1e-6
    again = make_fuser("awf").fit(X, y, groups)
    assert np.array_equal(again.exponents_, fuser.exponents_)


@pytest.mark.slow
@settings(max_examples=5500 // SCARCE, **PLAIN)
@given(
    score_sets(),
    st.sampled_from(["average", "multiply", "maximum", "weighted", "greedy-selection", "log-linear-pool"]),
)
def test_the_other_rules_never_crash(scores, rule):
    X, y, groups = scores
    options = {"weights": [1] * X.shape[1]} if rule == "weighted" else {}
    fuser = make_fuser(rule, **options).fit(X, y, groups)
    proba = fuser.predict_proba(X)
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-9)
    weights = fuser.class_weights()
    if weights is not None:
        check_weights(weights)


@settings(max_examples=40, **PLAIN)
@given(score_sets(), st.sampled_from(["svm", "logistic-stacking"]))
def test_the_stacked_rules_never_crash(scores, rule):
    X, y, groups = scores
    proba = make_fuser(rule).fit(X, y, groups).predict_proba(X)
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-9)
