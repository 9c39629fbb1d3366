"""The page's tables: rows of plain values with what kind each column is, from which `macros.html` and CSV are made."""

import base64
import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from avr.core import first_few, safe_cell
from avr.fusion import FEWEST_GROUPS

from .judging import (
    Difference,
    Figures,
    confidence_by_class,
    cut_confusion,
    most_confused,
    per_class_accuracy,
    precision,
)
from .reading import Outcome

# A share is drawn as a bar; points (differences of shares) as one to the left or right of the middle; a range is a
# share with its ends; heat is a text on a colour.
Kind = Literal["text", "number", "share", "points", "range", "heat"]
MOST_CLASSES = 20  # in a confusion matrix, beside "other"


class Link(NamedTuple):
    """A file in the page itself: its name, and its content as a data: URL."""

    name: str
    url: str


class Heat(NamedTuple):
    """A cell of a picture: how strong its colour is (0…1), whether of the second hue, what it says."""

    strength: float
    second: bool
    text: str
    value: float


@dataclass(frozen=True)
class Table:
    """A table: caption, (label, kind) of each column, rows of values, which rows stand out, how it is laid out."""

    caption: str
    columns: Sequence[tuple[str, Kind]]
    rows: Sequence[Sequence[Any]]
    main: frozenset[int] = frozenset()
    picture: bool = False
    whole: Link | None = None  # in place of its own rows
    notes: Sequence[str] = field(default=())

    @property
    def largest(self) -> float:
        """Of its points, what the longest bar stands for."""
        points = [place for place, (_, kind) in enumerate(self.columns) if kind == "points"]
        return max((abs(row[place]) for row in self.rows for place in points), default=0.0) or 1.0

    @property
    def csv(self) -> Link:
        """Its numbers, shares in per cent as they are shown."""
        if self.whole is not None:
            return self.whole
        header: list[object] = []
        for label, kind in self.columns:
            header += [label, f"{label} low", f"{label} high"] if kind == "range" else [label]
        kinds = [kind for _, kind in self.columns]
        rows = ([c for pair in zip(row, kinds, strict=True) for c in _plain(*pair)] for row in self.rows)
        return csv_link(self.caption, [header, *rows])


def _plain(value: Any, kind: Kind) -> list[object]:
    if isinstance(value, Heat):
        return [value.value]
    if kind == "range":
        return [round(100 * one, 4) for one in value]
    if kind in ("share", "points") and value is not None:
        return [round(100 * value, 4)]
    return [value]


def csv_link(name: str, rows: Sequence[Sequence[object]]) -> Link:
    """Rows, the header first, as a CSV file that the page holds; no cell of it runs in a spreadsheet."""
    text = io.StringIO()
    csv.writer(text).writerows([safe_cell(cell) for cell in row] for row in rows)
    content = base64.b64encode(text.getvalue().encode("utf-8", "backslashreplace")).decode()
    name = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:100]
    return Link(f"{name}.csv", f"data:text/csv;charset=utf-8;base64,{content}")


def accuracy_table(outcomes: Sequence[Outcome], figures: Mapping[str, Mapping[str, Figures]]) -> Table:
    """Every output of every run over all its test videos; main outputs stand out."""
    rows: list[list[Any]] = []
    main = set()
    several = any(len(outcome.splits) > 1 for outcome in outcomes)
    for outcome in outcomes:
        for name in outcome.outputs:
            own = figures[outcome.name][name]
            main |= {len(rows)} if name == outcome.main else set()
            spread = [] if not several else [None if own.spread is None else f"± {100 * own.spread:.1f}"]
            shown = (own.top1, own.low, own.high), *spread, own.top5, own.mean_class, f"{own.log_loss:.3f}", own.ece
            rows.append([outcome.name, name, *shown, len(outcome.labels)])
    columns: list[tuple[str, Kind]] = [("run", "text"), ("output", "text"), ("top-1 %", "range")]
    columns += [("over splits", "number")] if several else []
    columns += [("top-5 %", "share"), ("mean class %", "share"), ("log-loss", "number"), ("ECE %", "share")]
    columns += [("videos", "number")]
    few = [outcome.name for outcome in outcomes if len(np.unique(outcome.groups)) < FEWEST_GROUPS]
    told = [f"{name} is judged on fewer than {FEWEST_GROUPS} groups: its intervals are too narrow." for name in few]
    return Table("Accuracy of every output", columns, rows, frozenset(main), notes=told)


