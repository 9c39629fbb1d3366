"""What `fuse`, `compare` and `apply_fusion` find."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Weights = dict[str, list[list[float]]]  # split -> (K, S)


@dataclass(frozen=True, repr=False)
class FusionResult:
    """What `fuse` found.

    Attributes:
        rule: its name. streams: S names. class_names: K names. splits: names.
        rows: one dict a line of the table, single streams first, then average, multiply and the rule: name, top1, top5,
            mean_class, log_loss, ece (over all judged videos of all splits), videos; of several splits `over_splits`,
            mean and spread of each figure.
        differences: the rule minus the "best stream" and minus the better "untrained" rule, of average and multiply the
            one that is right on more of the judged videos, in top-1: name of the other, difference, low, high (95 %
            interval, resampled by group), p (McNemar).
        verdict: one sentence: what to use.
        splits_rows: the same rows, split by split.
        calibration: a split and stream: temperature, ece before and after, reliability tables.
        weights: of each split, those of the classes and streams, (K, S); empty where the rule has none.
        notes: what the rule says about its fit.
        protocol: of each split, what was fitted and judged on what.
        out: the run folder.
    """

    rule: str
    streams: tuple[str, ...]
    class_names: tuple[str, ...]
    splits: tuple[str, ...]
    rows: list[Row]
    differences: dict[str, Row]
    verdict: str
    splits_rows: dict[str, list[Row]]
    calibration: dict[str, Any]
    weights: Weights
    notes: list[str]
    protocol: dict[str, str]
    out: Path

    def __repr__(self) -> str:
        return (
            f"FusionResult({self.rule} of {', '.join(self.streams)}: {_told(_named(self.rows, self.rule))}; {self.out})"
        )


@dataclass(frozen=True, repr=False)
class Comparison:
    """What `compare` found.

    Attributes:
        streams: S names. splits: names. class_names: K names.
        baseline: of average and multiply, the rule that is right on more of the judged videos.
        rows: one dict a stream and rule: the figures of `avr fuse`; difference, low, high, p against the baseline.
        verdict: one sentence: what to use.
        weights: rule to those of each split, of rules that have per-class weights, fitted on all that may be.
        protocol: split to what was fitted and judged on what.
        notes: what the rules say about their fits, by split.
    """

    streams: tuple[str, ...]
    splits: tuple[str, ...]
    class_names: tuple[str, ...]
    baseline: str
    rows: list[Row]
    verdict: str
    weights: dict[str, Weights]
    protocol: dict[str, str]
    notes: list[str]

    def __repr__(self) -> str:
        best = max(self.rows, key=lambda row: row["top1"])
        return f"Comparison({len(self.rows)} streams and rules, best {best['name']}: {_told(best)})"


@dataclass(frozen=True, repr=False)
class Applied:
    """What a fitted fusion gives for new scores.

    Attributes:
        rule: its name. streams: S names, as it was fitted on. class_names: K names. split: it was fitted on.
        ids: (M,) of the videos that all streams have. predictions: (M,) names of classes.
        probabilities: (M, K) float64.
        rows: as in `FusionResult`, over the videos with labels; empty without any.
        differences, verdict: as there; empty without labels.
        out: the file written.
    """

    rule: str
    streams: tuple[str, ...]
    class_names: tuple[str, ...]
    split: str
    ids: Any
    predictions: Any
    probabilities: Any
    rows: list[Row]
    differences: dict[str, Row]
    verdict: str
    out: Path

    def __repr__(self) -> str:
        told = f": {_told(_named(self.rows, self.rule))}" if self.rows else ""
        return f"Applied({self.rule} to {len(self.ids)} videos{told}; {self.out})"


def _named(rows: list[Row], name: str) -> Row:
    return next(row for row in rows if row["name"] == name)


def _told(row: Row) -> str:
    return f"{100 * row['top1']:.1f} % top-1 of {row['videos']} videos"
