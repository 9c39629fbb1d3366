"""How fusions are printed: figures, differences, calibration, weights, and what to use."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from ._output import print_lines, print_table

if TYPE_CHECKING:
    from avr.fusion import Applied, Comparison, FusionResult

MEASURES = {"top1": "top-1 %", "top5": "top-5 %", "mean_class": "mean class %", "log_loss": "log-loss", "ece": "ECE %"}
SMALLER = ("log_loss", "ece")  # are better
ALL_CLASSES = 12  # up to so many have a row each in a table of weights
FURTHEST = 8  # so many have one where there are more

sort_option = click.option("--sort", type=click.Choice(list(MEASURES)), help="Rows by this figure, the best first.")


def print_fusion(result: "FusionResult", sort: str | None, *, written: bool = True) -> None:
    """The table of a fusion, its differences, its calibration, its weights, its notes and what to use."""
    for split, text in result.protocol.items():
        click.echo(f"split {split}: {text}" if split else text)
    print_rows(result.rows, sort)
    print_differences(result.rule, result.differences)
    print_calibration(result.calibration)
    print_weights(result.weights, result.class_names, result.streams)
    print_lines(*result.notes, *([f"written: {result.out}"] if written else []))
    print_verdict(result.verdict)


def print_applied(result: "Applied", sort: str | None, *, written: bool = True) -> None:
    """The figures of a fusion on new videos, where these have labels, and what was written."""
    if result.rows:
        click.echo(f"fitted before; judged on {result.rows[0]['videos']} videos with labels")
        print_rows(result.rows, sort)
        print_differences(result.rule, result.differences)
    if written:
        click.echo(f"written: {result.out}, {result.rule} of {len(result.ids)} videos")
    print_verdict(result.verdict)


def print_comparison(result: "Comparison", sort: str | None, *, weights: bool) -> None:
    """The table of a comparison, its notes and what to use; with `weights`, those of the classes, a table a rule."""
    for split, text in result.protocol.items():
        click.echo(f"split {split}: {text}" if split else text)

    def against(row: Mapping[str, Any]) -> list[str]:
        low, high = 100 * row["low"], 100 * row["high"]
        return [f"{100 * row['difference']:+.2f} [{low:+.2f}, {high:+.2f}]", f"{row['p']:.3g}"]

    print_rows(result.rows, sort, more=[f"top-1 - {result.baseline} [95 %]", "McNemar p"], cells=against)
    print_lines(*result.notes)
    for rule, by_split in result.weights.items() if weights else ():
        print_weights(by_split, result.class_names, result.streams, title=f"{rule}: ")
    print_verdict(result.verdict)


def print_verdict(text: str) -> None:
    """What to use, apart from what stands above it."""
    if text:
        print_lines("", text)


def print_rows(
    rows: Sequence[Mapping[str, Any]], sort: str | None, *, more: Sequence[str] = (), cells: Any = lambda row: []
) -> None:
    """A row a stream and rule; `*` marks those that are right on most videos."""
    if sort:
        rows = sorted(rows, key=lambda row: row[sort] if sort in SMALLER else -row[sort])
    most = max(row["top1"] for row in rows)
    best = [place for place, row in enumerate(rows) if row["top1"] == most]
    table = [
        [row["name"] + " *" * (place in best), *(figure(row, measure) for measure in MEASURES), *cells(row)]
        for place, row in enumerate(rows)
    ]
    print_table(["stream or rule", *MEASURES.values(), *more], table, bold=best)
    click.echo("* right on most videos")


def figure(row: Mapping[str, Any], measure: str) -> str:
    """A figure of a row, with its spread over splits where there are several."""
    scale, digits = (1, 3) if measure == "log_loss" else (100, 1)
    digits += scale == 100 and row["videos"] > 1000  # so that one video more shows
    text = f"{scale * row[measure]:.{digits}f}"
    return f"{text} ± {scale * row['over_splits'][measure]['spread']:.{digits}f}" if "over_splits" in row else text


def print_differences(rule: str, against: Mapping[str, Mapping[str, Any]]) -> None:
    """The rule against the better untrained rule and the best stream."""
    click.echo("")
    for what, known in (("untrained", "the better untrained rule"), ("best stream", "the best single stream")):
        found = against[what]
        low, high = 100 * found["low"], 100 * found["high"]
        click.echo(
            f"{rule} - {found['name']}, {known}: {100 * found['difference']:+.2f} points top-1, 95 % interval "
            f"{low:+.2f} … {high:+.2f} (groups resampled), McNemar p {found['p']:.3g}"
        )


def print_calibration(calibration: Mapping[str, Mapping[str, Any]]) -> None:
    """A row a split and stream: its temperature, and what it does to the calibration error."""
    several = len(calibration) > 1
    rows = [
        [
            *([split] if several else []),
            name,
            f"{found['temperature']:.3g}",
            f"{100 * found['ece_before']:.1f}",
            f"{100 * found['ece_after']:.1f}" + (" (worse)" if found["ece_after"] > found["ece_before"] else ""),
        ]
        for split, streams in calibration.items()
        for name, found in streams.items()
    ]
    if not rows:
        return
    click.echo("")
    head = [*(["split"] if several else []), "stream", "temperature", "ECE %", "ECE % at it"]
    print_table(head, rows, align="l" * (2 if several else 1) + "rrl")
    if any("(worse)" in row[-1] for row in rows):
        click.echo("worse: fitted on other videos, the temperature does not hold on these; use the scores as they are")


def print_weights(
    weights: Mapping[str, Any], class_names: Sequence[str], streams: Sequence[str], *, title: str = ""
) -> None:
    """Weights of classes and streams, the mean over splits: what classes share, and those furthest from it.

    Args:
        weights: split to (K, S).
        class_names: K names. streams: S names.
        title: stands before what the table is of.
    """
    if not weights:
        return
    table = np.mean([np.asarray(found) for found in weights.values()], axis=0)  # (K, S)
    shared = table.mean(axis=0)
    away = np.abs(table - shared).sum(axis=1) / 2
    rows = [["all classes" if away.max() < 1e-3 else "mean of the classes", *(f"{share:.3f}" for share in shared)]]
    if away.max() >= 1e-3:
        furthest = np.argsort(-away, kind="stable")[:FURTHEST]
        shown = range(len(table)) if len(table) <= ALL_CLASSES else sorted(furthest.tolist())
        rows += [[class_names[k], *(f"{share:.3f}" for share in table[k])] for k in shown]
    about = [f"mean over {len(weights)} splits"] if len(weights) > 1 else []
    if 1 < len(rows) <= len(table):
        about.append(f"the {FURTHEST} of {len(table)} classes that are furthest from their mean")
    click.echo("")
    print_table(["class", *streams], rows, title=f"{title}weights" + (f" ({'; '.join(about)})" if about else ""))
