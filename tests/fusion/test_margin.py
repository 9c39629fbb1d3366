"""The linear programs against the full one, against brute force, by hand; the certificate."""

import itertools

import numpy as np
import pytest

from avr.core import log_softmax, softmax
from avr.fusion import make_fuser
from avr.fusion.programs import MarginProgram, margins, soft_margin, stilt_gains, stilt_weights

from .conftest import make_scores


def full_program(scores, labels, nu, delta):
    """The program of the design page, all n(K-1) rows, through plain linprog: objective and weights `(K, S)`.

    Unknowns: w (K·S), w̄ (S), ρ, ξ (n).
    """
    from scipy.optimize import linprog

    n, S, K = scores.shape
    size = K * S + S + 1 + n
    rows, limits = [], []
    for i in range(n):
        for k in set(range(K)) - {labels[i]}:
            row = np.zeros(size)
            row[labels[i] * S : (labels[i] + 1) * S] = -scores[i, :, labels[i]]
            row[k * S : (k + 1) * S] = scores[i, :, k]
            row[K * S + S], row[K * S + S + 1 + i] = 1, -1
            rows.append(row)
            limits.append(0)
    for k, s, sign in itertools.product(range(K), range(S), (1, -1)):
        row = np.zeros(size)
        row[k * S + s], row[K * S + s] = sign, -sign
        rows.append(row)
        limits.append(delta)
    equal = np.zeros((K + 1, size))
    for k in range(K + 1):
        equal[k, k * S : (k + 1) * S] = 1
    cost = np.concatenate([np.zeros(K * S + S), [-1], np.full(n, 1 / (nu * n))])
    bounds = [(0, 1)] * (K * S + S) + [(None, None)] + [(0, None)] * n
    found = linprog(cost, A_ub=np.array(rows), b_ub=limits, A_eq=equal, b_eq=np.ones(K + 1), bounds=bounds)
    assert found.status == 0
    return found.fun, found.x[: K * S].reshape(K, S)


