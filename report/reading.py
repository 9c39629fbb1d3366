"""Runs and score files read into what a report shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import AvrError, UsageError, WorkError, confusion_matrix, measure, note
from avr.store import (
    FUSED,
    RUNS,
    UNLABELLED,
    RunRecord,
    Scores,
    files_below,
    finished_runs,
    is_run,
    is_test,
    match_ids,
    read_record,
    read_scores,
    run_of,
    warn_unfinished,
)

from .curves import Curve, read_curve
from .outputs import check_alike, probabilities, with_untrained


@dataclass(frozen=True)
class Judged:
    """The M test videos of one split, and what each output says of them.

    Attributes:
        ids, groups: (M,) str. labels: (M,) int64.
        outputs: name to probabilities (M, K) float64: streams, "average" and "multiply" of several (the mean of their
            probabilities, and of their log-probabilities), a head's or a fusion's own.
        streams: which of them are single streams.
        folder: of the score file, with what else is kept of the split.
        weights: of a fusion with weights by class: names of S streams, weights of classes and streams (K, S).
        out_of_fold: they are training videos, since there are scores of no others.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    outputs: dict[str, NDArray[np.float64]]
    streams: tuple[str, ...]
    folder: Path
    weights: tuple[list[str], NDArray[np.float64]] | None = None
    out_of_fold: bool = False


