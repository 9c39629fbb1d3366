"""Tables of scores as text: what stands between cells, whether a comma is the point, whether there is a header."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, plain_cell, read_rows

from .columns import Column
from .found import role_of

DELIMITERS = {",": "','", ";": "';'", "\t": "tab", "|": "'|'", " ": "blank"}
NUMBER = re.compile(
    r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf|infinity)", re.ASCII | re.IGNORECASE
)
SIGNS = re.compile(r"[0-9eE.+-]*")
COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?", re.ASCII)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+", re.ASCII)
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
MISSING = frozenset(("", "na", "n/a", "null", "none", "-"))
MOST_COLUMNS = 20_000
PROBED = 50  # lines that tell how a table is cut

Row = tuple[int, list[str]]


@dataclass(frozen=True)
class Cut:
    """A way to cut a table's lines into cells: what stands between them, and whether a comma is the point."""

    mark: str
    comma: bool

    @property
    def words(self) -> str:
        return f"cut at {DELIMITERS[self.mark]}" + (", decimal commas" if self.comma else "")


def read_columns(path: Path, text: str, delimiter: str, videos: int | None) -> tuple[list[Column], list[int], str]:
    """The columns of a text file, the line of each row, and how it was cut, in words.

    Args:
        path: the file, for messages.
        text: what it holds.
        delimiter: what stands between cells; empty: found out.
        videos: how many there are, if that is known.

    Raises:
        UsageError: no table, or one that can be read in two ways (file:line).
    """
    said = re.match(r'"?sep=(.)"?\r?\n', text)  # which Excel writes
    if said:
        text = "\n" + text[said.end() :]
    cut = _cut_of(path, text, _mark(delimiter) or (said[1] if said else ""))
    rows = list(_rows(path, text, cut.mark))
    width = len(rows[-1][1])
    if len(rows[0][1]) == width - 1 and len(rows) > 1:  # R leaves out the name of the rows' names
        rows[0][1].insert(0, "")
    if all(not cells[-1] for _, cells in rows if len(cells) == width) and width > 2:
        width -= 1
    for line, cells in rows:
        if len(cells) < width or any(cells[width:]):
            raise UsageError(f"{path}:{line}: {len(cells)} cells, where other lines have {width}")
    rows = [(line, cells[:width]) for line, cells in rows]
    header = _header(path, rows, cut.comma, videos)
    lines = [line for line, _ in rows[bool(header) :]]
    if cut.comma and all(THOUSANDS.fullmatch(cell) for _, cells in rows for cell in cells if COMMA.fullmatch(cell)):
        raise UsageError(f"{path}:{lines[0]}: the commas may be points or part thousands: write points")
    names = [plain_cell(name) for name in header or [""] * width]
    columns = [
        _column(name, list(cells), cut.comma)
        for name, cells in zip(names, zip(*(cells for _, cells in rows[bool(header) :]), strict=True), strict=True)
    ]
    return columns, lines, cut.words + ("" if header else ", no header")


def _mark(text: str) -> str:
    mark = {"tab": "\t", "\\t": "\t", "blank": " ", "space": " ", "comma": ",", "semicolon": ";"}.get(text, text)
    if mark and mark not in DELIMITERS:
        raise UsageError(f"--delimiter {text!r}: expected one of {', '.join(DELIMITERS.values())}")
    return mark


def _rows(path: Path, text: str, mark: str) -> Iterator[Row]:
    """Line and cells of each row that is not empty; NumPy's `# ` before a header is no part of it."""
    if mark == " " and '"' not in text:
        lines = enumerate(re.split(r"\r\n|\r|\n", text), 1)
        rows: Iterator[Row] = ((number, line.split()) for number, line in lines if line.strip())
    else:
        rows = read_rows(path, text.lstrip("\n") and text, mark)
    for number, (line, cells) in enumerate(rows):
        if not number and cells[0].startswith("#"):
            cells = [cells[0][1:].strip(), *cells[1:]]
            cells = cells[1:] if mark == " " and not cells[0] else cells
        yield line, cells


def _cut_of(path: Path, text: str, mark: str) -> Cut:
    """The one way in which all lines have as many cells and the most of them are numbers."""
    found: dict[Cut, tuple[int, int]] = {}
    why = ""
    for sign in [mark] if mark else DELIMITERS:
        if sign not in text and not mark:
            continue
        try:
            rows = [cells for _, cells in islice(_rows(path, text, sign), PROBED)]
        except UsageError as error:
            why = why or str(error)
            continue
        wide = next((len(cells) for cells in rows if len(cells) > MOST_COLUMNS), 0)
        if wide:
            raise UsageError(f"{path}: {wide} cells in a line, which are no scores of classes")
        body = rows[1:] or rows
        widths = {len(cells) for cells in body}
        if len(widths) > 1:  # some lines end with what stands between cells
            widths = {len(cells) - (not cells[-1]) for cells in body}
        width = min(widths)
        if len(widths) > 1 or not {len(rows[0]), len(rows[0]) - (not rows[0][-1])} & {width, width - 1}:
            continue
        for comma in (False, True):
            kinds = [_kind([cells[place] for cells in body], comma) for place in range(width)]
            numbers, texts = sum(kind > 0 for kind in kinds), sum(kind == 0 for kind in kinds)
            if numbers > 1 or (mark and numbers):
                found[Cut(sign, comma)] = (texts, -numbers)
    if not found:
        if not text.strip():
            raise UsageError(f"{path}: empty")
        raise UsageError(why or _why_no_table(path, text, mark))
    best = min(found.values())
    first, *others = [cut for cut, fit in found.items() if fit == best]
    # A tab is a blank, too.
    other = next((cut for cut in others if {cut.mark, first.mark} not in ({first.mark}, {"\t", " "})), None)
    if other is not None:
        raise UsageError(f"{path}: may be {first.words} or {other.words}: say --delimiter")
    return first


