"""A linear SVM on the streams' concatenated pooled features."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray

from avr.core import About, PositiveFloat, PositiveInt, UsageError, check_fields, check_known, log_softmax, note
from avr.store import ATTENDED, TEST_VIDEO, UNTRAINED, FeatureStore, default_store, is_test

from ._base import Rule, make_fuser
from ._fuse import claimed, conclude
from ._given import are_names, check_learnable, numbered
from ._inputs import Table, stream_rank
from ._results import FusionResult
from ._trials import Evaluation, Judged, Trial, of_split
from .svm import fit_linear_svm, unit_rows

NAME = "early-svm"
LAYERS = "pooled", ATTENDED  # of a stream the first that it has: a store's own vectors, or those that a head made
VIDEOS_AT_ONCE = 64  # maps of all videos need not fit in memory


class EarlySvm(Rule):
    """Early fusion of STILT table 5: features of all streams concatenated, one linear SVM.

    `X` holds features `(M, S, D)`, not scores: one vector a video and stream, narrower streams filled up with zeros.
    Each stream's vector is first scaled to length one, so that no stream outweighs another by its units.

    Of a store the layer `pooled` is read; of the vectors that `coattention` makes of each video, which a run keeps in
    its split's `attended.h5`, the layer `attended`: the paper's "STIL + Early" is `--store RUN/split-1/attended.h5`.

    Departure from the paper: it gives neither the SVM's penalty, nor its multi-class form, nor a normalisation; ours
    are C = 1, one against rest, and unit length.

    Args:
        C: inverse strength of the penalty.
        num_classes: K; None: one more than the largest label, or as many as there are names.

    Attributes:
        coefficients_: (K, S·D) float64. intercept_: (K,) float64. shape_: (S, D).
    """

    trained = False  # on features: it needs no scores

    def __init__(
        self,
        *,
        C: Annotated[PositiveFloat, About("Inverse strength of the penalty.")] = 1.0,
        num_classes: PositiveInt | None = None,
    ) -> None:
        self.C = C
        self.num_classes = num_classes

    def fit(self, X: object, y: object, groups: object = None) -> Self:
        """Learn from features `X (M, S, D)` and labels `y (M,)`; `groups` is taken for the common interface alone.

        Raises:
            UsageError: shapes that do not fit, NaN or infinite features, labels out of range, one class or one video.
        """
        check_fields(self)
        units = unit_features(X)
        given = np.asarray(y)
        count = len(np.unique(given)) if are_names(given) else int(given.max(initial=0)) + 1
        num_classes = count if self.num_classes is None else self.num_classes
        self.classes_, labels = numbered(given, len(units), num_classes)
        check_learnable(labels, self.classes_)
        self.shape_ = list(units.shape[1:])
        rows = units.reshape(len(units), -1)
        self.coefficients_, self.intercept_ = fit_linear_svm(rows, labels, num_classes, C=self.C)
        return self

    def decision_function(self, X: object) -> NDArray:
        """Margins `(M, K)` of features `(M, S, D)`."""
        self._check_fitted()
        units = unit_features(X)
        if list(units.shape[1:]) != self.shape_:
            raise UsageError(f"features of shape {units.shape[1:]} a video for an SVM fitted on {tuple(self.shape_)}")
        return np.asarray(units.reshape(len(units), -1) @ self.coefficients_.T + self.intercept_)


def unit_features(X: object) -> NDArray:
    """Features `(M, S, D)` as float64, each stream's vector of length one; refused where they are not finite."""
    features = np.asarray(X, dtype=np.float64)
    if features.ndim != 3 or not features.size:
        raise UsageError(f"features of shape {features.shape}: they are (videos, streams, width), none of them 0")
    if not np.isfinite(features).all():
        raise UsageError(f"features: NaN or infinite in {int((~np.isfinite(features)).any(axis=(1, 2)).sum())} videos")
    return unit_rows(features)


def fuse_features(
    store: Path | str | Sequence[Path | str] | None = None,
    *,
    split: str | None = None,
    streams: Sequence[str] | None = None,
    C: PositiveFloat = 1.0,
    out: Path | None = None,
    seed: int = 0,
    bootstrap: int = 2000,
) -> FusionResult:
    """Early fusion: one SVM on pooled features, beside one a stream; judge it, write a run folder.

    Fitted on the training videos and judged on the test videos, beside the mean and the product of the
    probabilities that the single streams' SVMs give.

    Args:
        store: a feature store, or several of one data set, joined by video; None: the newest under `features/`.
        split: one split's name; None: every split with features of training and test videos.
        streams: which streams; None: all with a layer `pooled`, or `attended`.
        C: inverse strength of the SVM's penalty.
        out: the run folder to write, which may hold this very fusion; None: the next `runs/fuse-early-svm-<k>`.
        seed: of the bootstrap.
        bootstrap: samples of the paired bootstrap.

    Raises:
        UsageError: no such layer of a stream, no such split.
    """
    evaluation, trials = Evaluation(seed=seed, bootstrap=bootstrap), []
    tables = feature_tables(store, split=split, streams=streams)
    with claimed(NAME, tables, {"C": C}, evaluation, out) as folder:
        for table in tables:
            train, test = np.flatnonzero(table.fold == 0), np.flatnonzero(is_test(table.fold))
            text = f"fitted on the features of {len(train)} training videos, judged on {len(test)} test videos"
            read = ", ".join(f"{source['stream']}/{source['layer']}" for source in table.sources)
            note(f"fuse{of_split(table.split)}: {read}")
            trials.append(Trial(table, [(train, test)], text))
            try_streams(trials[-1], C=C)
        return conclude(NAME, trials, evaluation, calibration={}, out=folder)


