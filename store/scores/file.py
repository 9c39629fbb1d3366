"""Scores of videos, one small HDF5 file a run and split."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avr.core import UsageError, check_name, load_extra, make_folder
from avr.store.sealed import check_stream, open_sealed, write_sealed
from avr.store.tables import write_tables

TEST_VIDEO = -1
"""In `Scores.fold`: a test video. Out-of-fold scores of training videos say their fold there, from 0 on."""
TRAINED_ON = -2
"""In `Scores.fold`: a training video, scored by the very head that was trained on it."""
UNLABELLED = -1
"""In `Scores.labels`: a video whose class is not known."""
FUSED = "fused"  # what a head calls its own combined prediction
AVERAGE = "average"  # the mean probability of several streams, of a head that has none
MULTIPLY = "multiply"  # the mean of their log-probabilities
UNTRAINED = (AVERAGE, MULTIPLY)  # stand beside every head of single streams and every fusion

Kind = Literal["logits", "probabilities"]


def is_test(fold: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Mask (M,) of the test videos in a column `fold`: what is left are training videos, whoever scored them."""
    mask: NDArray[np.bool_] = fold == TEST_VIDEO
    return mask


def prediction_of(outputs: Iterable[str]) -> str:
    """The name of a head's prediction, given its outputs': "fused", else its only one, else "multiply", their product.

    On published scores of all kinds the product is right more often than the average (benchmarks/RESULTS.md, "Fusion on
    real scores").
    """
    names = list(outputs)
    return FUSED if FUSED in names else names[0] if len(names) == 1 else MULTIPLY


@dataclass(frozen=True, repr=False)
class Videos:
    """M videos in columns: ids, labels, groups (M,), their K class names and their data set's name."""

    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    class_names: tuple[str, ...]
    dataset: str = ""

    def __repr__(self) -> str:
        return f"Videos({len(self.ids)} of {self.dataset or 'no data set'}, {len(self.class_names)} classes)"

    @classmethod
    def of(cls, dataset: Any, videos: Sequence[Any] | None = None) -> "Videos":
        """The videos of a data set (`avr.datasets.Dataset` or the like), or some of them, in columns."""
        chosen = dataset.videos if videos is None else videos
        return cls(
            ids=np.array([video.id for video in chosen], dtype=str),
            labels=np.array([video.label for video in chosen], dtype=np.int64),
            groups=np.array([video.group for video in chosen], dtype=str),
            class_names=tuple(dataset.class_names),
            dataset=dataset.name,
        )


