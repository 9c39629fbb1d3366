"""Charts as inline SVG: strings that a browser draws with nothing else loaded. All text is escaped."""

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

# Told apart by colour-blind readers too (Okabe and Ito's palette).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b6b6b", "#b8a800")


def heat_map(counts: NDArray, class_names: Sequence[str]) -> str:
    """A confusion matrix `(K, K)` as squares, darker with the share of the row; each square tells its count on hover.

    Up to 20 classes the counts are written in the squares, and class names are thinned out beyond 60.
    """
    number = len(class_names)
    cell = max(7, min(34, 900 // max(number, 1)))
    text = max(6.0, min(12.0, cell * 0.75))
    left = 12 + int(max(map(len, class_names), default=1) * text * 0.62)
    size = number * cell
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    parts = []
    for row, true in enumerate(class_names):
        if number <= 60 or row % math.ceil(number / 60) == 0:
            middle = (row + 0.5) * cell
            parts.append(_text(left - 6, left + middle, true, text, anchor="end"))
            turned = f' transform="rotate(-90 {left + middle:.1f} {left - 6})"'
            parts.append(_text(left + middle, left - 6, true, text, extra=turned))
        for column in np.flatnonzero(counts[row]).tolist():
            count, share = int(counts[row, column]), float(shares[row, column])
            x, y = left + column * cell, left + row * cell
            hue = "0,114,178" if row == column else "213,94,0"
            title = escape(f"{true} taken for {class_names[column]}: {count} ({share:.0%})")
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell}" height="{cell}" fill="rgba({hue},{0.12 + 0.88 * share:.2f})">'
                f"<title>{title}</title></rect>"
            )
            if number <= 20:
                ink = ' fill="#fff"' if share > 0.55 else ""
                parts.append(_text(x + cell / 2, y + cell / 2, str(count), text, anchor="middle", extra=ink))
    frame = f'<rect x="{left}" y="{left}" width="{size}" height="{size}" fill="none" stroke="#999"/>'
    return _svg(left + size + 8, left + size + 8, [*parts, frame], label="confusion matrix")


def weights_map(weights: NDArray, class_names: Sequence[str], streams: Sequence[str]) -> str:
    """A fusion's weights `(K, S)` as squares, a row a class and a column a stream, darker with the weight.

    Each square tells its weight on hover. Classes alike come together: the rows go from the heaviest first stream to
    the lightest.
    """
    height, width, text = (18, 54, 11.0) if len(class_names) <= 60 else (9, 54, 7.0)
    left = 12 + int(max(map(len, class_names), default=1) * text * 0.62)
    top = 12 + int(max(map(len, streams), default=1) * 11 * 0.62)
    parts = []
    for column, stream in enumerate(streams):
        x = left + (column + 0.5) * width
        parts.append(_text(x, top - 6, stream, 11, extra=f' transform="rotate(-90 {x:.1f} {top - 6})"'))
    for row, label in enumerate(np.lexsort(-weights.T[::-1]).tolist()):
        y = top + row * height
        parts.append(_text(left - 6, y + height / 2, class_names[label], text, anchor="end"))
        for column, stream in enumerate(streams):
            share = float(np.clip(weights[label, column], 0, 1))
            title = escape(f"{class_names[label]}, {stream}: {weights[label, column]:.3f}")
            parts.append(
                f'<rect x="{left + column * width}" y="{y}" width="{width}" height="{height}" '
                f'fill="rgba(0,114,178,{share:.2f})"><title>{title}</title></rect>'
            )
    size = len(streams) * width, len(class_names) * height
    parts.append(f'<rect x="{left}" y="{top}" width="{size[0]}" height="{size[1]}" fill="none" stroke="#999"/>')
    return _svg(left + size[0] + 8, top + size[1] + 8, parts, label="weights of classes and streams")


def line_chart(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, title: str, width: int = 420, height: int = 240
) -> str:
    """Lines of (x, y) by name, with axes, a legend and a title; values that are not finite are left out."""
    points = {
        name: [(x, y) for x, y in zip(*pair, strict=True) if math.isfinite(x) and math.isfinite(y)]
        for name, pair in lines.items()
    }
    points = {name: line for name, line in points.items() if line}
    if not points:
        return ""
    xs, ys = zip(*(point for line in points.values() for point in line), strict=True)
    low_x, high_x = min(xs), max(max(xs), min(xs) + 1)
    low_y, high_y = min(0.0, *ys), max(ys)
    high_y = high_y if high_y > low_y else low_y + 1
    left, top, bottom = 52, 26, height - 26

    def place(x: float, y: float) -> tuple[float, float]:
        across = left + (x - low_x) / (high_x - low_x) * (width - left - 10)
        return across, bottom - (y - low_y) / (high_y - low_y) * (bottom - top)

    parts = [_text(left, 13, title, 13, extra=' font-weight="600"')]
    for tick in _ticks(low_y, high_y):
        y = place(low_x, tick)[1]
        parts.append(f'<line x1="{left}" x2="{width - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(_text(left - 6, y, f"{tick:g}", 11, anchor="end"))
    for tick in _ticks(low_x, high_x):
        parts.append(_text(place(tick, low_y)[0], bottom + 14, f"{tick:g}", 11, anchor="middle"))
    for number, (name, line) in enumerate(points.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        if len(line) == 1:
            x, y = place(*line[0])
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6">'
            f"<title>{escape(name)}</title></polyline>"
        )
    legend = "".join(
        f'<span><i style="background:{COLOURS[number % len(COLOURS)]}"></i>{escape(name)}</span> '
        for number, name in enumerate(points)
    )
    return f'<figure>{_svg(width, height, parts, label=title)}<figcaption class="legend">{legend}</figcaption></figure>'


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers from low to high."""
    step = 10.0 ** math.floor(math.log10((high - low) / 3))
    while (high - low) / step > 6:
        step *= 2 if (high - low) / (step * 2) <= 6 else 5
    return [round(number * step, 10) for number in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def _text(x: float, y: float, text: str, size: float, *, anchor: str = "start", extra: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:.1f}" text-anchor="{anchor}" '
        f'dominant-baseline="central"{extra}>{escape(text)}</text>'
    )


def _svg(width: float, height: float, parts: Sequence[str], *, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