@dataclass
class Outcome:
    """What one run, or one score file, gave.

    Attributes:
        name: the run's folder, or the file.
        path: of either.
        dataset: the data set's name.
        class_names: K names.
        main: the output that stands for the run: its own fused prediction, by a fusion's rule's name, its only stream,
            or the streams' product.
        splits: its test videos by split ("" where the scores name none).
        curves: the learning curves.
        lack: what the run, or the store it was made of, lacks to be whole; "" where that is nothing.
        record: the run's; None of a score file that is in none.
        provenance: of the first of its scores.
        stores: that the features are of, as they were when the run was made.
    """

    name: str
    path: Path
    dataset: str
    class_names: tuple[str, ...]
    main: str
    splits: dict[str, Judged] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    lack: str = ""
    record: RunRecord | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    stores: tuple[Path, ...] = ()

    @property
    def videos(self) -> dict[str, int]:
        """Test videos by split."""
        return {split: len(judged.labels) for split, judged in self.splits.items()}

    @property
    def judged_on(self) -> str:
        """What its videos are, in words."""
        kinds = {judged.out_of_fold for judged in self.splits.values()}
        test = "test videos" if False in kinds else ""
        return " and ".join(filter(None, [test, "training videos (out-of-fold scores)" if True in kinds else ""]))

    @cached_property
    def rows(self) -> dict[str, dict[str, dict[str, float]]]:
        """What `measure` gives, by split, then by output."""
        return {
            split: {name: measure(values, judged.labels) for name, values in judged.outputs.items()}
            for split, judged in self.splits.items()
        }

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Counts `(K, K)` of the main output, all splits together."""
        return confusion_matrix(self.pooled(self.main), self.labels, len(self.class_names))

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Of the test videos of all splits together, as are `groups` and `pooled`."""
        return np.concatenate([judged.labels for judged in self.splits.values()])

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        return np.concatenate([judged.groups for judged in self.splits.values()])

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs that all splits have, streams first and the main one last."""
        first, *others = self.splits.values()
        shared = [name for name in first.outputs if all(name in judged.outputs for judged in others)]
        return tuple(sorted(shared, key=lambda name: (name == self.main, name not in first.streams)))

    def pooled(self, output: str) -> NDArray[np.float64]:
        """Probabilities of an output `(M, K)`."""
        return np.concatenate([judged.outputs[output] for judged in self.splits.values()])


def read_outcomes(paths: list[Path]) -> list[Outcome]:
    """Read run folders and score files.

    Args:
        paths: run folders (every score file and log below is read) or score files.

    Raises:
        UsageError: nothing given, a path that is missing, or a folder without scores.
    """
    if not paths:
        raise UsageError("no runs to report on; name run folders or score files")
    paths = list({path.resolve(): path for path in paths}.values())
    return [_read_outcome(path, name) for path, name in zip(paths, _names(paths), strict=True)]


def _names(paths: list[Path]) -> list[str]:
    """Last parts of the paths, with as many more as tell them apart."""
    for parts in range(1, 20):
        names = [Path(*path.resolve().parts[-parts:]).as_posix() for path in paths]
        if len(set(names)) == len(paths):
            return names
    return [str(path) for path in paths]


def _read_outcome(path: Path, name: str) -> Outcome:
    if path.is_dir():
        files, logs = files_below(path)
        if not files:
            raise UsageError(f"{path}: no scores.h5 in it; name a run's folder (runs/<head>-…) or a score file")
    elif path.is_file():
        files, logs = [path], []
    else:
        raise UsageError(f"{path}: no such run or score file")
    found = [read_scores(file) for file in files]
    first = found[0]
    run = run_of(path if path.is_dir() else path.parent)
    rule = first.head.removeprefix("fuse-") if "sources" in first.provenance else ""
    outcome = Outcome(
        name,
        path,
        first.dataset,
        first.class_names,
        rule if rule and first.prediction == FUSED else first.prediction,
        lack=warn_unfinished(path, first.provenance),
        record=read_record(run) if is_run(run) else None,
        provenance=first.provenance,
        stores=_stores(first.provenance),
    )
    check_alike(path, found)
    for file, scores in zip(files, found, strict=True):
        _add(outcome, scores, file)
    outcome.curves = [curve for log in logs if (curve := read_curve(log, log.parent.relative_to(path).as_posix()))]
    return outcome


def _stores(provenance: Mapping[str, Any]) -> tuple[Path, ...]:
    """Where the stores lay that some scores are of."""
    about = provenance.get("store")
    about = about if isinstance(about, dict) else {}
    named = about.get("paths") or [about.get("path") or about.get("videos")]
    return tuple(Path(path) for path in named if isinstance(path, str) and path)


def _add(outcome: Outcome, scores: Scores, file: Path) -> None:
    """Take the test videos of one score file into the outcome."""
    known = scores.labels != UNLABELLED
    test = is_test(scores.fold) & known
    out_of_fold = not test.any()
    if out_of_fold:
        test = (scores.fold >= 0) & known
        if not test.any():
            why = "holds scores of videos that its head was trained on alone" if known.any() else "holds no label"
            raise UsageError(f"{file}: {why}: there is nothing to report on")
        note(f"{file}: holds out-of-fold scores alone; they are what is reported")
    split = scores.split
    if split in outcome.splits:
        told = f"split {split}" if split else "no split"
        raise UsageError(f"{file}: the run has scores of {told} already; name the score files one by one")
    own = {name: probabilities(values[test], scores.kind) for name, values in scores.streams.items()}
    streams = {name: values for name, values in own.items() if name != scores.fused}
    if not streams and any("file" in source for source in scores.provenance.get("sources", ())):
        streams, stores = _sources(scores, scores.ids[test], file)
        outcome.stores = tuple(dict.fromkeys([*outcome.stores, *stores]))
    outputs = with_untrained(streams)
    if scores.fused is not None:
        outputs[outcome.main] = own[scores.fused]
    weights = read_weights(scores, file) if scores.provenance.get("weights") else None
    videos = scores.ids[test], scores.labels[test], scores.groups[test]
    outcome.splits[split] = Judged(*videos, outputs, tuple(streams), file.parent, weights, out_of_fold)


def _sources(scores: Scores, ids: NDArray[np.str_], file: Path) -> tuple[dict[str, NDArray], list[Path]]:
    """Probabilities `(M, K)` of the streams that a fusion fused, by name, and the stores they are of.

    None where the score files are not where they were, or do not hold these videos any more, which is said.
    """
    found: dict[str, NDArray] = {}
    stores: list[Path] = []
    read: dict[str, Scores] = {}
    try:
        names, sources = scores.provenance["streams"], scores.provenance["sources"]
        for name, source in zip(names, sources, strict=True):
            path = str(source["path"])
            read[path] = read.get(path) or read_scores(path)
            places = match_ids(ids.tolist(), read[path].ids.tolist())  # its position -> ours
            ours = {mine: theirs for theirs, mine in places.items()}
            rows = [ours[place] for place in range(len(ids))]
            if read[path].class_names != scores.class_names:
                raise WorkError(f"{path} has other classes by now")
            found[str(name)] = probabilities(read[path].streams[source["stream"]][rows], read[path].kind)
            stores += _stores(read[path].provenance)
    except (AvrError, KeyError, TypeError, ValueError) as error:
        why = error if isinstance(error, AvrError) else "they are not told, or hold other videos by now"
        note(f"{file}: without the scores that were fused: {why}")
        return {}, []
    return found, stores


def read_weights(scores: Scores, file: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Names of S streams, and a fusion's weights of classes and streams `(K, S)`, as its scores keep them.

    Raises:
        WorkError: they are none.
    """
    try:
        streams = [str(name) for name in scores.provenance["streams"]]
        weights = np.asarray(scores.provenance["weights"], dtype=np.float64)
        fit = weights.shape == (len(scores.class_names), len(streams)) and bool(np.isfinite(weights).all())
    except (KeyError, TypeError, ValueError):
        fit = False
    if not fit:
        raise WorkError(f"{file}: damaged (its weights are not those of its classes and streams)")
    return streams, weights


def newest_runs(folder: Path = RUNS) -> list[Path]:
    """The newest finished runs with scores under a folder, at most eight, in the order of their names; says which.

    Raises:
        UsageError: there is none.
    """
    taken = sorted(finished_runs(folder)[-8:])
    note(f"report on {', '.join(map(str, taken))}")
    return taken