@dataclass(frozen=True, repr=False)
class Scores:
    """Scores of M videos by one or more streams.

    Attributes:
        ids: (M,) str, none twice.
        labels: (M,) int64; `UNLABELLED` where it is not known.
        groups: (M,) str; folds never split a group.
        class_names: K names.
        streams: name to (M, K) float32.
        kind: what the numbers are: "logits" (their softmax is the probability) or "probabilities".
        split: the split's name.
        fold: (M,) int32: `TEST_VIDEO`; f ≥ 0, an out-of-fold score of a training video held out in fold f;
            `TRAINED_ON`, a training video scored by the very head that was trained on it.
        head: what made them.
        dataset: the data set's name.
        provenance: how they were made.
        fused: the stream that is the head's own combined prediction, kept out of fusion by default; None without.
        path: the file they were read from; "" of others.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    class_names: tuple[str, ...]
    streams: dict[str, NDArray[np.float32]]
    kind: Kind
    split: str
    fold: NDArray[np.int32]
    head: str = ""
    dataset: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    fused: str | None = None
    path: str = ""

    def __repr__(self) -> str:
        test, made = int(is_test(self.fold).sum()), f"{self.head or 'scores'}, {', '.join(self.streams)}"
        split = f", split {self.split}" if self.split else ""
        return f"Scores({made}: {test} test of {len(self.ids)} videos, {len(self.class_names)} classes{split})"

    def to_frame(self) -> Any:
        """A pandas DataFrame of a row a video, with the ids as its index: label, group, fold, and a column a class.

        Labels are class names, None where they are not known. Of several streams the classes' columns are called
        "stream/class". `import_scores` reads what this makes of one stream.

        Raises:
            UsageError: pandas is not installed.
        """
        pd = load_extra("pandas", "a DataFrame")
        labels = [None if label == UNLABELLED else self.class_names[label] for label in self.labels]
        columns: dict[str, Any] = {"label": labels, "group": self.groups.tolist(), "fold": self.fold}
        for stream, values in self.streams.items():
            above = f"{stream}/" if len(self.streams) > 1 else ""
            columns |= {f"{above}{name}": values[:, number] for number, name in enumerate(self.class_names)}
        return pd.DataFrame(columns, index=pd.Index(self.ids.tolist(), name="id"))

    @property
    def prediction(self) -> str:
        """The output that is the head's prediction; "average", of all streams, is not among `streams` itself."""
        return self.fused or prediction_of(self.streams)

    @classmethod
    def of(
        cls,
        videos: Any,
        outputs: Mapping[str, NDArray],
        *,
        at: NDArray[np.intp] | None = None,
        kind: Kind = "logits",
        split: str = "",
        fold: ArrayLike = TEST_VIDEO,
        head: str = "",
        provenance: Mapping[str, Any] | None = None,
    ) -> "Scores":
        """Scores of a store's, a table's or a data set's videos. An output called "fused" is the head's own.

        Args:
            videos: whose scores they are: a store, scores or `Videos`, whatever has its columns.
            outputs: name to (M, K), of any dtype.
            at: (M,) positions in `videos`, in the outputs' order; None: all of them.
            kind: what the numbers are.
            split: the split's name.
            fold: (M,), or one value for all.
            head: what made them.
            provenance: how they were made.
        """
        chosen = np.arange(len(videos.ids)) if at is None else at
        return cls(
            ids=videos.ids[chosen],
            labels=videos.labels[chosen],
            groups=videos.groups[chosen],
            class_names=videos.class_names,
            streams={name: np.asarray(values, dtype=np.float32) for name, values in outputs.items()},
            kind=kind,
            split=split,
            fold=np.broadcast_to(np.asarray(fold, dtype=np.int32), len(chosen)).copy(),
            head=head,
            dataset=videos.dataset,
            provenance=dict(provenance or {}),
            fused=FUSED if FUSED in outputs else None,
        )


def check_scores(scores: Scores, *, where: str = "scores: ") -> None:
    """Refuse scores that make no sense.

    Checked: lengths, ids that repeat, labels outside the classes, fewer than two classes, no stream, NaN and
    infinity, probabilities outside 0 … 1 or whose sum is not 1 (within 1e-2), `fused` naming no stream, names of
    streams, split, head and data set that are none (they become parts of paths).

    Args:
        scores: the scores.
        where: stands before the message, such as the name of the file they were read from.

    Raises:
        UsageError: naming what and where.
    """
    problem = next(_problems(scores), None)
    if problem is not None:
        raise UsageError(where + problem)