def split_table(outcomes: Sequence[Outcome]) -> Table:
    """Every output in every split."""
    rows = [
        [outcome.name, split, name, outcome.videos[split], found["top1"], found["top5"], found["mean_class"]]
        for outcome in outcomes
        for split, outputs in outcome.rows.items()
        for name, found in outputs.items()
    ]
    texts: list[tuple[str, Kind]] = [("run", "text"), ("split", "text"), ("output", "text"), ("videos", "number")]
    return Table(
        "Split by split", [*texts, ("top-1 %", "share"), ("top-5 %", "share"), ("mean class %", "share")], rows
    )


def difference_table(caption: str, found: Sequence[tuple[str, Difference]]) -> Table:
    """Paired differences, each after the name of its run."""
    rows = [
        [
            run,
            one.one,
            one.other,
            one.difference,
            f"{100 * one.low:+.1f} to {100 * one.high:+.1f}",
            f"{one.p:.2g}",
            one.told,
        ]
        for run, one in found
    ]
    columns: list[tuple[str, Kind]] = [("run", "text"), ("this", "text"), ("minus this", "text"), ("points", "points")]
    return Table(caption, [*columns, ("95 % interval", "text"), ("p", "number"), ("verdict", "text")], rows)


def class_table(family: Sequence[Outcome], *, sure: bool = False) -> Table:
    """Accuracy by class of runs on the same videos side by side, hardest class first; one without videos last.

    With `sure`, in place of it the mean probability of the true class (Zheng et al. 2020, fig. 7).
    """
    values = [
        confidence_by_class(outcome.pooled(outcome.main), outcome.labels)
        if sure
        else per_class_accuracy(outcome.confusion)
        for outcome in family
    ]
    order = np.argsort(np.nan_to_num(values, nan=2.0).mean(axis=0), kind="stable").tolist()
    counts = family[0].confusion.sum(axis=1).tolist()
    rows = [[family[0].class_names[k], counts[k], *(_known(own[k]) for own in values)] for k in order]
    columns: list[tuple[str, Kind]] = [("class", "text"), ("videos", "number")]
    columns += [(f"{outcome.name} %", "share") for outcome in family]
    what = "Probability of the true class" if sure else "Accuracy by class"
    return Table(f"{what}: {', '.join(outcome.name for outcome in family)}", columns, rows)


def class_figures(outcome: Outcome) -> Table:
    """Recall, precision and F1 by class of the main output."""
    recall, exact = per_class_accuracy(outcome.confusion), precision(outcome.confusion)
    with np.errstate(invalid="ignore"):
        both = np.where(recall + exact > 0, 2 * recall * exact / (recall + exact), np.where(recall == 0, 0, np.nan))
    counts, taken = outcome.confusion.sum(axis=1).tolist(), outcome.confusion.sum(axis=0).tolist()
    rows = [
        [name, counts[k], taken[k], *(_known(values[k]) for values in (recall, exact, both))]
        for k, name in enumerate(outcome.class_names)
    ]
    numbers: list[tuple[str, Kind]] = [("class", "text"), ("videos", "number"), ("taken for it", "number")]
    shares: list[tuple[str, Kind]] = [("recall %", "share"), ("precision %", "share"), ("F1 %", "share")]
    return Table(f"Recall and precision: {outcome.name}, {outcome.main}", [*numbers, *shares], rows)


def _known(share: float) -> float | None:
    return None if np.isnan(share) else float(share)