def _why_no_table(path: Path, text: str, mark: str) -> str:
    """What keeps a text from being a table."""
    line = next(line for line in text.splitlines() if line.strip())
    sign = mark or max(DELIMITERS, key=lambda sign: (sign != " ", line.count(sign)) if sign in line else (False, 0))
    rows = list(_rows(path, text, sign))
    most = Counter(len(cells) for _, cells in rows).most_common(1)[0][0]
    for number, cells in rows:
        if len(cells) != most:
            return f"{path}:{number}: {len(cells)} cells, where other lines have {most}"
    known = ", ".join(DELIMITERS.values())
    return f"{path}:{rows[-1][0]}: no table of scores: two or more columns of numbers, cut at one of {known}"


def _kind(cells: Sequence[str], comma: bool) -> int:
    """2 where all cells are numbers, 1 where most are, 0 where they are text, -1 where there are none."""
    if not any(cells):
        return -1
    if _plain_numbers(cells, comma) is not None:
        return 2
    told = [cell for cell in cells if cell.lower() not in MISSING]
    good = sum(_is_number(cell, comma) for cell in told)
    return 0 if 2 * good <= len(told) else 2 if good == len(told) else 1


def _plain_numbers(cells: Sequence[str], comma: bool) -> NDArray[np.float64] | None:
    """The numbers, where each cell is one and no word, as nearly all columns are; else a look at each cell tells."""
    if comma or not SIGNS.fullmatch("".join(cells)):
        return None
    try:
        return np.array(list(map(float, cells)))
    except ValueError:
        return None


def _is_number(cell: str, comma: bool) -> bool:
    return NUMBER.fullmatch(cell) is not None if not comma or "," not in cell else COMMA.fullmatch(cell) is not None


def _header(path: Path, rows: list[Row], comma: bool, videos: int | None) -> list[str] | None:
    """The first line's cells where it is a header."""
    first = rows[0][1]
    body = [cells for _, cells in rows[1:]]
    if not body:
        return None
    numeric = [place for place in range(len(first)) if _kind([cells[place] for cells in body], comma) > 0]
    cells, known = [first[place] for place in numeric], set(numeric)
    told = [cell for cell in cells if _is_number(cell, comma)]
    if any(not WHOLE.fullmatch(cell) for cell in told):
        return None  # scores, be one of them none
    if len(told) < len([cell for cell in cells if cell.lower() not in MISSING]):
        return first
    if any(not cell or role_of(cell) for place, cell in enumerate(first) if place not in known):
        return first
    if len(told) < 2 or len(set(told)) < len(told):
        return None
    # Different whole numbers: a header by the number of lines, or where they count and other lines have fractions.
    if videos in (len(body), len(rows)):
        return first if videos == len(body) else None
    numbers = sorted(map(int, told))
    counts = numbers in (list(range(len(told))), list(range(1, len(told) + 1)))
    if counts and not first[0] and 0 in known:  # pandas' index of numbers has no name
        return first
    whole = sum(_all_whole([row[place] for row in body]) for place in numeric)
    if 2 * whole > len(numeric):
        return None
    if counts and len(told) > 2:
        return first
    raise UsageError(f"{path}:{rows[0][0]}: {', '.join(told[:4])} may be a header or scores: give the columns names")


def _all_whole(cells: Sequence[str]) -> bool:
    """Whether the numbers among cells are whole ones."""
    numbers = [cell.replace(",", ".") for cell in cells]
    return all(float(number) % 1 == 0 for number in numbers if NUMBER.fullmatch(number))


def _column(name: str, cells: list[str], comma: bool) -> Column:
    """A column of cells as they are written."""
    kind = _kind(cells, comma)
    if kind < 2:
        cells = list(map(plain_cell, cells))
    if kind < 1:
        return Column(name, cells, None)
    whole = all(WHOLE.fullmatch(cell) for cell in cells)
    plain = _plain_numbers(cells, comma)
    if plain is not None:
        return Column(name, cells if whole else [], plain, whole=whole)
    numbers = np.full(len(cells), np.nan)
    bad = None
    for row, cell in enumerate(cells):
        if _is_number(cell, comma):
            numbers[row] = float(cell.replace(",", ".") if comma else cell)
        elif bad is None:
            bad = row
    return Column(name, [] if kind == 2 and not whole and bad is None else cells, numbers, whole=whole, bad=bad)
