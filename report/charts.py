"""Charts laid out: what `macros.html` draws as inline SVG. Everything is in pixels, of floats rounded to a tenth."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avr.fusion import reliability_table

from .reading import Outcome
from .tables import Link, csv_link

COLOURS = 8  # that the style has; told apart by colour-blind readers too (Okabe and Ito's palette)
WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 46, WIDTH - 10, 24, HEIGHT - 38


@dataclass(frozen=True)
class Line:
    """One line: its name, its points as SVG has them, the number of its colour, whether it is dashed."""

    name: str
    points: str
    last: tuple[float, float]
    colour: int
    dashed: bool


@dataclass(frozen=True)
class Chart:
    """Axes with round numbers, and what is drawn between them.

    Attributes:
        title, x, y: what is shown, and what the axes are.
        across, up: where the axes' numbers stand, and what they are.
        lines: of a line chart.
        bars: of a reliability diagram: x, y, width, height, how strong (0…1; more videos), what the bar says.
        csv: the numbers.
    """

    title: str
    x: str
    y: str
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    csv: Link
    lines: Sequence[Line] = ()
    bars: Sequence[tuple[float, float, float, float, float, str]] = ()


def line_chart(title: str, y: str, lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Chart | None:
    """Lines of epochs and values by name; values that are not finite are left out. None where nothing is left.

    A line of a validation part is dashed, in the colour of the training's line of the same name.
    """
    points = {
        name: [(x, y) for x, y in zip(*pair, strict=True) if math.isfinite(x) and math.isfinite(y)]
        for name, pair in lines.items()
    }
    points = {name: line for name, line in points.items() if line}
    if not points:
        return None
    xs, ys = zip(*(point for line in points.values() for point in line), strict=True)
    low_x, high_x = min(xs), max(max(xs), min(xs) + 1)
    low_y, high_y = min(0.0, *ys), max(ys)
    high_y = high_y if high_y > low_y else low_y + 1
    colours: dict[str, int] = {}
    laid = []
    for name, line in points.items():
        dashed = name.endswith(VALIDATION)
        colour = colours.setdefault(name.removesuffix(VALIDATION), len(colours) % COLOURS)
        placed = [(_across(x, low_x, high_x), _up(y, low_y, high_y)) for x, y in line]
        laid.append(Line(name, " ".join(f"{x},{y}" for x, y in placed), placed[-1], colour, dashed))
    return Chart(
        title,
        "epoch",
        y,
        [(_across(tick, low_x, high_x), f"{tick:g}") for tick in ticks(low_x, high_x)],
        [(_up(tick, low_y, high_y), f"{tick:g}") for tick in ticks(low_y, high_y)],
        csv_link(title, [["line", "epoch", y], *([name, *point] for name, line in points.items() for point in line)]),
        laid,
    )


VALIDATION = ", validation"  # how the names of such lines end


def learning_curves(outcome: Outcome, most: int) -> list[Chart]:
    """Charts of the logs' columns over epochs, one for the losses and one for the accuracies."""
    charts = []
    for what in ("loss", "accuracy"):
        lines = {
            f"{curve.name}{_ending(column, what)}": (curve.epochs, values)
            for curve in outcome.curves[:most]
            for column, values in curve.columns.items()
            if what in column
        }
        charts.append(line_chart(f"{outcome.name}: {what} by epoch", what, lines))
    return [chart for chart in charts if chart is not None]


def _ending(column: str, what: str) -> str:
    """How a line of a log's column is called: "loss", "validation_loss", "other_loss"."""
    return {what: "", f"validation_{what}": VALIDATION}.get(column, f", {column}")


def reliability_diagram(outcome: Outcome) -> Chart:
    """Accuracy against confidence of the main output, in 15 bins (Guo et al. 2017, fig. 1)."""
    rows = reliability_table(outcome.pooled(outcome.main), outcome.labels)
    bars, most = [], max(row["videos"] for row in rows)
    for row in rows:
        x, right, y = _across(row["low"], 0, 1), _across(row["high"], 0, 1), _up(row["accuracy"], 0, 1)
        told = f"confidence {row['confidence']:.2f}: {row['accuracy']:.0%} of {row['videos']} videos are right"
        bars.append(
            (x, y, round(right - x - 1, 1), round(BOTTOM - y, 1), round(0.3 + 0.7 * row["videos"] / most, 2), told)
        )
    shares = [(share / 5, f"{share / 5:g}") for share in range(6)]
    title = f"{outcome.name}, {outcome.main}: reliability"
    return Chart(
        title,
        "confidence",
        "accuracy",
        [(_across(share, 0, 1), text) for share, text in shares],
        [(_up(share, 0, 1), text) for share, text in shares],
        csv_link(title, [list(rows[0]), *(list(row.values()) for row in rows)]),
        bars=bars,
    )


def _across(x: float, low: float, high: float) -> float:
    return round(LEFT + (x - low) / (high - low) * (RIGHT - LEFT), 1)


def _up(y: float, low: float, high: float) -> float:
    return round(BOTTOM - (y - low) / (high - low) * (BOTTOM - TOP), 1)


def ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers from low to high."""
    step = 10.0 ** math.floor(math.log10((high - low) / 3))
    while (high - low) / step > 6:
        step *= 2 if (high - low) / (step * 2) <= 6 else 5
    return [round(number * step, 10) for number in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]
