"""Each rule against an outside reference, its ties, and back from disk. (test_scikit_learn.py: as an estimator.)"""

from functools import cache

import numpy as np
import pytest

from avr.core import UsageError, item_names, log_softmax, softmax
from avr.fusion import Fuser, load_fuser, make_fuser, rule_class, rule_names, save_fuser

from .conftest import make_scores

RULES = item_names("avr.fusion")


@cache
def fitted(rule):
    """A rule fitted on the scores of the fixture `scores`, once for all tests: awf takes a second."""
    return make_fuser(rule).fit(*make_scores())


class Fixed:
    """A scikit-learn classifier that answers with one stream's probabilities."""

    def __init__(self, probabilities):
        self.probabilities, self.classes_ = probabilities, np.arange(probabilities.shape[1])

    def predict_proba(self, X):
        return self.probabilities


def voting(probabilities, weights=None):
    """scikit-learn's soft vote of the streams `(M, S, K)`."""
    from sklearn.ensemble import VotingClassifier
    from sklearn.preprocessing import LabelEncoder

    vote = VotingClassifier([(str(s), None) for s in range(probabilities.shape[1])], voting="soft", weights=weights)
    vote.estimators_ = [Fixed(probabilities[:, s]) for s in range(probabilities.shape[1])]
    vote.le_ = LabelEncoder().fit(np.arange(probabilities.shape[2]))
    vote.classes_ = vote.le_.classes_
    return vote.predict_proba(np.zeros((len(probabilities), 1)))


def test_the_rules_are_these():
    assert RULES == [
        "average",
        "awf",
        "early-svm",
        "greedy-selection",
        "log-linear-pool",
        "logistic-stacking",
        "lp-beta",
        "maximum",
        "multiply",
        "svm",
        "weighted",
    ]


def test_early_svm_alone_is_no_fuser_of_scores():
    assert sorted({*RULES} - {*rule_names()}) == ["early-svm"]
    assert not isinstance(make_fuser("early-svm"), Fuser)
    with pytest.raises(
        UsageError, match=r"early-svm reads features, not scores: run `avr fuse early-svm --store STORE`"
    ):
        rule_class("early-svm")


# Rounding of float64 alone separates two orders of the same few additions.
EXACT = {"rtol": 1e-12, "atol": 1e-14}


def test_average_is_scikit_learns_soft_vote(scores):
    X, y, _ = scores
    np.testing.assert_allclose(make_fuser("average").fit(X, y).predict_proba(X), voting(softmax(X)), **EXACT)


def test_weighted_probabilities_are_scikit_learns_weighted_soft_vote(scores):
    X, y, _ = scores
    expected = voting(softmax(X), weights=[1, 1.5])
    as_probabilities = make_fuser("weighted", space="probabilities").fit(X, y)
    np.testing.assert_allclose(as_probabilities.predict_proba(X), expected, **EXACT)
    given = make_fuser("weighted", weights=[2, 3], space="probabilities").fit(X, y)
    np.testing.assert_allclose(given.predict_proba(X), expected, **EXACT)
    np.testing.assert_allclose(given.class_weights(), np.tile([0.4, 0.6], (6, 1)), **EXACT)


def test_multiply_is_the_normalised_geometric_mean(scores):
    X, y, _ = scores
    product = np.sqrt(softmax(X).prod(axis=1))
    expected = product / product.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(make_fuser("multiply").fit(X, y).predict_proba(X), expected, rtol=1e-10)
    weighted = make_fuser("weighted", weights=[1, 1]).fit(X, y)
    np.testing.assert_allclose(weighted.predict_proba(X), expected, rtol=1e-10)


def test_weighted_log_probabilities_are_published_sums_of_logits(scores):
    X, y, _ = scores
    summed = X[:, 0] + 1.5 * X[:, 1]
    np.testing.assert_allclose(make_fuser("weighted").fit(X, y).predict_proba(X), softmax(summed / 2.5), rtol=1e-10)


