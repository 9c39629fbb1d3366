"""core.metrics against scikit-learn, and the tie rule by hand."""

import numpy as np
import pytest

from avr.core import confusion_matrix, log_softmax, mean_class_accuracy, measure, softmax, top_k_accuracy

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(200, 7))
LABELS = RNG.integers(0, 7, size=200)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_top_k_equals_scikit_learn(k):
    from sklearn.metrics import top_k_accuracy_score

    assert top_k_accuracy(SCORES, LABELS, k) == pytest.approx(top_k_accuracy_score(LABELS, SCORES, k=k), abs=1e-12)


def test_mean_class_accuracy_equals_scikit_learn():
    from sklearn.metrics import balanced_accuracy_score

    expected = balanced_accuracy_score(LABELS, SCORES.argmax(1))
    assert mean_class_accuracy(SCORES, LABELS) == pytest.approx(expected, abs=1e-12)


def test_confusion_equals_scikit_learn():
    from sklearn.metrics import confusion_matrix as sklearn_confusion

    np.testing.assert_array_equal(confusion_matrix(SCORES, LABELS, 7), sklearn_confusion(LABELS, SCORES.argmax(1)))


def test_a_tie_goes_to_the_smaller_class_number():
    scores = np.zeros((4, 3))
    assert top_k_accuracy(scores, np.array([0, 1, 2, 0]), 1) == 0.5
    assert top_k_accuracy(scores, np.array([0, 1, 2, 0]), 2) == 0.75


def test_log_softmax_of_large_logits_is_finite():
    np.testing.assert_allclose(log_softmax(np.array([[1e4, 0.0]])), [[0.0, -1e4]])


def test_log_softmax_and_softmax_are_scipys():
    import scipy.special

    np.testing.assert_allclose(log_softmax(SCORES), scipy.special.log_softmax(SCORES, axis=1), atol=1e-14)
    np.testing.assert_allclose(softmax(SCORES), scipy.special.softmax(SCORES, axis=1), atol=1e-14)


def test_a_softmax_is_in_float64_unless_it_has_a_place_to_go_to():
    logits = SCORES.astype(np.float32)
    assert log_softmax(logits).dtype == np.float64
    np.testing.assert_array_equal(log_softmax(logits), log_softmax(logits.astype(np.float64)))
    expected = softmax(logits)
    assert softmax(logits, out=logits) is logits
    np.testing.assert_allclose(logits, expected, atol=1e-7)


def test_measure_is_the_three_accuracies():
    assert measure(SCORES, LABELS) == {
        "top1": top_k_accuracy(SCORES, LABELS),
        "top5": top_k_accuracy(SCORES, LABELS, 5),
        "mean_class": mean_class_accuracy(SCORES, LABELS),
    }


@pytest.mark.parametrize("label", [-1, 3, 7])
def test_a_label_of_no_class_is_never_right(label):
    assert top_k_accuracy(np.array([[0.1, 0.2, 0.7], [0.7, 0.2, 0.1]]), np.array([label, 0])) == 0.5
