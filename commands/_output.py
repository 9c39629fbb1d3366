"""How commands print: tables and lines for a person, or with `--json` one JSON object."""

import functools
import json
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import click

from avr.core import AvrError, Unwritten, quiet


@dataclass(frozen=True)
class Reply:
    """What a command answers.

    Attributes:
        json: what `--json` prints; records, paths and arrays may be in it.
        show: prints it for a person.
        failed: the exit code is 1.
        error: what went wrong after all was computed, such as a full disk; told when that has been printed.
    """

    json: object
    show: Callable[[], object]
    failed: bool = False
    error: AvrError | None = None


def answering(function: Callable[..., Reply | None]) -> Callable[..., None]:
    """Add `--json`, which prints one JSON object on standard output and nothing else; print what the command answers.

    A command that answers None, a process of several, prints nothing.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
    @functools.wraps(function)
    def called(*arguments: Any, as_json: bool, **options: Any) -> None:
        with quiet(as_json):
            answer = function(*arguments, **options)
        if answer is None:
            return
        if as_json:
            click.echo(json.dumps(_plain(answer.json), indent=2, allow_nan=False))
        else:
            answer.show()
        if answer.error is not None:
            raise answer.error
        if answer.failed:
            click.get_current_context().exit(1)

    return called


def computed(function: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, Unwritten | None]:
    """What a function gives, or, where that could not be written, what it computed and the error."""
    try:
        return function(*arguments, **options), None
    except Unwritten as error:
        return error.result, error


def _plain(value: Any) -> Any:
    """Records, paths, NumPy scalars and arrays as JSON can hold them; NaN and infinity, which it lacks, become null."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)


def print_lines(*lines: object) -> None:
    """Print lines of text."""
    for line in lines:
        click.echo(line)


def print_table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    title: str = "",
    align: str = "",
    rule: bool = True,
    bold: Collection[int] = (),
) -> None:
    """Print a table in plain text: the first column to the left, others to the right, or as `align` says ("llr").

    With `rule`, a line stands below the header. The rows of the numbers `bold` are so on a terminal, where what is
    wider than it goes on in the next line of its cell.
    """
    if sys.stdout.isatty():
        _print_fitting(header, rows, title=title, align=align, rule=rule, bold=bold)
        return
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
        if index == 0 and rule:
            click.echo("  ".join("-" * width for width in widths))


def _print_fitting(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    title: str,
    align: str,
    rule: bool,
    bold: Collection[int],
) -> None:
    """The same on a terminal, as wide as it is; colours are left out where NO_COLOR is set."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if rule else None, pad_edge=False, show_edge=False, header_style="dim")
    for column, name in enumerate(header):
        left = align[column] == "l" if align else not column
        table.add_column(Text(str(name)), justify="left" if left else "right", overflow="fold")
    for number, row in enumerate(rows):
        table.add_row(*(Text(str(cell)) for cell in row), style="bold green" if number in bold else "")
    if title:
        click.echo(title)
    Console(highlight=False).print(table)
