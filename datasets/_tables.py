"""Tables as spreadsheets and scripts write them: csv with commas, semicolons or tabs, quotes, a header or none."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avr.core import UsageError, note, read_rows, read_text

from ._files import is_video, last_part

DELIMITERS = (",", ";", "\t")
Roles = Mapping[str, Sequence[str]]  # what a column is for -> the headers that say so, the first that is there is taken


@dataclass(frozen=True)
class Table:
    """What is read of a table.

    Attributes:
        file: it.
        columns: the roles that it has a column of.
        headers: its header, as it is written; empty where it has none.
        unread: the headers of columns that have no role.
        rows: where each row is ("file:line"), and its cells by role.
    """

    file: Path
    columns: frozenset[str]
    headers: tuple[str, ...]
    unread: tuple[str, ...]
    rows: tuple[tuple[str, dict[str, str]], ...]

    def require(self, roles: Roles, wanted: Sequence[str]) -> None:
        """Refuse a table that lacks a column, saying which it has (UsageError); note columns that are not read."""
        for role in wanted:
            if role not in self.columns:
                others = ", ".join(name for name in roles[role][:4] if name != role)
                known = f"column '{role}'" + (f" (or {others})" if others else "")
                raise UsageError(f"{self.file}:1: no {known}; the columns are {', '.join(self.headers)}")
        if self.unread:
            note(f"{self.file}: not read: column {', '.join(self.unread)}")


def read_table(file: Path, roles: Roles, *, bare: Sequence[str] = ()) -> Table | None:
    """Read a table; None where the file is none: no line that a delimiter cuts into columns of known names.

    Args:
        file: UTF-8, with or without a byte order mark.
        roles: the columns there may be. Headers are compared in small letters, with `_` for blanks and `-`.
        bare: the roles of the columns of a table without a header, in order.

    Raises:
        UsageError: no UTF-8, or a row with more or fewer cells than the others (file:line).
    """
    text = re.sub(r'\A"?sep=."?\r?\n', "\n", read_text(file))  # which Excel writes
    first = next((line for line in text.splitlines() if line.strip()), "")
    marks = [mark for mark in DELIMITERS if mark in first]
    headers = {mark: _columns(_rows_of(file, first, mark), roles) for mark in marks}
    mark = max(marks, key=lambda mark: len(headers[mark]), default="")
    if mark and headers[mark]:
        return _with_header(file, _rows_of(file, text, mark), headers[mark])
    for mark in marks if bare else ():
        rows = [(where, _cut(cells, len(bare))) for where, cells in _rows_of(file, text, mark)]
        if all(len(cells) == len(bare) for _, cells in rows):
            named = tuple((where, dict(zip(bare, cells, strict=True))) for where, cells in rows)
            return Table(file, frozenset(bare), (), (), named)
    return None


def _with_header(file: Path, rows: list[tuple[str, list[str]]], columns: dict[str, int]) -> Table:
    header = rows[0][1]
    rows = [(where, _cut(cells, len(header))) for where, cells in rows]
    wrong = next(((where, cells) for where, cells in rows if len(cells) != len(header)), None)
    if wrong is not None:
        raise UsageError(
            f"{wrong[0]}: {len(wrong[1])} cells, but the header has {len(header)}: put quotes round a cell that holds "
            "the delimiter"
        )
    unread = tuple(name for place, name in enumerate(header) if name and place not in columns.values())
    named = tuple((where, {role: cells[place] for role, place in columns.items()}) for where, cells in rows[1:])
    return Table(file, frozenset(columns), tuple(header), unread, named)


def _cut(cells: list[str], count: int) -> list[str]:
    """A row without the empty cells behind so many."""
    return cells if any(cells[count:]) else cells[:count]


def _columns(rows: list[tuple[str, list[str]]], roles: Roles) -> dict[str, int]:
    """The place of each role's column in a first row; none where that names a video, and so is no header."""
    header = rows[0][1] if rows else []
    if any(is_video(last_part(cell)) for cell in header):
        return {}
    names = [re.sub("[ -]", "_", name.lower()) for name in header]
    found = {role: next((name for name in known if name in names), None) for role, known in roles.items()}
    return {role: names.index(name) for role, name in found.items() if name is not None}


def _rows_of(file: Path, text: str, mark: str) -> list[tuple[str, list[str]]]:
    return [(f"{file}:{line}", cells) for line, cells in read_rows(file, text, mark)]
