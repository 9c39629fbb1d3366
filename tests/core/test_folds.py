"""Folds and validation parts that never split a group."""

import numpy as np
import pytest

from avr.core import UsageError, grouped_folds, possible_folds, split_groups, validation_part

GROUPS = np.array([int(number, 16) for number in "97523000187a56a8656a38704960889109"])
LABELS = np.array([int(number, 16) for number in "1000022212311333123232213022321111"])


def many(seed=0):
    """Labels and groups of 500 videos: 100 groups of about five, 5 classes, a group of one class."""
    draw = np.random.default_rng(seed)
    groups = draw.integers(0, 100, 500)
    return draw.integers(0, 5, 100)[groups], groups


@pytest.mark.parametrize("seed", range(5))
def test_folds_never_split_a_group_and_spread_the_classes(seed):
    labels, groups = many(seed)
    fold = grouped_folds(labels, groups=groups, folds=5, seed=seed)
    assert fold.dtype == np.int32
    assert split_groups(fold, groups=groups) == []
    assert set(fold) == set(range(5))
    for label in range(5):
        share = np.bincount(fold[labels == label], minlength=5) / (labels == label).sum()
        # Groups have about five videos and a class about twenty groups: a fold cannot be off by much more than one.
        assert np.abs(share - 0.2).max() < 0.1
    assert np.array_equal(fold, grouped_folds(labels, groups=groups, folds=5, seed=seed))


def test_equal_groups_are_dealt_evenly():
    groups = np.array([f"g{i // 4}" for i in range(48)])  # 12 groups, each with videos of one class
    labels = np.arange(48) // 4 % 3
    folds = grouped_folds(labels, groups=groups, folds=4)
    # 16 videos of each class in 4 groups: one group of each class a fold.
    assert [[int(((folds == f) & (labels == c)).sum()) for c in range(3)] for f in range(4)] == [[4, 4, 4]] * 4


@pytest.mark.parametrize(
    ("seed", "dealt"), [(0, "3022100011032231222311003320113103"), (1, "2033100011023321333211002230112102")]
)
def test_folds_are_those_of_every_version(seed, dealt):
    """Runs that are continued, and fusions done again, must meet the folds they began with."""
    fold = grouped_folds(LABELS, groups=GROUPS, folds=4, seed=seed)
    assert "".join(map(str, fold)) == dealt


def test_other_seeds_deal_other_folds():
    labels, groups = many()
    dealt = [grouped_folds(labels, groups=groups, seed=seed) for seed in (0, 1)]
    assert not np.array_equal(*dealt)


def test_folds_do_not_depend_on_the_groups_names():
    labels, groups = many()
    names = np.array([f"film {group:04d}" for group in groups])
    assert np.array_equal(grouped_folds(labels, groups=groups), grouped_folds(labels, groups=names))


def test_labels_and_groups_cannot_be_swapped():
    labels, groups = np.array([0, 1, 0, 1]), np.array(["a", "a", "b", "b"])
    with pytest.raises(TypeError):
        grouped_folds(groups, labels, folds=2)
    with pytest.raises(UsageError, match=r"labels .*: they are class numbers \(M,\); name the groups groups=…"):
        grouped_folds(groups, groups=labels, folds=2)
    with pytest.raises(UsageError, match=r"groups \(3,\) of labels \(4,\)"):
        grouped_folds(labels, groups=groups[:3], folds=2)


def test_too_few_groups_for_the_folds():
    with pytest.raises(UsageError, match="5 folds of 3 groups"):
        grouped_folds(np.array([0, 1, 0, 1]), groups=np.array([0, 1, 2, 2]))
    with pytest.raises(UsageError, match="1 folds of 4 groups"):
        grouped_folds(np.array([0, 1, 0, 1]), folds=1)


def test_as_many_folds_as_the_groups_allow():
    assert possible_folds(np.array(["a", "a", "b", "c"]), folds=5) == 3
    assert possible_folds(np.array(["a", "b", "c"]), folds=2) == 2
    assert possible_folds(np.array(["a", "a"]), folds=5) == 0
    assert possible_folds(np.array(["a", "b"]), folds=0) == 0


def test_a_split_group_is_named():
    assert split_groups(np.array([0, 0, 1, 1]), groups=np.array(["a", "b", "b", "c"])) == ["b"]


def test_validation_part_is_whole_groups():
    groups, labels = np.array([f"g{i % 10}" for i in range(100)]), np.arange(100) % 4
    apart = validation_part(labels, groups=groups, share=0.2, seed=0)
    assert apart.sum() == 20
    assert not set(groups[apart]) & set(groups[~apart])


def test_validation_part_of_one_group_warns(capsys):
    apart = validation_part(np.arange(10) % 2, groups=np.array(["g"] * 10), share=0.2, seed=0)
    assert 0 < apart.sum() < 10
    assert "one group" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.4, 0.6, 0.8])
def test_validation_part_is_as_large_as_asked(share):
    groups, labels = np.repeat(np.arange(40), 5), np.arange(200) % 4
    apart = validation_part(labels, groups=groups, share=share, seed=0)
    assert apart.mean() == pytest.approx(share, abs=0.03)
    assert not set(groups[apart]) & set(groups[~apart])


def test_one_video_has_no_validation_part():
    with pytest.raises(UsageError, match="two training videos at least: set validation=0"):
        validation_part(np.array([0]), groups=np.array(["g"]), share=0.2, seed=0)