def test_untrained_rules_by_hand():
    X = np.array([[[0.6, 0.3, 0.1], [0.1, 0.5, 0.4]]])  # one video, two streams, three classes
    y = [0]
    np.testing.assert_allclose(make_fuser("average").fit(X, y).predict_proba(X), [[0.35, 0.4, 0.25]], **EXACT)
    np.testing.assert_allclose(
        make_fuser("maximum").fit(X, y).predict_proba(X), [[0.6 / 1.5, 0.5 / 1.5, 0.4 / 1.5]], **EXACT
    )
    root = np.sqrt([0.06, 0.15, 0.04])
    np.testing.assert_allclose(make_fuser("multiply").fit(X, y).predict_proba(X), [root / root.sum()], **EXACT)
    weighted = make_fuser("weighted", space="probabilities").fit(X, y)
    np.testing.assert_allclose(weighted.predict_proba(X), [[0.3, 0.42, 0.28]], **EXACT)


@pytest.mark.parametrize("rule", ["average", "multiply", "maximum", "weighted"])
def test_a_tie_goes_to_the_smaller_class_number(rule):
    options = {"weights": [1, 1]} if rule == "weighted" else {}
    X = np.array([[[0.25, 0.5, 0.25], [0.25, 0.25, 0.5]], [[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]])
    assert make_fuser(rule, **options).fit(X, [0, 1]).predict(X).tolist() == [1, 0]


def test_svm_is_liblinears(scores):
    from sklearn.svm import LinearSVC

    X, y, _ = scores
    rows = softmax(X)
    rows = (rows / np.linalg.norm(rows, axis=2, keepdims=True)).reshape(len(X), -1)
    expected = LinearSVC(C=1.0, dual=False, random_state=0).fit(rows, y).decision_function(rows)
    fuser = make_fuser("svm").fit(X, y)
    # liblinear stops at a tolerance of 1e-4, and where exactly depends on the last bits of its input.
    np.testing.assert_allclose(fuser.decision_function(X), expected, atol=1e-3)


def test_svm_of_two_classes_among_more_never_answers_an_absent_one():
    from sklearn.svm import LinearSVC

    X, y, _ = make_scores(80, 4)
    seen = np.isin(y, [1, 3])
    fuser = make_fuser("svm").fit(X[seen], y[seen])
    assert set(fuser.predict(X)) == {1, 3}
    rows = softmax(X)
    rows = (rows / np.linalg.norm(rows, axis=2, keepdims=True)).reshape(len(X), -1)
    expected = LinearSVC(C=1.0, dual=False, random_state=0).fit(rows[seen], y[seen]).predict(rows)
    assert fuser.predict(X).tolist() == expected.tolist()


def test_early_svm_is_liblinears_on_concatenated_unit_features():
    from sklearn.svm import LinearSVC

    random = np.random.default_rng(0)
    X, y = random.normal(size=(90, 2, 20)), np.arange(90) % 3
    X[np.arange(90), 0, y] += 2
    rows = (X / np.linalg.norm(X, axis=2, keepdims=True)).reshape(90, -1)
    expected = LinearSVC(C=1.0, dual=False, random_state=0).fit(rows, y).decision_function(rows)
    np.testing.assert_allclose(make_fuser("early-svm").fit(X, y).decision_function(X), expected, atol=1e-3)


def test_logistic_stacking_is_scikit_learns(scores):
    from sklearn.linear_model import LogisticRegression

    X, y, _ = scores
    rows = log_softmax(X).reshape(len(X), -1)
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    expected = LogisticRegression(C=0.01, max_iter=300).fit(rows, y).predict_proba(rows)
    np.testing.assert_allclose(make_fuser("logistic-stacking").fit(X, y).predict_proba(X), expected, rtol=1e-8)


def test_logistic_stacking_of_two_classes_is_scikit_learns():
    from sklearn.linear_model import LogisticRegression

    X, y, _ = make_scores(60, 2)
    rows = log_softmax(X).reshape(len(X), -1)
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    expected = LogisticRegression(C=0.01, max_iter=300).fit(rows, y).predict_proba(rows)
    np.testing.assert_allclose(make_fuser("logistic-stacking").fit(X, y).predict_proba(X), expected, rtol=1e-8)


def test_log_linear_pool_is_the_likeliest(scores):
    from scipy.optimize import minimize

    X, y, _ = scores
    logarithms = log_softmax(X)

    def loss(exponents):
        return -log_softmax(np.einsum("msk,s->mk", logarithms, exponents))[np.arange(len(y)), y].mean()

    expected = minimize(loss, [0.5, 0.5], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-13}).x
    # Nelder-Mead's own precision on a flat optimum.
    np.testing.assert_allclose(make_fuser("log-linear-pool").fit(X, y).exponents_, expected, atol=1e-4)