def feature_tables(
    store: Path | str | Sequence[Path | str] | None, *, split: str | None = None, streams: Sequence[str] | None = None
) -> list[Table]:
    """One table a split of a store or several: `X (M, S, D)` are pooled features, `fold` is 0 for training videos."""
    given = bool(streams)
    places = default_store() if store is None else store
    if not streams:  # videos need not have what is not read
        with FeatureStore(places) as whole:
            streams = [name for name in whole.streams if {*LAYERS} & {*whole.layers(name)}]
    with FeatureStore(places, streams=streams) as opened:
        read = {name: next((layer for layer in LAYERS if layer in opened.layers(name)), "") for name in opened.streams}
        there = [name for name, layer in read.items() if layer]
        there.sort(key=lambda name: (stream_rank(name), name))
        wanted = list(streams) if given else there
        if not wanted:
            raise UsageError(f"{opened.path}: no pooled features of any stream")
        for name in wanted:
            check_known("stream with pooled features", name, there, where=f"{opened.path}: ")
        X = pooled_features(opened, {name: read[name] for name in wanted})
        tables = []
        for name in opened.split_names if split is None else [split]:
            train, test = opened.split(name)
            rows = np.flatnonzero(train | test)
            if not train.any() or not test.any():
                continue
            table = Table(
                X=X[rows],
                labels=opened.labels[rows],
                groups=opened.groups[rows],
                ids=opened.ids[rows],
                fold=np.where(test[rows], TEST_VIDEO, 0).astype(np.int32),
                streams=tuple(wanted),
                kinds=("features",) * len(wanted),
                class_names=tuple(opened.class_names),
                split=name,
                dataset=opened.dataset,
                sources=tuple({"stream": s, "layer": read[s]} for s in wanted),
                lacking=opened.lacking,
                read={"stores": list(map(str, opened.places))},
            )
            tables.append(table)
        if not tables:
            raise UsageError(f"{opened.path}: no split has features of both training and test videos")
        return tables


def pooled_features(store: FeatureStore, layers: Mapping[str, str]) -> NDArray[np.float64]:
    """One vector a video and stream, `(M, S, D)`: the mean over views, segments and positions.

    Args:
        store: an open store of M videos.
        layers: stream -> layer; a narrower stream's vectors are filled up with zeros.
    """
    counts = store.views
    shapes = [store.array(stream, layer).shape for stream, layer in layers.items()]
    width = max(shape[1] if len(shape) == 4 else shape[-1] for shape in shapes)
    vectors = np.zeros((len(counts), len(layers), width))
    for place, (stream, layer) in enumerate(layers.items()):
        for start in range(0, len(counts), VIDEOS_AT_ONCE):
            videos = np.arange(start, min(start + VIDEOS_AT_ONCE, len(counts)))
            views = store.read(stream, layer, videos)  # (R, N, D), (R, N, P, D) or (R, N, D, h, w)
            if views.ndim == 4:
                views = views.swapaxes(2, 3)
            rows = views.reshape(*views.shape[:3], -1).mean(axis=3, dtype=np.float64).mean(axis=1)  # (R, D)
            np.add.at(vectors[:, place, : rows.shape[1]], np.repeat(videos, counts[videos]), rows)
    return vectors / counts[:, None, None]


def try_streams(trial: Trial, *, C: float) -> None:
    """One SVM a stream, the mean and the product of their probabilities, and the SVM on all streams."""
    make = partial(make_fuser, NAME, C=C, num_classes=len(trial.table.class_names))
    for place, name in enumerate(trial.table.streams):
        trial.results[name] = trial.judge(make, stream=place)
    alone = np.stack([log_softmax(single.scores) for single in trial.results.values()], axis=1)  # (J, S, K)
    for name in UNTRAINED:
        rule = make_fuser(name, kind="logits").fit(alone, trial.labels)
        trial.results[name] = Judged(rule.decision_function(alone), rule)
    trial.results[NAME] = trial.judge(make)


RULE = EarlySvm