@pytest.mark.parametrize("delta", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(("num_streams", "nu"), [(2, 0.2), (3, 0.6)])
def test_cuts_solve_the_full_program(num_streams, nu, delta):
    X, y, _ = make_scores(60, 4, num_streams, seed=num_streams)
    scores = log_softmax(X)
    expected, _ = full_program(scores, y, nu, delta)
    start = np.full((4, num_streams), 1 / num_streams)
    solution = MarginProgram(scores, y).solve(nu, delta, start=start, tolerance=1e-6)
    assert solution.lower_bound - 1e-9 <= expected <= solution.objective + 1e-9
    assert solution.gap <= 1e-6 * max(1, abs(expected)) + 1e-12
    weights = solution.weights
    assert soft_margin(margins(scores, y, weights)[0], nu)[0] == pytest.approx(solution.objective, abs=1e-12)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    # A shared centre must lie within δ of every class's weights.
    assert np.ptp(weights, axis=0).max() <= 2 * delta + 1e-12


def test_cuts_made_for_one_nu_and_delta_serve_the_others():
    X, y, _ = make_scores(80, 4, 2, seed=7)
    scores, start = log_softmax(X), np.full((4, 2), 0.5)
    program = MarginProgram(scores, y)
    for nu, delta in [(0.8, 0.0), (0.3, 1.0), (0.5, 0.1)]:
        expected, _ = full_program(scores, y, nu, delta)
        solution = program.solve(nu, delta, start=start, tolerance=1e-6)
        assert solution.lower_bound - 1e-9 <= expected <= solution.objective + 1e-9


def test_shared_weights_are_those_of_brute_force():
    X, y, _ = make_scores(150, 5, 2, seed=2)
    fuser = make_fuser("lp-beta", nu=0.4, tolerance=1e-7).fit(X, y)
    scores = log_softmax(log_softmax(X) / fuser.temperatures_[:, None])
    values = [soft_margin(margins(scores, y, np.tile([a, 1 - a], (5, 1)))[0], 0.4)[0] for a in np.linspace(0, 1, 2001)]
    # The grid misses the optimum by up to half a step of 0.0005.
    assert min(values) - 1e-3 <= fuser.objective_ <= min(values) + 1e-7
    assert fuser.weights_[0, 0] == pytest.approx(np.linspace(0, 1, 2001)[np.argmin(values)], abs=1e-3)


def test_soft_margin_is_the_mean_of_the_worst_margins():
    # ν n = 2: the mean of the two smallest, and ρ the third.
    assert soft_margin(np.array([3.0, -1.0, 2.0, 0.5]), 0.5) == (pytest.approx(-(-1.0 + 0.5) / 2), 2.0)
    assert soft_margin(np.array([3.0, -1.0]), 1.0)[0] == pytest.approx(-1.0)


def test_margin_program_by_hand():
    # Stream 0 tells the classes apart, stream 1 says the opposite: all weight on stream 0, margins ln 4, and the
    # program's value is minus their mean.
    right, wrong = [0.8, 0.2], [0.2, 0.8]
    scores = np.log(np.array([[right, wrong], [wrong, right]]))
    solution = MarginProgram(scores, np.array([0, 1])).solve(1.0, 1.0, start=np.full((2, 2), 0.5), tolerance=1e-9)
    np.testing.assert_allclose(solution.weights, [[1, 0], [1, 0]], atol=1e-7)
    assert solution.objective == pytest.approx(-np.log(4), abs=1e-7)
    assert solution.lower_bound == pytest.approx(-np.log(4), abs=1e-7)


def test_stilt_by_hand():
    # Class 0: own videos give 0.9 and 0.6, others' 0.5 and 0.1 (λ = 1): gains 0.4 and 0.5, so stream 1.
    # Class 1: own videos give 0.5 and 0.9, others' 0.1 and 0.4: gains 0.4 and 0.5, so stream 1.
    probabilities = np.array([[[0.9, 0.1], [0.6, 0.4]], [[0.5, 0.5], [0.1, 0.9]]])
    gains = stilt_gains(probabilities, np.array([0, 1]), 1.0)
    np.testing.assert_allclose(gains, [[0.4, 0.5], [0.4, 0.5]])
    assert stilt_weights(gains).tolist() == [[0, 1], [0, 1]]
    # Without the second term (λ = 0) class 0 prefers stream 0.
    np.testing.assert_allclose(stilt_gains(probabilities, np.array([0, 1]), 0.0), [[0.9, 0.6], [0.5, 0.9]])
    assert make_fuser("awf", objective="stilt", balance=0.0).fit(probabilities, [0, 1]).weights_.tolist() == [
        [1, 0],
        [0, 1],
    ]


def test_stilt_gains_are_equations_6_and_7():
    X, y, _ = make_scores(30, 4, 3)
    scores = softmax(X)
    gains = stilt_gains(scores, y, 0.7)
    for k, s in itertools.product(range(4), range(3)):
        own = sum(scores[i, s, k] for i in range(30) if y[i] == k)
        others = sum(scores[i, s, k] for i in range(30) if y[i] != k)
        assert gains[k, s] == pytest.approx(own - 0.7 * others, rel=1e-12)


def test_stilt_weights_are_the_optimum_of_equation_5():
    from scipy.optimize import linprog

    gains = np.random.default_rng(0).normal(size=(5, 3))
    equal = np.kron(np.eye(5), np.ones((1, 3)))
    found = linprog(-gains.ravel(), A_eq=equal, b_eq=np.ones(5), bounds=(0, 1))
    np.testing.assert_allclose(stilt_weights(gains), found.x.reshape(5, 3), atol=1e-9)


def test_stilt_takes_the_first_of_equal_streams_and_says_how_many_classes_took_one():
    X, y, _ = make_scores(40, 4, 1)
    fuser = make_fuser("awf", objective="stilt").fit(np.repeat(X, 3, axis=1), y)
    assert fuser.weights_.tolist() == [[1, 0, 0]] * 4
    assert fuser.one_stream_classes_ == 4
    assert fuser.notes() == ["awf stilt: 4 of 4 classes ended on one stream"]


def test_stilt_fuses_as_equation_9(scores):
    X, y, _ = scores
    fuser = make_fuser("awf", objective="stilt").fit(X, y)
    stream = fuser.weights_.argmax(axis=1)
    chosen = np.stack([softmax(X)[:, stream[k], k] for k in range(6)], axis=1)
    np.testing.assert_allclose(fuser.decision_function(X), chosen, rtol=1e-12)


def test_margin_says_how_good_it_is(scores):
    X, y, groups = scores
    fuser = make_fuser("awf", objective="margin").fit(X, y, groups)
    assert fuser.gap_ == pytest.approx(fuser.objective_ - fuser.lower_bound_)
    assert 0 <= fuser.gap_ <= 1e-4 * max(1, abs(fuser.objective_))
    first, second = fuser.notes()
    assert first.startswith("awf margin: ν 0.5, δ 0.1; ")
    assert second.startswith("awf margin: objective ")


def test_given_nu_and_delta_are_the_full_program(scores):
    X, y, groups = scores
    fuser = make_fuser("awf", objective="margin", nu=0.5, delta=0.2, tolerance=1e-6).fit(X[:80], y[:80], groups[:80])
    calibrated = log_softmax(log_softmax(X[:80]) / fuser.temperatures_[:, None])
    expected, _ = full_program(calibrated, y[:80], 0.5, 0.2)
    assert fuser.objective_ == pytest.approx(expected, abs=2e-6)
    assert (fuser.nu_, fuser.delta_) == (0.5, 0.2)


@pytest.mark.parametrize("num_streams", [2, 3, 4])
@pytest.mark.parametrize("delta", [1e-6, 1e-3, 0.15, 1.0])
def test_weights_keep_to_the_box(num_streams, delta):
    X, y, _ = make_scores(60, 4, num_streams, seed=num_streams)
    scores = log_softmax(X)
    expected, _ = full_program(scores, y, 0.5, delta)
    solution = MarginProgram(scores, y).solve(0.5, delta, tolerance=1e-5)
    slack = 1e-9 if delta > 0.1 else 1e-6  # HiGHS keeps rows within 1e-7, which narrow boxes feel
    assert solution.lower_bound - slack <= expected <= solution.objective + slack
    assert solution.gap <= 1e-5 * max(1, abs(expected))
    assert solution.weights.min() >= 0
    assert np.ptp(solution.weights, axis=0).max() <= 2 * delta + 1e-12


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("num_streams", [2, 3])
@pytest.mark.parametrize("delta", [1e-8, 1e-6, 1e-5, 1e-3, 1e-2])
def test_narrow_boxes_take_few_points(num_streams, delta):
    for seed in range(3):
        X, y, _ = make_scores(200, 10, num_streams, seed=seed)
        solution = MarginProgram(log_softmax(X), y).solve(0.5, delta)
        assert solution.gap <= 1e-4 * max(1, abs(solution.objective))
        assert solution.iterations <= 25
        assert np.ptp(solution.weights, axis=0).max() <= 2 * delta + 1e-12


def test_a_box_without_an_inside_is_shared_weights():
    X, y, _ = make_scores(60, 4, 2)
    program = MarginProgram(log_softmax(X), y)
    assert np.array_equal(program.solve(0.5, 1e-12).weights, MarginProgram(log_softmax(X), y).solve(0.5, 0.0).weights)
