"""Tables as CSV that a spreadsheet opens without running what is in them."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from .files import write_whole
from .progress import note


def safe_cell(value: object) -> object:
    """A cell that no spreadsheet runs: a text that it would take for a formula gets an apostrophe before it.

    Names of videos are anybody's, so they may be formulas. Many begin with `-`, as on YouTube: those are left, but
    where a call or another program's name could follow.
    """
    if not isinstance(value, str):
        return value
    runs = value.startswith(("=", "+", "@", "\t", "\r")) or (value.startswith("-") and any(c in value for c in "(|!"))
    return f"'{value}" if runs else value


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows, the header first, whole or not at all; None is an empty cell. Says how many cells were made safe.

    In UTF-8 whatever the locale; what of a file's name is no text stands as `\\udce9`.

    Raises:
        WorkError: it cannot be written.
    """
    changed = 0
    with (
        write_whole(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)  # lines end in CRLF, or a lone \r in a cell would not be quoted
        for row in rows:
            cells = [safe_cell(cell) for cell in row]
            changed += sum(cell is not old for cell, old in zip(cells, row, strict=True))
            writer.writerow(cells)
    if changed:
        note(f"{path}: {changed} cells that a spreadsheet would run begin with an apostrophe")
