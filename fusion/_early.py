"""Pooled features of a store as the input of `early-svm`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, log_softmax
from avr.store import FeatureStore, default_store, is_test

from ._evaluate import Judged, Parts
from ._inputs import Table, stream_rank
from ._rules import make_fuser

LAYER = "pooled"


def early_tables(
    store: Path | None, *, split: str | None = None, streams: Sequence[str] | None = None
) -> dict[str, Table]:
    """The pooled features of each split of a store, one vector a video and stream: mean over views and segments.

    Returns:
        split name to a table whose `X` is `(M, S, D)`, narrower streams filled up with zeros; `fold` is 0 for training
        videos and -1 for test videos.

    Raises:
        UsageError: no `pooled` layer of a stream, no such split.
    """
    with FeatureStore(default_store() if store is None else store) as opened:
        there = [name for name in opened.streams if LAYER in opened.layers(name)]
        there.sort(key=lambda name: (stream_rank(name), name))
        wanted = there if streams is None else list(streams)
        missing = [name for name in wanted if name not in there]
        if missing or not wanted:
            raise UsageError(
                f"{opened.path}: no pooled features of {', '.join(missing) or 'any stream'}; there are: "
                f"{', '.join(there) or 'none'}"
            )
        if split is not None and split not in opened.split_names:
            raise UsageError(f"no split '{split}' in {opened.path}; there are: {', '.join(opened.split_names)}")
        vectors = [video_means(opened, name) for name in wanted]
        width = max(part.shape[1] for part in vectors)
        X = np.stack([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in vectors], axis=1)
        tables = {}
        for name in opened.split_names if split is None else [split]:
            train, test = opened.split(name)
            rows = np.flatnonzero(train | test)
            if not train.any() or not test.any():
                continue
            tables[name] = Table(
                X=X[rows],
                labels=np.asarray(opened.labels)[rows].astype(np.int64),
                groups=np.asarray(opened.groups)[rows],
                ids=np.asarray(opened.ids)[rows],
                fold=np.where(test[rows], -1, 0).astype(np.int32),
                streams=tuple(wanted),
                kinds=("features",) * len(wanted),
                class_names=tuple(opened.class_names),
                split=name,
                dataset=opened.dataset,
                sources=tuple({"store": str(opened.path), "stream": s, "layer": LAYER} for s in wanted),
            )
        if not tables:
            raise UsageError(f"{opened.path}: no split has features of both training and test videos")
        return tables


def video_means(store: FeatureStore, stream: str) -> NDArray:
    """Mean over views and segments of a stream's pooled features: `(M, D)` float64."""
    videos = np.arange(len(store.ids))
    counts = np.asarray(store.rows(videos))
    rows = store.read(stream, LAYER, videos).mean(axis=1, dtype=np.float64)  # (R, D)
    owner = np.repeat(videos, counts)
    sums = np.zeros((len(videos), rows.shape[1]))
    np.add.at(sums, owner, rows)
    return sums / counts[:, None]


def judge_early(table: Table, parts: Parts, options: dict[str, Any]) -> dict[str, Judged]:
    """The SVM on all streams beside one on each stream, and the mean and product of the latter's probabilities."""
    (fit, held), K = parts.pairs[0], len(table.class_names)
    judged = {}
    alone = []
    for place, name in enumerate(table.streams):
        single = make_fuser("early-svm", num_classes=K, **options)
        single.fit(table.X[fit][:, [place]], table.labels[fit])
        margins = single.decision_function(table.X[held][:, [place]])
        alone.append(log_softmax(margins))
        judged[name] = Judged(margins, np.exp(alone[-1]))
    stacked = np.stack(alone, axis=1)
    for rule in ("average", "multiply"):
        untrained = make_fuser(rule, kind="logits").fit(stacked, table.labels[held])
        judged[rule] = Judged(untrained.decision_function(stacked), untrained.predict_proba(stacked))
    fuser = make_fuser("early-svm", num_classes=K, **options).fit(table.X[fit], table.labels[fit])
    judged["early-svm"] = Judged(fuser.decision_function(table.X[held]), fuser.predict_proba(table.X[held]), fuser)
    return judged


def early_parts(table: Table) -> Parts:
    """Fit on the store's training videos, judge on its test videos."""
    train, test = np.flatnonzero(table.fold == 0), np.flatnonzero(is_test(table.fold))
    text = f"fitted on the features of {len(train)} training videos, judged on {len(test)} test videos"
    return Parts([(train, test)], test, text, train)
