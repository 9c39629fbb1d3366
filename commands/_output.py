"""What commands share when they print: the --json option and tables."""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Add `--json`: one JSON object on standard output and nothing else there."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")(function)


def print_json(result: object) -> None:
    """Print one JSON object; NaN and infinity, which JSON lacks, become null."""
    click.echo(json.dumps(_plain(result), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    """Turn paths, NumPy scalars and arrays, and non-finite floats into what JSON can hold."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "", align: str = "") -> None:
    """Print a table in plain text: the first column to the left, others to the right, or as `align` says ("llr")."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    if title:
        click.echo(title)
    for index, row in enumerate(cells):
        parts = [
            cell.ljust(width) if (align[n] == "l" if align else not n) else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(parts).rstrip())
        if index == 0:
            click.echo("  ".join("-" * width for width in widths))
