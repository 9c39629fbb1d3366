"""Which column of a table of scores is what: told by the header's words, then by facts, never by place."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError

from .found import NO_COLUMN, Found, Known, Reading, heading, pick, role_of

INDEX = re.compile(r"|index|level_0|__index_level_0__|Unnamed: 0(\.\d+)?")  # how pandas calls the names of rows
TELLS = "--class-names FILE, of the headers of classes, tells"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its header; empty without one.
        texts: its cells as they are written; left out where all are broken numbers.
        numbers: (M,) float64, NaN where a cell is none; None where most are none.
        whole: every cell is written as a whole number.
        bad: the first row whose cell is no number.
    """

    name: str
    texts: list[str]
    numbers: NDArray[np.float64] | None
    whole: bool = False
    bad: int | None = None

    @property
    def cells(self) -> list[str]:
        return self.texts or list(map(str, np.asarray(self.numbers).tolist()))

    @property
    def distinct(self) -> bool:
        """No cell is empty or stands twice."""
        return bool(self.texts) and len(set(self.texts)) == len(self.texts) and all(self.texts)

    @property
    def counts(self) -> bool:
        """The cells number the rows, from 0 or 1 on."""
        return self.whole and [int(cell) for cell in self.texts] in (
            list(range(len(self.texts))),
            list(range(1, len(self.texts) + 1)),
        )


def column_of(name: str, cells: Sequence[Any]) -> Column:
    """A column of Python's or NumPy's values; texts of numbers are texts."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "iuf":
        gaps = np.flatnonzero(np.isnan(cells)) if cells.dtype.kind == "f" else []
        if not len(gaps):
            whole = cells.dtype.kind != "f"
            return Column(name, list(map(str, cells.tolist())) if whole else [], cells.astype(np.float64), whole=whole)
    numeric = [isinstance(cell, int | float | np.number) and not isinstance(cell, bool) for cell in cells]
    missing = [cell is None or (isinstance(cell, float) and np.isnan(cell)) for cell in cells]
    if not all(n or m for n, m in zip(numeric, missing, strict=True)) or all(missing):
        texts = [
            "" if gap else cell if isinstance(cell, str) else str(cell)
            for cell, gap in zip(cells, missing, strict=True)
        ]
        return Column(name, texts, None)
    numbers = np.array([np.nan if gap else float(cell) for cell, gap in zip(cells, missing, strict=True)])
    # A column of whole numbers with gaps is one of fractions to pandas.
    whole = all(isinstance(cell, int | np.integer) for cell in cells) or (any(missing) and _whole(numbers))
    texts = ["" if gap else str(int(cell)) for cell, gap in zip(cells, missing, strict=True)] if whole else []
    bad = missing.index(True) if any(missing) else None
    return Column(name, texts or [str(cell) for cell in cells], numbers, whole=whole, bad=bad)


def _whole(numbers: NDArray[np.float64]) -> bool:
    told = numbers[np.isfinite(numbers)]
    return bool((told == np.round(told)).all())


def found_in_columns(
    columns: Sequence[Column], where: str, form: str, known: Known, reading: Reading, lines: list[int] | None = None
) -> Found:
    """A table's scores and what stands beside them.

    Raises:
        UsageError: a column that may be two things, or is none; a score that is no number (file:line).
    """
    reading.check(where, form, ("id_column", "label_column", "delimiter"))
    table = _Table(list(columns), where, known, lines or [])
    roles = table.by_words(reading)
    table.by_facts(roles, reading)
    scores = table.left(roles)
    if not scores:
        names = ", ".join(column.name or "(no name)" for column in columns)
        raise UsageError(f"{where}: no column of scores; its columns are {names[:200]}")
    found = Found(where, form, table.values(scores), lines=lines, axes="MK")
    for role, place in roles.items():
        setattr(found, role, columns[place].cells)
        found.told[role] = table.call(place)
    found.notes = table.notes
    found.again = {table.call(place): columns[place].cells for place in table.again}
    called = [columns[place].name for place in scores]
    double = [name for name, times in Counter(called).items() if name and times > 1]
    if double:
        raise UsageError(f"{where}: two columns are called {double[0]!r}")
    if all(called):
        _name_classes(found, called)
    return found


def _name_classes(found: Found, names: list[str]) -> None:
    """Names of the columns; where they are numbers, or end in numbers behind one word, those are the classes' own."""
    numbers = numbers_of(names)
    if numbers is None:
        found.class_names = names
        return
    order = np.argsort(numbers)
    if (order != np.arange(len(order))).any():
        assert isinstance(found.values, np.ndarray)
        found.values = found.values[:, order]
        found.notes.append("columns put into the order of the numbers in their names")
    if min(numbers) or not all(name.isdecimal() for name in names):  # 0 … K-1 alone say their order
        found.class_names = [names[place] for place in order]