def _problems(scores: Scores) -> Iterator[str]:
    """What is wrong with scores; each is looked for only where the ones before are not."""
    count, num_classes = len(scores.ids), len(scores.class_names)
    for name in ("labels", "groups", "fold"):
        if len(getattr(scores, name)) != count:
            yield f"{len(getattr(scores, name))} {name} for {count} videos"
    ids, counts = np.unique(scores.ids, return_counts=True)
    if len(ids) != count:
        yield f"ids that repeat: {', '.join(ids[counts > 1][:10])}"
    if num_classes < 2:
        yield f"{num_classes} class; at least two are needed"
    if count and not (scores.labels.min() >= UNLABELLED and scores.labels.max() < num_classes):
        yield f"labels {scores.labels.min()} … {scores.labels.max()} for {num_classes} classes"
    if not scores.streams:
        yield "no stream"
    if scores.kind not in ("logits", "probabilities"):
        yield f"kind {scores.kind!r}; write 'logits' or 'probabilities'"
    if scores.fused is not None and scores.fused not in scores.streams:
        yield f"fused names no stream: {scores.fused!r}"
    named = [("split", scores.split), ("head", scores.head), ("data set", scores.dataset)]
    try:
        for stream in scores.streams:
            check_stream(stream)
        for kind, name in named:
            check_name(kind, name or "_")
    except UsageError as error:
        yield str(error)
    for name, values in scores.streams.items():
        if values.shape != (count, num_classes):
            yield f"stream {name}: shape {values.shape}, expected ({count}, {num_classes})"
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            yield f"stream {name}: NaN or infinite scores of {bad.sum()} videos, first {scores.ids[bad][0]}"
        if scores.kind == "probabilities":
            off = (np.abs(values.sum(axis=1) - 1) > 1e-2) | (values < 0).any(axis=1)
            if off.any():
                yield f"stream {name}: no probabilities for {off.sum()} videos, first {scores.ids[off][0]}"


def write_scores(path: Path | str, scores: Scores) -> Path:
    """Write scores to a file, whole or not at all.

    Raises:
        UsageError: scores that make no sense (see `check_scores`), or a file stands where the folder should be.
        WorkError: the file cannot be written.
    """
    path = Path(path)
    scores = replace(scores, streams={name: np.asarray(values, dtype="<f4") for name, values in scores.streams.items()})
    check_scores(scores)
    about = {name: getattr(scores, name) for name in ("kind", "split", "head", "dataset", "fused")}
    tables = {
        **scores.streams,
        "index/id": scores.ids.tolist(),
        "index/group": scores.groups.tolist(),
        "index/label": np.asarray(scores.labels, dtype="<i8"),
        "index/fold": np.asarray(scores.fold, dtype="<i4"),
        "index/class_names": scores.class_names,
        "index/about": {**about, "streams": list(scores.streams)},
        "index/provenance": scores.provenance,
    }
    make_folder(path.parent)
    return write_sealed(path, "scores", lambda file: write_tables(file, tables))


def read_scores(path: Path | str) -> Scores:
    """Read a score file.

    Raises:
        UsageError: no such file, not avr's, of another format version, or scores that make no sense.
        WorkError: damaged.
    """
    with open_sealed(Path(path), "scores") as (_, tables):
        about = tables.json("index/about")
        ids, class_names = tables.text("index/id"), tables.text("index/class_names")
        shape = (len(ids), len(class_names))
        scores = Scores(
            ids=np.array(ids, dtype=str),
            labels=tables.numbers("index/label", (len(ids),), "i8"),
            groups=np.array(tables.text("index/group"), dtype=str),
            class_names=class_names,
            streams={str(name): tables.numbers(str(name), shape, "f4") for name in about["streams"]},
            kind=about["kind"],
            split=str(about["split"]),
            fold=tables.numbers("index/fold", (len(ids),), "i4"),
            head=str(about["head"]),
            dataset=str(about["dataset"]),
            provenance=tables.json("index/provenance"),
            fused=about["fused"],
            path=str(path),
        )
        check_scores(scores, where=f"{path}: ")
        return scores


def reordered(scores: Scores, class_names: tuple[str, ...]) -> Scores:
    """Scores with their classes, the same set, in another order."""
    columns = np.array([scores.class_names.index(name) for name in class_names], np.intp)
    number = np.argsort(columns)  # old class number → new
    streams = {name: stream[:, columns] for name, stream in scores.streams.items()}
    labels = np.where(scores.labels == UNLABELLED, UNLABELLED, number[scores.labels])
    return replace(scores, class_names=class_names, labels=labels, streams=streams)
