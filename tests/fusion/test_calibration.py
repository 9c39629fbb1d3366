"""Temperature, reliability and statistics against outside references and literal cases."""

import numpy as np
import pytest

from avr.core import log_softmax, softmax
from avr.fusion import (
    expected_calibration_error,
    fit_temperature,
    mcnemar_p,
    paired_bootstrap,
    reliability_table,
)

from .conftest import make_scores


@pytest.mark.parametrize("factor", [0.05, 1.0, 30.0])
def test_temperature_is_the_likeliest(factor):
    from scipy.optimize import minimize_scalar

    X, y, _ = make_scores(300, 6, 1)
    logits = factor * X[:, 0]

    def loss(log_temperature):
        return -log_softmax(logits / np.exp(log_temperature))[np.arange(len(y)), y].mean()

    expected = np.exp(minimize_scalar(loss, bounds=(-6, 6), method="bounded", options={"xatol": 1e-9}).x)
    # Golden section's own precision where the loss is flat.
    assert fit_temperature(logits, y) == pytest.approx(expected, rel=1e-5)


def test_temperature_of_scores_that_are_all_right_or_all_wrong_stays_finite():
    logits = np.eye(4) * 5
    assert 1e-3 <= fit_temperature(logits, np.arange(4)) < 0.1
    assert fit_temperature(logits, np.array([1, 2, 3, 0])) == pytest.approx(1e3, rel=1e-2)
    assert np.isfinite(fit_temperature(np.zeros((4, 4)), np.arange(4)))


def test_reliability_and_its_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.35, 0.65], [0.5, 0.5]])
    labels = np.array([0, 1, 1, 0])
    table = reliability_table(probabilities, labels, bins=4)
    assert table == [
        {"low": 0.25, "high": 0.5, "videos": 1, "confidence": 0.5, "accuracy": 1.0},
        {"low": 0.5, "high": 0.75, "videos": 1, "confidence": 0.65, "accuracy": 1.0},
        {"low": 0.75, "high": 1.0, "videos": 2, "confidence": pytest.approx(0.85), "accuracy": 0.5},
    ]
    assert expected_calibration_error(probabilities, labels, bins=4) == pytest.approx((0.5 + 0.35 + 2 * 0.35) / 4)


def test_a_temperature_does_not_depend_on_where_it_is_looked_for():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 60)
    scores = log_softmax(rng.normal(size=(60, 4)) + 2 * np.eye(4)[labels])
    sure = log_softmax(50 * np.eye(4)[labels] + rng.normal(size=(60, 4)))
    for table in (scores, sure):
        assert fit_temperature(table, labels, near=0.1) == pytest.approx(fit_temperature(table, labels), rel=1e-9)


def test_a_temperature_makes_the_calibration_error_smaller():
    X, y, _ = make_scores(600, 6, 1)
    logits = 4 * X[:, 0]
    before = expected_calibration_error(softmax(logits), y)
    after = expected_calibration_error(softmax(logits / fit_temperature(logits, y)), y)
    assert after < before / 2


def test_bootstrap_of_single_videos_is_scipys():
    from scipy.stats import bootstrap

    difference = np.random.default_rng(0).choice([-1, 0, 0, 0, 1, 1], size=400).astype(float)
    expected = bootstrap((difference,), np.mean, n_resamples=9999, method="percentile", rng=1).confidence_interval
    # Two draws of 9 999 samples: their quantiles differ by about a hundredth of the interval.
    assert paired_bootstrap(difference, repeats=9999) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_bootstrap_of_groups_is_wider_where_groups_agree():
    difference = np.repeat(np.random.default_rng(0).choice([-1.0, 1.0], size=40), 10)
    low, high = paired_bootstrap(difference)
    assert type(low) is type(high) is float
    grouped_low, grouped_high = paired_bootstrap(difference, np.repeat(np.arange(40), 10))
    # Ten equal videos a group: √10 times as wide.
    assert (grouped_high - grouped_low) / (high - low) == pytest.approx(np.sqrt(10), rel=0.1)


@pytest.mark.parametrize(("only", "other_only"), [(0, 7), (30, 52), (4000, 4200), (6, 6)])
def test_mcnemar_is_scipys_binomial_test(only, other_only):
    from scipy.stats import binomtest

    right = np.arange(only + other_only) < only
    assert mcnemar_p(right, ~right) == pytest.approx(binomtest(only, only + other_only).pvalue, rel=1e-10)


def test_mcnemar_by_hand():
    # 5 videos that only the first gets, 1 that only the second gets: 2 · (C(6,0) + C(6,1)) / 2⁶.
    right = np.array([True] * 5 + [False] + [True, False])
    other = np.array([False] * 5 + [True] + [True, False])
    assert mcnemar_p(right, other) == pytest.approx(2 * 7 / 64)
    assert mcnemar_p(right, right) == 1.0