def numbers_of(names: Sequence[str]) -> list[int] | None:
    """The numbers that names are, or end in behind one word: 0 … K-1, or 1 … K, in any order; None: they are others."""
    stems = {name.rstrip("0123456789") for name in names}
    tails = [name[len(name.rstrip("0123456789")) :] for name in names]
    if len(stems) > 1 or not all(tails):
        return None
    numbers = [int(tail[:9]) for tail in tails]
    first = min(numbers)
    return numbers if first < 2 and sorted(numbers) == list(range(first, first + len(names))) else None


class _Table:
    """The columns of a file while their roles are found."""

    def __init__(self, columns: list[Column], where: str, known: Known, lines: list[int]) -> None:
        self.columns, self.where, self.known, self.lines = columns, where, known, lines
        self.notes: list[str] = []
        self.indexes = {place for place, column in enumerate(columns) if INDEX.fullmatch(column.name)}
        if len(self.indexes) == len(columns):  # pandas' index alone has no name
            self.indexes = set()
        self.unread: set[int] = set()
        self.again: list[int] = []  # further labels, which are compared
        given = set(known.classes or ())
        self.classes = given if given <= {column.name for column in columns} else set[str]()  # that are headers

    def call(self, place: int) -> str:
        """What to call a column in messages."""
        name = self.columns[place].name
        return f"column {name!r}" if name else f"column {place + 1}"

    def by_words(self, reading: Reading) -> dict[str, int]:
        """Roles that the options or the header's words say."""
        names = [column.name for column in self.columns]
        classes = {heading(name) for name in self.known.classes or ()}
        roles: dict[str, int] = {}
        free = [name for name in names if name and heading(name) not in classes]
        for role in ("ids", "labels", "groups", "folds", "predictions"):
            given = reading.column(role)
            if given == NO_COLUMN:
                continue
            name = given or pick(free, role)
            if name is None:
                continue
            place = names.index(name) if name in names else self._numbered(given)
            if not given and not self._fits(place, role):
                continue
            if place not in roles.values():
                roles[role] = place
        return roles

    def _numbered(self, given: str) -> int:
        """The place of a column that an option names by its number, from 1 on."""
        if not given.isdecimal() or not 0 < int(given) <= len(self.columns):
            names = ", ".join(column.name for column in self.columns if column.name)
            raise UsageError(f"{self.where}: no column {given!r}; there are {len(self.columns)}: {names[:200]}")
        return int(given) - 1

    def _is_number(self, place: int) -> bool:
        return self.columns[place].numbers is not None

    def _broken(self, place: int) -> bool:
        numbers = self.columns[place].numbers
        return numbers is not None and not _whole(np.nan_to_num(numbers, posinf=0.5, neginf=0.5))

    def _fits(self, place: int, role: str) -> bool:
        """Whether a column may be what its name says: fractions are not, and refused where they may be a class."""
        if self._broken(place) and not self.classes:
            raise UsageError(f"{self.where}: {self.call(place)} holds fractions: {role} or a class? {TELLS}")
        return not self._broken(place)

    def by_facts(self, roles: dict[str, int], reading: Reading) -> None:
        """Find ids and labels that no word tells; leave out what is neither a role nor a class."""
        for place, column in enumerate(self.columns):
            role = "" if column.name in self.classes or place in roles.values() else role_of(column.name)
            if role in ("others", "ids", "labels", "predictions") or (
                role in ("groups", "folds") and self._broken(place)
            ):
                self.unread.add(place)
                fits = role == "others" or self._fits(place, role)
                if fits and role == "labels" and role in roles and not reading.label_column:
                    self.again.append(place)
        if "ids" not in roles and reading.id_column != NO_COLUMN:
            self._find_ids(roles)
        self.unread |= self.indexes.difference(roles.values())
        if "labels" not in roles and reading.label_column != NO_COLUMN:
            self._find_labels(roles)
        self.unread.update(place for place in self.left(roles) if self.columns[place].numbers is None)
        left = self.left(roles)
        # Zeros may be those of a class that is never met.
        whole = [place for place in left if self.columns[place].whole and np.any(self.columns[place].numbers)]
        told = NO_COLUMN in (reading.id_column, reading.label_column) or len(left) == len(self.known.classes or ())
        odd = not told and len(whole) <= sum(map(self._broken, left))
        if odd and self.classes:
            self.unread.update(place for place in whole if self.columns[place].name not in self.classes)
        elif odd and whole:
            raise UsageError(f"{self.where}: {self.call(whole[0])} holds whole numbers: a class or none? {TELLS}")
        unread = sorted(self.unread.difference(self.again))
        if unread:
            self.notes.append(f"not read: {', '.join(map(self.call, unread))}")

    def left(self, roles: dict[str, int]) -> list[int]:
        """The columns that may be scores."""
        taken = {*roles.values(), *self.unread}
        return [place for place in range(len(self.columns)) if place not in taken]

    def _find_ids(self, roles: dict[str, int]) -> None:
        left = [place for place in self.left(roles) if self.columns[place].name not in self.classes]
        texts = [place for place in left if self.columns[place].numbers is None]
        unique = [place for place in texts if self.columns[place].distinct]
        if len(unique) == 1:
            roles["ids"] = unique[0]
            return
        if len(unique) > 1:
            raise UsageError(
                f"{self.where}: {self.call(unique[0])} and {self.call(unique[1])} may be ids: say --id-column"
            )
        numbered = {place: None for place in left if self.columns[place].whole and self.columns[place].distinct}
        others = [place for place in self.left(roles) if place not in numbered and self._is_number(place)]
        if not numbered or all(self.columns[place].whole for place in others):
            return  # scores may be whole numbers, too
        met = [place for place in numbered if self.known.ids and set(self.columns[place].texts) <= self.known.ids]
        place = next(iter(met or numbered))
        if met:
            roles["ids"] = place
        elif self.columns[place].counts and (self.known.names or len(self.columns[place].texts) == 1):
            self.unread.add(place)
        elif place in self.indexes:
            if self.columns[place].counts:
                raise UsageError(
                    f"{self.where}: {self.call(place)} numbers the rows, nothing names the videos: give their names "
                    "(--names FILE), or say --id-column 1"
                )
            roles["ids"] = place  # the index of a table of pandas: no class is without a name where others have one
        else:
            line = f":{self.lines[0]}" if self.lines else ""
            raise UsageError(f"{self.where}{line}: {self.call(place)} may be ids or a class; say --id-column")

    def _find_labels(self, roles: dict[str, int]) -> None:
        left = [place for place in self.left(roles) if self.columns[place].name not in self.classes]
        texts = {place: None for place in left if self.columns[place].numbers is None}
        names = {*(self.known.classes or ()), *(self.columns[place].name for place in left if place not in texts)}
        told = {place: set(self.columns[place].texts) - {""} for place in texts}
        named = [place for place in texts if told[place] and told[place] <= names]
        if len(named) > 1:
            raise UsageError(
                f"{self.where}: {self.call(named[0])} and {self.call(named[1])} may be labels: say --label-column"
            )
        if named:
            roles["labels"] = named[0]
            return
        whole = [place for place in left if self.columns[place].whole]
        if not whole or len(whole) * 2 > len(left):
            return  # scores may be whole numbers, too
        count = len(left) - len(texts) - len(whole)
        for place in whole:
            numbers = self.columns[place].numbers
            assert numbers is not None
            if len(set(numbers)) > 1 and numbers.min() >= -1 and numbers.max() < count:
                line = f":{self.lines[0]}" if self.lines else ""
                raise UsageError(f"{self.where}{line}: {self.call(place)} may be labels or a class; say --label-column")

    def values(self, places: Sequence[int]) -> NDArray[np.float64]:
        """The scores, (M, K)."""
        for place in places:
            column = self.columns[place]
            if column.bad is not None:
                line = f":{self.lines[column.bad]}" if self.lines else f": row {column.bad + 1}"
                cell = column.texts[column.bad][:40]
                raise UsageError(f"{self.where}{line}: {self.call(place)} holds {cell!r}, which is no number")
        return np.stack([np.asarray(self.columns[place].numbers) for place in places], axis=1)