def gain_table(one: tuple[Outcome, str], other: tuple[Outcome, str], names: tuple[str, str]) -> Table:
    """What one output gains over another in each class (the same videos), largest gain first."""
    outcome = one[0]
    counts = outcome.confusion.sum(axis=1)
    shares = []
    for run, output in (one, other):
        right = run.pooled(output).argmax(axis=1) == run.labels
        shares.append(np.bincount(run.labels, right, minlength=len(counts)) / np.maximum(counts, 1))
    gains = shares[0] - shares[1]
    there = [k for k in np.argsort(-gains, kind="stable").tolist() if counts[k]]
    rows = [
        [outcome.class_names[k], int(counts[k]), float(gains[k]), float(shares[0][k]), float(shares[1][k])]
        for k in there
    ]
    columns: list[tuple[str, Kind]] = [("class", "text"), ("videos", "number"), ("gain, points", "points")]
    better, worse = int((gains > 0).sum()), int((gains < 0).sum())
    told = f"{better} classes gain, {worse} lose, {len(there) - better - worse} stay as they are."
    columns += [(f"{name} %", "share") for name in names]
    return Table(f"Gain by class: {names[0]} over {names[1]}", columns, rows, notes=[told])


def confusion_table(outcome: Outcome) -> Table:
    """The confusion matrix of the main output as a picture, of 101 classes those that are worth a look."""
    kept, counts = cut_confusion(outcome.confusion, MOST_CLASSES)
    names = [outcome.class_names[k] for k in kept] + ["other"] * (len(counts) > len(kept))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares[len(kept) :, len(kept) :] = 0  # right, or another of the classes left out: no colour tells which
    rows = [
        [
            name,
            *(
                Heat(s, i != j, str(c) if c else "", c)
                for j, (s, c) in enumerate(zip(shares[i].tolist(), counts[i].tolist(), strict=True))
            ),
        ]
        for i, name in enumerate(names)
    ]
    every = outcome.class_names
    caption = f"Confusion: {outcome.name}, {outcome.main}"
    whole = [
        ["true class", *every],
        *([name, *row] for name, row in zip(every, outcome.confusion.tolist(), strict=True)),
    ]
    columns: list[tuple[str, Kind]] = [("true class", "text"), *((name, "heat") for name in names)]
    less = len(every) - len(kept)
    told = (
        f"The {len(kept)} of {len(every)} classes with the most wrong videos; the other {less} together are “other”, "
    )
    told += "whose own cell holds what is right and what is taken for another of them: it has no colour."
    return Table(caption, columns, rows, picture=True, whole=csv_link(caption, whole), notes=[told] * (less > 0))


def pairs_table(outcome: Outcome) -> Table:
    """The pairs of classes that the main output confuses most, and which videos these are."""
    names, rows = outcome.class_names, []
    ids = np.concatenate([judged.ids for judged in outcome.splits.values()])
    predicted = outcome.pooled(outcome.main).argmax(axis=1)
    for true, taken, count, share in most_confused(outcome.confusion):
        videos = ids[(outcome.labels == true) & (predicted == taken)].tolist()
        rows.append([names[true], names[taken], count, share, first_few(videos)])
    columns: list[tuple[str, Kind]] = [("true class", "text"), ("taken for", "text"), ("videos", "number")]
    caption = f"Most confused: {outcome.name}, {outcome.main}"
    return Table(caption, [*columns, ("of the class %", "share"), ("such as", "text")], rows)


def weights_table(outcome: Outcome, split: str, streams: Sequence[str], weights: NDArray) -> Table:
    """A fusion's weights as a picture, a class a row and a stream a column; one row where all classes weigh alike.

    Classes alike come together: the rows go from the heaviest first stream to the lightest.
    """
    alike = len(weights) > 1 and float(np.ptp(weights, axis=0).max()) <= 1e-3
    order = [0] if alike else np.lexsort(-weights.T[::-1]).tolist()
    largest = max(float(np.abs(weights).max()), 1e-12)
    rows = [
        [
            "every class" if alike else outcome.class_names[k],
            *(Heat(abs(w) / largest, w < 0, f"{w:.2f}", w) for w in weights[k].tolist()),
        ]
        for k in order
    ]
    caption = f"Weights: {outcome.name}{f', split {split}' if split else ''}"
    columns: list[tuple[str, Kind]] = [("class", "text"), *((stream, "heat") for stream in streams)]
    return Table(caption, columns, rows, picture=True)
