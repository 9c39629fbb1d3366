"""Learning curves: the logs of trainings read, and what a chart of them needs."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from avr.core import UsageError


@dataclass(frozen=True)
class Curve:
    """One training log: what it is of ("split-1/rgb"), its epochs, and its columns of numbers by name."""

    name: str
    epochs: tuple[float, ...]
    columns: dict[str, tuple[float, ...]]


def read_curve(path: Path, name: str) -> Curve | None:
    """Read a training log (CSV) whose columns are numbers, one of them `epoch`; None when it holds no epoch yet.

    Raises:
        UsageError: no column `epoch`, or a cell that is no number (file:line).
    """
    columns: dict[str, list[float]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if "epoch" not in (reader.fieldnames or []):
            raise UsageError(f"{path}: not a training log: it has no column 'epoch'")
        for row in reader:
            for key, cell in row.items():
                try:
                    columns.setdefault(str(key), []).append(float(cell) if cell else math.nan)
                except (TypeError, ValueError):
                    raise UsageError(f"{path}:{reader.line_num}: {key} is {cell!r}, not a number") from None
    epochs = tuple(columns.pop("epoch", ()))
    return Curve(name, epochs, {key: tuple(values) for key, values in columns.items()}) if epochs else None
