"""A row's accuracy from the scores of one trained split."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, measure
from avr.fusion import Fuser, gather, make_fuser, pooled_features
from avr.heads import load_run, open_examples, predict
from avr.store import (
    ATTENDED,
    TRAINED_ON,
    UNTRAINED,
    FeatureStore,
    Scores,
    is_test,
    read_scores,
    score_path,
    vectors_path,
)
from avr.training import choose_device

from .reading import Measure, Row


def needs_folds(rule: str) -> bool:
    """Whether a rule learns from scores, and so needs those of training videos; "" does not."""
    return bool(rule) and make_fuser(rule).trained


def reads_features(row: Row) -> bool:
    """Whether measuring a row takes its store, not the scores of its runs alone."""
    if not row.fuse:
        return False
    if not isinstance(make_fuser(row.fuse, **row.fuse_options), Fuser):
        return row.features == "store"
    return _learns_from_training(row)


def _learns_from_training(row: Row) -> bool:
    return needs_folds(row.fuse) and row.fit == "training"


def accuracy_of(
    row: Row,
    folder: Path,
    *,
    store: Path,
    layers: Mapping[str, str],
    outside: Sequence[Path] = (),
    before: Path | None = None,
) -> float:
    """Accuracy, a share, of one row on the test part of one split, as the row measures it.

    Args:
        row: the recipe's row.
        folder: the split's folder of the trained run, which holds its scores.
        store: the feature store it was trained on, for rules that read features.
        layers: stream -> layer that was read.
        outside: score files that the rule takes too.
        before: of a run that was trained end to end, the split's folder of the run that it began from: its scores of
            the training videos are those that rules learn from.

    Raises:
        UsageError: an output the head does not have, or outside scores without some of the test videos.
    """
    scores = read_scores(score_path(folder))
    test = is_test(scores.fold)
    if not row.fuse:
        output = row.output or scores.prediction
        return _measure(row.measure, _of(scores, output)[test], scores.labels[test])
    fuser = make_fuser(row.fuse, **row.fuse_options)
    if not isinstance(fuser, Fuser):
        if row.features == "head":
            store, layers = _vectors(folder, scores), dict.fromkeys(layers, ATTENDED)
        with FeatureStore(store, streams=list(layers)) as opened:
            train, tested = opened.split(scores.split)
            features = pooled_features(opened, layers)
            fuser.fit(features[train], opened.labels[train], opened.groups[train])
            return _measure(row.measure, fuser.predict_proba(features[tested]), opened.labels[tested])
    if _learns_from_training(row):
        scores = _joined(_training_scores(before or folder, scores, store, layers), scores)
    elif fuser.trained and before is not None:
        scores = _joined(read_scores(score_path(before)), scores)
    names = row.of or tuple(name for name in scores.streams if name != scores.fused)
    own = dataclasses.replace(scores, streams={name: _of(scores, name) for name in names}, fused=None)
    table = gather([("run", own), *((str(path), read_scores(path)) for path in outside)])
    tested = is_test(table.fold)
    if tested.sum() < test.sum():
        raise UsageError(f"{row.name}: outside scores lack {test.sum() - tested.sum()} of {test.sum()} test videos")
    learn = ~tested if fuser.trained else tested
    if not learn.any():
        raise UsageError(f"{folder}: no scores of training videos for {row.fuse} to learn from")
    fuser.set_params(kind=list(table.kinds))
    fuser.fit(table.X[learn], table.labels[learn], table.groups[learn])
    return _measure(row.measure, fuser.predict_proba(table.X[tested]), table.labels[tested])


def _measure(name: Measure, scores: NDArray, labels: NDArray) -> float:
    found = measure(scores, labels)
    return (found["top1"] + found["top5"]) / 2 if name == "average" else found[name]


def _vectors(folder: Path, scores: Scores) -> Path:
    """The store of the vectors that a head made of its split's videos, beside its scores.

    Raises:
        UsageError: the head keeps none.
    """
    place = vectors_path(folder)
    if not place.is_file():
        raise UsageError(f'head {scores.head} keeps no vectors in {folder}, which features = "head" reads')
    return place


def _training_scores(folder: Path, scores: Scores, store: Path, layers: Mapping[str, str]) -> Scores:
    """Scores of the training videos by the head that was trained on them, in the streams of its test scores."""
    head = load_run(folder).head
    with FeatureStore(store, streams=list(layers)) as opened:
        train, _ = opened.split(scores.split)
        videos = np.flatnonzero(train)
        outputs = predict(head, open_examples(opened, layers, device=choose_device("cpu")), videos, names=opened.ids)
        outputs = {name: outputs[name] for name in scores.streams}
        return Scores.of(opened, outputs, at=videos, split=scores.split, fold=TRAINED_ON, head=scores.head)


def _joined(training: Scores, scores: Scores) -> Scores:
    """The test scores of a run with the scores of training videos of another of the same outputs."""
    learn, test = ~is_test(training.fold), is_test(scores.fold)

    def both(a: NDArray, b: NDArray) -> NDArray:
        return np.concatenate([a[learn], b[test]])

    return dataclasses.replace(
        scores,
        ids=both(training.ids, scores.ids),
        labels=both(training.labels, scores.labels),
        groups=both(training.groups, scores.groups),
        fold=both(training.fold, scores.fold),
        streams={name: both(training.streams[name], scores.streams[name]) for name in scores.streams},
    )


def _of(scores: Scores, output: str) -> NDArray:
    if output in UNTRAINED and output not in scores.streams:
        raise UsageError(
            f"head {scores.head} has no prediction of its own: name an output of {', '.join(scores.streams)}"
        )
    if output not in scores.streams:
        raise UsageError(f"head {scores.head} has no output '{output}'; it has {', '.join(scores.streams)}")
    return scores.streams[output]
