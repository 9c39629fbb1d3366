"""What a rule is given in Python: an array or a frame a stream, labels as names, classes that are imported lightly."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

import avr.fusion
from avr.core import UsageError, item_names, load_item
from avr.fusion import Awf, EarlySvm, Multiply, Svm, Weighted, load_fuser, make_fuser, save_fuser

NAMES = np.array(["brush", "climb", "dive", "kick", "run", "wave"])


def test_a_list_of_streams_is_the_array_of_them(scores):
    X, y, groups = scores
    streams = [X[:, 0], X[:, 1]]
    for rule in (Awf(nu=0.5, delta=0.1), Multiply(), Svm(C=3)):
        expected = type(rule)(**rule.get_params()).fit(X, y, groups).predict_proba(X)
        np.testing.assert_array_equal(rule.fit(streams, y, groups).predict_proba(tuple(streams)), expected)


def test_labels_that_are_names_come_back_as_names(scores, tmp_path):
    X, y, groups = scores
    by_number, by_name = Svm().fit(X, y, groups), Svm().fit(X, NAMES[y].tolist(), groups)
    assert by_name.classes_.tolist() == NAMES.tolist()
    np.testing.assert_array_equal(by_name.predict_proba(X), by_number.predict_proba(X))
    assert by_name.predict(X).tolist() == NAMES[by_number.predict(X)].tolist()
    assert by_name.score(X, NAMES[y]) == by_number.score(X, y)
    save_fuser(tmp_path, by_name)
    for again in (load_fuser(tmp_path), pickle.loads(pickle.dumps(by_name))):
        assert again.predict(X).tolist() == by_name.predict(X).tolist()


def test_names_in_scikit_learns_searches(scores):
    from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score

    X, y, groups = scores
    folds = GroupKFold(3)
    names = cross_val_score(Svm(), X, NAMES[y], groups=groups, cv=folds, error_score="raise")
    numbers = cross_val_score(Svm(), X, y, groups=groups, cv=folds, error_score="raise")
    assert names.tolist() == numbers.tolist()
    search = GridSearchCV(Svm(), {"C": [0.1, 1]}, cv=folds, scoring="neg_log_loss").fit(X, NAMES[y], groups=groups)
    assert set(search.predict(X)) <= set(NAMES)


def test_frames_in_and_a_frame_out(scores):
    pandas = pytest.importorskip("pandas")
    X, y, groups = scores
    order = NAMES[[3, 0, 5, 1, 2, 4]]  # no alphabet's
    index = [f"video{number}" for number in range(len(X))]
    frames = [pandas.DataFrame(X[:, stream], columns=order, index=index) for stream in (0, 1)]
    labels = pandas.Series(order[y], index=index)
    fuser = Multiply().fit(frames, labels, groups)
    expected = Multiply().fit(X, y, groups)
    proba = fuser.predict_proba(frames)
    assert (proba.index.tolist(), proba.columns.tolist()) == (index, order.tolist())
    np.testing.assert_array_equal(proba.to_numpy(), expected.predict_proba(X))
    assert fuser.predict(frames).tolist() == order[expected.predict(X)].tolist()
    assert fuser.score(frames, labels) == expected.score(X, y)
    assert isinstance(fuser.predict_proba(X), np.ndarray)
    few = [frame.iloc[:2] for frame in frames]  # fitted on all classes, asked of two videos
    assert fuser.predict(few).tolist() == fuser.predict(frames)[:2].tolist()
    numbered = [frame.set_axis(range(1, 7), axis="columns") for frame in frames]
    assert Multiply().fit(numbered, y + 1).predict(numbered).tolist() == (expected.predict(X) + 1).tolist()


def frames_of(X, **changes):
    pandas = pytest.importorskip("pandas")
    return [pandas.DataFrame(X[:, stream], **{"columns": NAMES, **changes}) for stream in range(X.shape[1])]


BAD = {
    "names of another number": (lambda X, y: (X, NAMES[y % 4]), "labels name 4 classes for scores of 6: which columns"),
    "streams of two shapes": (lambda X, y: ([X[:, 0], X[:, 1, :4]], y), r"shapes \(300, 6\) and \(300, 4\)"),
    "an array a video": (lambda X, y: (list(X), y), r"labels of shape \(300,\) for 2 videos: X is an array"),
    "a label that is no column": (lambda X, y: (frames_of(X), np.where(y == 2, "x", NAMES[y])), "label 'x' is none of"),
    "numbers for named columns": (lambda X, y: (frames_of(X), y), r"label \d is none of the columns: brush, climb"),
    "columns in another order": (
        lambda X, y: ([frames_of(X)[0], frames_of(X)[1][NAMES[::-1]]], NAMES[y]),
        "stream 1 has another columns than stream 0",
    ),
    "rows in another order": (
        lambda X, y: ([frames_of(X)[0], frames_of(X)[1].iloc[::-1]], NAMES[y]),
        "stream 1 has another index than stream 0",
    ),
    "a column twice": (lambda X, y: (frames_of(X, columns=list("aabcde")), NAMES[y]), "two columns are called a"),
    "columns of two types": (lambda X, y: (frames_of(X, columns=[0, *"abcde"]), NAMES[y]), "neither all texts nor"),
    "a frame and an array": (lambda X, y: ([frames_of(X)[0], X[:, 1]], NAMES[y]), "holds frames and arrays"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_told_is_refused(case, scores):
    X, y, _ = scores
    make, message = BAD[case]
    with pytest.raises(UsageError, match=message) as told:
        Multiply().fit(*make(X, y))
    assert "\n" not in str(told.value)


def test_frames_of_other_classes_than_fitted_are_refused(scores):
    X, y, _ = scores
    fuser = Multiply().fit(frames_of(X), NAMES[y])
    with pytest.raises(UsageError, match="columns are not the classes that the fuser was fitted on"):
        fuser.predict(frames_of(X, columns=NAMES[::-1]))


def test_weights_by_name(scores):
    X, y, _ = scores
    streams = ("linear/rgb", "linear/flow", "stfn/fused")
    for told, expected in (
        ({"rgb": 1, "flow": 2, "fused": 3}, [1, 2, 3]),
        ({"linear/flow": 2, "rgb": 1, "stfn/fused": 0}, [1, 2, 0]),
        ([3, 2, 1], [3, 2, 1]),
    ):
        assert Weighted.options_for(streams, {"weights": told})["weights"] == expected
    assert Weighted.options_for(("a/flow", "a/rgb", "b/flow"))["weights"] == [1.5, 1, 1.5]
    for told, message in (
        (None, r"1 : 1\.5 is for streams rgb and flow: give .* --weights linear/rgb=1,linear/flow=1,stfn/fused=1"),
        ({"rgb": 1}, "no weight of linear/flow, stfn/fused: give each stream's"),
        ({"rgb": 1, "flow": 1, "fused": 1, "audio": 2}, "unknown stream 'audio'"),
    ):
        with pytest.raises(UsageError, match=message):
            Weighted.options_for(streams, {"weights": told})
    with pytest.raises(UsageError, match="arrays have no streams' names"):
        Weighted(weights={"rgb": 1, "flow": 2}).fit(X, y)


def test_every_rule_has_a_public_class():
    rules = {name: load_item("avr.fusion", name, "rule").RULE for name in item_names("avr.fusion")}
    assert {made.__name__ for made in rules.values()} <= set(avr.fusion.__all__)
    for made in rules.values():
        assert getattr(avr.fusion, made.__name__) is made
    assert repr(make_fuser("early-svm")) == "EarlySvm(C=1.0, num_classes=None)"
    assert isinstance(make_fuser("early-svm"), EarlySvm)


def test_all_is_sorted_and_there():
    assert sorted(avr.fusion.__all__) == avr.fusion.__all__
    assert all(hasattr(avr.fusion, name) for name in avr.fusion.__all__)


def test_a_rules_class_loads_nothing_heavy():
    code = (
        "import sys; from avr.fusion import Awf, LogisticStacking, LpBeta, Multiply, Svm, Weighted;"
        "print([name for name in ('torch', 'sklearn', 'scipy', 'pandas', 'h5py') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
