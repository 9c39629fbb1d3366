"""Rules as scikit-learn's classifiers, for who puts them into its searches, pipelines and ensembles."""

import pickle

import numpy as np
import pytest

from avr.core import UsageError
from avr.fusion import make_fuser, rule_names


@pytest.mark.parametrize("rule", rule_names())
def test_scikit_learns_contract(rule, scores):
    from sklearn.base import clone

    X, y, groups = scores
    fuser = make_fuser(rule)
    before = fuser.get_params()
    assert clone(fuser).get_params() == before
    assert fuser.fit(X, y, groups) is fuser
    assert fuser.get_params() == before
    assert np.array_equal(clone(fuser).fit(X, y, groups).decision_function(X), fuser.decision_function(X)), (
        "two fits differ"
    )
    proba = fuser.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
    assert (proba >= 0).all()
    assert fuser.predict(X).tolist() == proba.argmax(axis=1).tolist()
    assert fuser.classes_.tolist() == list(range(6))
    with pytest.raises(Exception, match="not fitted"):
        clone(fuser).predict(X)


@pytest.mark.parametrize(
    ("rule", "grid"),
    [
        ("svm", {"C": [0.1, 10]}),
        ("weighted", {"weights": [[1, 1], [1, 3]]}),
        ("awf", {"objective": ["likelihood", "margin"], "delta": [0.0, 0.3]}),
        ("greedy-selection", {"measure": ["accuracy", "log-loss"]}),
    ],
)
def test_grid_search(rule, grid, scores):
    from sklearn.model_selection import GridSearchCV, GroupKFold

    X, y, groups = scores
    search = GridSearchCV(make_fuser(rule), grid, cv=GroupKFold(3), error_score="raise").fit(X, y, groups=groups)
    assert set(search.best_params_) == set(grid)
    assert search.best_score_ > 0.6


def test_parameters_are_set_and_shown(scores):
    from sklearn.base import is_classifier

    X, y, _ = scores
    fuser = make_fuser("svm").set_params(C=10)
    assert fuser.get_params() == {"C": 10, "kind": "auto"}
    assert repr(fuser) == "Svm(C=10, kind='auto')"
    with pytest.raises(UsageError, match="unknown option of Svm 'gamma'; known: C, kind"):
        fuser.set_params(gamma=1)
    assert is_classifier(fuser)
    assert fuser.fit(X, y).score(X, y) == (fuser.predict(X) == y).mean()
    assert fuser.score(X, y, sample_weight=fuser.predict(X) == y) == 1


def test_cross_validation_keeps_groups_whole(scores):
    from sklearn.model_selection import GroupKFold, cross_val_score

    X, y, groups = scores
    found = cross_val_score(make_fuser("multiply"), X, y, groups=groups, cv=GroupKFold(3), error_score="raise")
    folds = GroupKFold(3).split(X, y, groups)
    assert found.tolist() == [make_fuser("multiply").fit(X, y).score(X[held], y[held]) for _, held in folds]


def test_in_a_pipeline(scores):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    X, y, _ = scores
    chain = make_pipeline(FunctionTransformer(np.negative), make_fuser("svm"))
    expected = make_fuser("svm").fit(-X, y).decision_function(-X)
    np.testing.assert_array_equal(chain.fit(X, y).decision_function(X), expected)
    assert chain.set_params(svm__C=0.1).get_params()["svm__C"] == 0.1


def test_in_a_soft_vote(scores):
    from sklearn.ensemble import VotingClassifier

    X, y, _ = scores
    rules = [(name, make_fuser(name)) for name in ("average", "log-linear-pool")]
    expected = np.mean([rule.fit(X, y).predict_proba(X) for _, rule in rules], axis=0)
    vote = VotingClassifier(rules, voting="soft").fit(X, y)
    np.testing.assert_allclose(vote.predict_proba(X), expected, rtol=1e-12)


def test_calibrated_by_scikit_learn(scores):
    from sklearn.calibration import CalibratedClassifierCV

    X, y, _ = scores
    calibrated = CalibratedClassifierCV(make_fuser("svm"), cv=2).fit(X, y)
    assert (calibrated.predict(X) == y).mean() > 0.6


@pytest.mark.parametrize("fitted", [False, True])
def test_pickled(fitted, scores, tmp_path):
    import joblib

    X, y, _ = scores
    fuser = make_fuser("svm", C=3.0).fit(X, y) if fitted else make_fuser("svm", C=3.0)
    joblib.dump(fuser, tmp_path / "fuser")
    for again in (pickle.loads(pickle.dumps(fuser)), joblib.load(tmp_path / "fuser")):
        assert again.get_params() == fuser.get_params()
        again = again if fitted else again.fit(X, y)
        np.testing.assert_array_equal(again.predict_proba(X), fuser.fit(X, y).predict_proba(X))


def test_metadata_routing(scores):
    from sklearn import config_context
    from sklearn.base import clone
    from sklearn.exceptions import UnsetMetadataPassedError
    from sklearn.model_selection import GroupKFold, cross_validate
    from sklearn.pipeline import make_pipeline

    X, y, groups = scores
    splitter = GroupKFold(3)
    with config_context(enable_metadata_routing=True):
        with pytest.raises(UnsetMetadataPassedError, match="groups"):
            cross_validate(make_fuser("awf"), X, y, cv=splitter, params={"groups": groups})
        rule = make_fuser("awf", nu=0.5).set_fit_request(groups=True).set_score_request(sample_weight=True)
        asked = clone(pickle.loads(pickle.dumps(rule)))
        found = cross_validate(asked, X, y, cv=splitter, params={"groups": groups}, return_estimator=True)
        chain = make_pipeline(asked).fit(X, y, groups=groups)
        assert chain.score(X, y) == (chain.predict(X) == y).mean()
        assert chain.score(X, y, sample_weight=chain.predict(X) == y) == 1
    for fitted, (fit, _) in zip(found["estimator"], splitter.split(X, y, groups), strict=True):
        alone = make_fuser("awf", nu=0.5).fit(X[fit], y[fit], groups[fit])
        assert fitted.weights_.tolist() == alone.weights_.tolist()