def test_log_linear_pool_drops_a_stream_that_is_wrong_and_stays_finite():
    X, y, _ = make_scores(100, 4, strength=20)
    fuser = make_fuser("log-linear-pool").fit(np.stack([X[:, 0], -X[:, 0]], axis=1), y)
    assert fuser.exponents_[1] == 0
    assert fuser.exponents_[0] <= 100


def test_greedy_selection_by_hand():
    first = [[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]
    second = [[0.4, 0.6], [0.6, 0.4], [0.1, 0.9]]
    X = np.stack([np.array(first), np.array(second)], axis=1)
    y = np.array([0, 0, 1])
    fuser = make_fuser("greedy-selection", steps=6).fit(X, y)
    # Alone, both have one error, and stream 0 the smaller log-loss (0.415 against 0.511). Mixed 1:1, 2:1 and 3:1 they
    # have none, with log-losses 0.406, 0.396 and 0.3957; 4:1 has one again, and 3:2 (0.399), 4:2 are no better.
    assert fuser.counts_.tolist() == [3, 1]
    assert fuser.predict(X).tolist() == [0, 0, 1]


def test_greedy_selection_finds_what_brute_force_finds():
    X, y, _ = make_scores(120, 5, 3, seed=3)
    given = softmax(X)
    fuser = make_fuser("greedy-selection", steps=30, measure="log-loss").fit(X, y)

    def loss(weights):
        return -np.log(np.einsum("msk,s->mk", given, weights)[np.arange(len(y)), y]).mean()

    grid = [np.array([a, b, 30 - a - b]) / 30 for a in range(31) for b in range(31 - a)]
    best = min(loss(weights) for weights in grid)
    # The loss is convex in the weights: the greedy way ends within a step of the best mix.
    assert loss(fuser.counts_ / fuser.counts_.sum()) <= best + 2e-3


def test_greedy_selection_takes_the_first_of_equal_streams():
    X, y, _ = make_scores(40, 3, 1)
    assert make_fuser("greedy-selection").fit(np.repeat(X, 3, axis=1), y).counts_.tolist() == [1, 0, 0]


@pytest.mark.parametrize("rule", RULES)
def test_from_disk_a_rule_answers_the_same(rule, scores, tmp_path):
    X, fuser = scores[0], fitted(rule)
    save_fuser(tmp_path, fuser, {"streams": ["rgb", "flow"]})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fuser.safetensors", "fusion.json"]
    again = load_fuser(tmp_path)
    assert np.array_equal(again.decision_function(X), fuser.decision_function(X))
    assert again.about_["streams"] == ["rgb", "flow"]
    assert again.about_["rule"] == rule


@pytest.mark.parametrize("rule", rule_names())
def test_one_video_can_be_fused(rule, scores):
    X, fuser = scores[0], fitted(rule)
    np.testing.assert_allclose(fuser.predict_proba(X[:1]), fuser.predict_proba(X)[:1], rtol=1e-9)


@pytest.mark.parametrize("rule", rule_names())
def test_logits_and_their_probabilities_fuse_alike(rule, scores):
    X, y, groups = scores
    logits = fitted(rule)
    given = softmax(X)
    probabilities = make_fuser(rule).fit(given, y, groups)
    assert logits.kinds_ == ["logits", "logits"]
    assert probabilities.kinds_ == ["probabilities", "probabilities"]
    # Solvers stop at their tolerance; where exactly depends on the last bits of the scores.
    np.testing.assert_allclose(probabilities.predict_proba(given), logits.predict_proba(X), atol=1e-3)


def test_a_rounded_zero_is_no_veto():
    # Four decimals: 0.0000 means "under 0.00005", and the second stream is sure of class 1.
    X = np.array([[[0.9, 0.0, 0.1], [0.0001, 0.9998, 0.0001]]])
    fuser = make_fuser("multiply").fit(X, [1])
    np.testing.assert_allclose(fuser.floors_, [1e-3 / 3, 5e-5])
    assert fuser.predict(X).tolist() == [1]


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        ("weighted", {"weights": [1]}, "1 weights for 2 streams"),
        ("weighted", {"weights": [-1, 2]}, "must be finite, not negative"),
        ("awf", {"nu": 0}, "nu takes 0 < float ≤ 1"),
        ("awf", {"delta": 2}, "delta takes 0 ≤ float ≤ 1"),
        ("awf", {"objective": "best"}, r"objective takes likelihood\|margin\|stilt"),
        ("greedy-selection", {"steps": 0}, "steps takes int ≥ 1"),
        ("greedy-selection", {"measure": "best"}, r"measure takes accuracy\|log-loss"),
        ("weighted", {"space": "logits"}, r"space takes log-probabilities\|probabilities"),
        ("svm", {"C": 0.0}, "C takes float > 0"),
        ("average", {"kind": "scores"}, "known: auto, logits, probabilities"),
        ("average", {"kind": ["logits"]}, "1 kinds for 2 streams"),
        ("average", {"kind": "probabilities"}, "has negative scores: logits"),
    ],
)
def test_bad_options(rule, options, message, scores):
    X, y, _ = scores
    with pytest.raises(UsageError, match=message):
        make_fuser(rule, **options).fit(X, y)
    with pytest.raises(UsageError, match=message):  # as scikit-learn's searches set them
        make_fuser(rule).set_params(**options).fit(X, y)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UsageError, match=r"unknown rule 'averag' \(did you mean average\?\); known: average, awf"):
        make_fuser("averag")
    with pytest.raises(UsageError, match="unknown option of rule svm 'c'; known: C=float > 0"):
        make_fuser("svm", c=1)


