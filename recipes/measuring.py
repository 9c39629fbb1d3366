"""A row's accuracy from the scores of one trained split."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from numpy.typing import NDArray

from avr.core import UsageError, top_k_accuracy
from avr.fusion import Fuser, gather, make_fuser, pooled_features
from avr.store import AVERAGE, FeatureStore, Scores, is_test, read_scores, score_path

from .reading import Row


def needs_folds(rule: str) -> bool:
    """Whether a rule learns from scores, and so needs out-of-fold scores of the training videos; "" does not."""
    return bool(rule) and make_fuser(rule).trained


def accuracy_of(
    row: Row, folder: Path, *, store: Path, layers: Mapping[str, str], outside: Sequence[Path] = ()
) -> float:
    """Top-1 accuracy, a share, of one row on the test part of one split.

    Args:
        row: the recipe's row.
        folder: the split's folder of the trained run, which holds its scores.
        store: the feature store it was trained on, for rules that read features.
        layers: stream -> layer that was read.
        outside: score files that the rule takes too.

    Raises:
        UsageError: an output the head does not have, or outside scores without some of the test videos.
    """
    scores = read_scores(score_path(folder))
    test = is_test(scores.fold)
    if not row.fuse:
        output = row.output or scores.prediction
        return top_k_accuracy(_of(scores, output)[test], scores.labels[test])
    fuser = make_fuser(row.fuse, **row.fuse_options)
    if not isinstance(fuser, Fuser):
        with FeatureStore(store, streams=list(layers)) as opened:
            train, tested = opened.split(scores.split)
            features = pooled_features(opened, layers)
            fuser.fit(features[train], opened.labels[train], opened.groups[train])
            return top_k_accuracy(fuser.predict_proba(features[tested]), opened.labels[tested])
    names = row.of or tuple(name for name in scores.streams if name != scores.fused)
    own = dataclasses.replace(scores, streams={name: _of(scores, name) for name in names}, fused=None)
    table = gather([("run", own), *((str(path), read_scores(path)) for path in outside)])
    tested = is_test(table.fold)
    if tested.sum() < test.sum():
        raise UsageError(f"{row.name}: outside scores lack {test.sum() - tested.sum()} of {test.sum()} test videos")
    learn = table.fold >= 0 if fuser.trained else tested
    if not learn.any():
        raise UsageError(f"{folder}: no out-of-fold scores for {row.fuse} to learn from")
    fuser.set_params(kind=list(table.kinds))
    fuser.fit(table.X[learn], table.labels[learn], table.groups[learn])
    return top_k_accuracy(fuser.predict_proba(table.X[tested]), table.labels[tested])


def _of(scores: Scores, output: str) -> NDArray:
    if output == AVERAGE:
        raise UsageError(
            f"head {scores.head} has no prediction of its own: name an output of {', '.join(scores.streams)}"
        )
    if output not in scores.streams:
        raise UsageError(f"head {scores.head} has no output '{output}'; it has {', '.join(scores.streams)}")
    return scores.streams[output]
