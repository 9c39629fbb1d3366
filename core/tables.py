"""Text files and tables: as others write them, read; as CSV that a spreadsheet opens without running it, written."""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .errors import UsageError
from .files import open_file, write_whole
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


def plain_cell(cell: str) -> str:
    """The text that `safe_cell` made a cell of."""
    return cell[1:] if cell[:1] == "'" and safe_cell(cell[1:]) == cell else cell


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


def read_text(path: Path) -> str:
    """The text of a list or table, without a byte order mark.

    Raises:
        UsageError: it cannot be opened or is no UTF-8; says where, and what to do.
    """
    try:
        with open_file(path) as file:
            data = file.read()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    if data.startswith(b"PK\3\4"):
        raise UsageError(f"{path}: is a spreadsheet or an archive: save the table as csv, UTF-8")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data:
        raise UsageError(f"{path}: is UTF-16, or no text: save it as UTF-8 (`iconv -f utf-16 -t utf-8`)")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{path}:{line}: byte 0x{data[error.start]:02x} is no UTF-8: save the file as UTF-8 "
            "(`iconv -f latin1 -t utf-8`, if it is latin-1)"
        ) from error


def read_rows(path: Path, text: str, mark: str) -> Iterator[tuple[int, list[str]]]:
    """The line where each row of a table starts, from 1 on, and its cells, without blanks round them.

    Rows of blanks are left out. Cells may stand in quotes, and lines end in any way.

    Raises:
        UsageError: quotes that do not fit (file:line).
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True)
    line = 1
    try:
        for written in reader:
            if any(cells := [cell.strip() for cell in written]):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{path}:{line}: cannot be read as csv: {error}") from error