def test_weighted_of_three_streams_asks_for_weights():
    X, y, _ = make_scores(20, 3, 3)
    with pytest.raises(UsageError, match="3 streams need 3 weights"):
        make_fuser("weighted").fit(X, y)


X_GOOD, Y_GOOD, _ = make_scores(20, 3)


def spoilt(value):
    X = X_GOOD.copy()
    X[4, 1, 2] = value
    return X


@pytest.mark.parametrize(
    ("X", "y", "groups", "message"),
    [
        (spoilt(np.nan), Y_GOOD, None, "NaN or infinite scores in 1 of 20 videos, first video 4, stream 1, class 2"),
        (spoilt(-np.inf), Y_GOOD, None, "NaN or infinite scores in 1 of 20"),
        (X_GOOD[:, 0], Y_GOOD, None, r"shape \(20, 3\): scores are \(videos, streams, classes\)"),
        (X_GOOD[:0], Y_GOOD[:0], None, "0 videos and 2 streams"),
        (X_GOOD[:, :0], Y_GOOD, None, "20 videos and 0 streams"),
        (X_GOOD[:, :, :1], Y_GOOD * 0, None, "scores of 1 class"),
        (X_GOOD, Y_GOOD[:5], None, r"labels of shape \(5,\) for 20 videos"),
        (X_GOOD, Y_GOOD + 1, None, "labels 1 … 3 for scores of 3 classes"),
        (X_GOOD, Y_GOOD + 0.5, None, "labels of type float64"),
        (X_GOOD, Y_GOOD, [1, 2], r"groups of shape \(2,\) for 20 videos"),
        (X_GOOD[:1], Y_GOOD[:1], None, "one video to learn from"),
        (X_GOOD[Y_GOOD == 1], Y_GOOD[Y_GOOD == 1], None, "are of class 1"),
        (X_GOOD.astype(str), Y_GOOD, None, "scores are numbers"),
    ],
)
@pytest.mark.parametrize("rule", ["awf", "svm"])
def test_bad_input(rule, X, y, groups, message):
    with pytest.raises(UsageError, match=message):
        make_fuser(rule).fit(X, y, groups)


def test_other_streams_than_fitted_are_refused(scores):
    X, y, _ = scores
    with pytest.raises(UsageError, match="1 streams and 6 classes for a fuser fitted on 2 streams and 6"):
        make_fuser("average").fit(X, y).predict(X[:, :1])
