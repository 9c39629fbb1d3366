"""Runs in a list: what each is, how well it does, whether it is whole."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avr.core import AvrError, measure
from avr.fusion import FEWEST_GROUPS, paired_bootstrap
from avr.store import (
    RUNS,
    UNLABELLED,
    RunRecord,
    Scores,
    is_test,
    lack_of,
    read_record,
    read_scores,
    runs_below,
    score_paths,
)

from .outputs import check_alike, outputs_of


@dataclass(frozen=True)
class RunLine:
    """A run as `avr runs` lists it.

    Attributes:
        run: its folder.
        kind: "head", "fuse", "end-to-end" or "backbone".
        head: registry name; of a fusion "fuse-<rule>"; "" of a backbone.
        dataset: the data set's name.
        store: where the features lay; of several the first.
        splits: names of those that are there.
        output: which of its outputs the figures are of: its prediction.
        videos: test videos with labels, of all splits together.
        top1: share of them that is right; None where there are no scores.
        low, high: ends of top1's 95 % interval, resampled by group; None of so few groups that it would be too narrow.
        mean_class: accuracy, the mean over the classes.
        lack: what it lacks to be whole, in words; "" is nothing.
        written: when its last split was, ISO 8601, UTC.
    """

    run: Path
    kind: str
    head: str
    dataset: str
    store: str
    splits: tuple[str, ...]
    output: str
    videos: int
    top1: float | None
    low: float | None
    high: float | None
    mean_class: float | None
    lack: str
    written: str

    @property
    def complete(self) -> bool:
        """Whether it lacks nothing."""
        return not self.lack


def list_runs(folder: Path = RUNS) -> list[RunLine]:
    """Every run under a folder, at any depth, the one that was written last at the end. A damaged one says so.

    Raises:
        UsageError: no such folder.
    """
    return sorted(map(read_line, runs_below(folder)), key=lambda line: (line.written, str(line.run)))


def read_line(run: Path) -> RunLine:
    """One run, as it is listed; see `list_runs`."""
    record, scores = RunRecord("head"), list[Scores]()
    try:
        lack, record = lack_of(run), read_record(run)
        found = [read_scores(path) for path in score_paths(run)]
        check_alike(run, found)
        scores = found
    except AvrError as error:
        lack = str(error)
    output = scores[0].prediction if scores else ""
    judged = [is_test(one.fold) & (one.labels != UNLABELLED) for one in scores]
    values = np.concatenate([outputs_of(one)[output][mask] for one, mask in zip(scores, judged, strict=True)] or [[]])
    labels = np.concatenate([one.labels[mask] for one, mask in zip(scores, judged, strict=True)] or [[]])
    groups = np.concatenate([one.groups[mask] for one, mask in zip(scores, judged, strict=True)] or [[]])
    figures = measure(values, labels) if len(labels) else {}
    low, high = None, None
    if len(np.unique(groups)) >= FEWEST_GROUPS:
        low, high = paired_bootstrap((values.argmax(axis=1) == labels).astype(float), groups)
    return RunLine(
        run=run,
        kind=record.kind,
        head=record.head,
        dataset=record.dataset,
        store=str(record.store.get("path", "")),
        splits=tuple(record.splits),
        output=output,
        videos=len(labels),
        top1=figures.get("top1"),
        low=low,
        high=high,
        mean_class=figures.get("mean_class"),
        lack=lack,
        written=record.written,
    )
