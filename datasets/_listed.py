"""Lists of videos that go with scores and features of others: names in order, and labels by name."""

import re
from dataclasses import dataclass
from pathlib import Path

from avr.core import UsageError

from ._annotations import ROLES as COLUMNS
from ._lists import Told, lines_of
from ._tables import Roles, read_table

ROLES = {"id": ("id", *COLUMNS["path"]), "label": COLUMNS["label"]}
NUMBERS = re.compile(r"(?:[ \t,]+-?\d{1,18}){1,8}$")


@dataclass(frozen=True)
class Listed:
    """A list of videos.

    Attributes:
        file: it.
        names: in its order.
        labels: numbers or names, as they are written; None: it has none.
        lines: where each stands.
    """

    file: Path
    names: tuple[str, ...]
    labels: tuple[str, ...] | None
    lines: tuple[int, ...]

    def by_name(self) -> dict[str, str]:
        """Labels by name.

        Raises:
            UsageError: it has none, or two of one video (file:line).
        """
        if self.labels is None:
            raise UsageError(f"{self.file}:{self.lines[0] if self.lines else 1}: expected 'video … label'")
        told = Told()
        for name, label, line in zip(self.names, self.labels, self.lines, strict=True):
            told.tell(name, "label", label, f"{self.file}:{line}")
        return dict(zip(self.names, self.labels, strict=True))


def read_listed(file: Path, *, labelled: bool = False, words: Roles = ROLES) -> Listed:
    """Read a list of videos, or a table of ids and labels.

    In a list a name is a line, which numbers may follow (TSN's and mmaction2's lists), the last of them its label; of
    one that need not be `labelled`, they are a part of the names where these would be equal without them. In a table
    the headers in `words` say what is "id" and what "label".

    Raises:
        UsageError: no text, no video, or a line without the label that others have (file:line).
    """
    table = read_table(file, words, bare=("id", "label"))
    if table is not None and "id" in table.columns:
        lines = tuple(int(where.rpartition(":")[2]) for where, _ in table.rows)
        names = tuple(cells["id"] for _, cells in table.rows)
        labels = tuple(cells["label"] for _, cells in table.rows) if "label" in table.columns else None
        return Listed(file, names, labels, lines)
    found = lines_of(file)
    if not found:
        raise UsageError(f"{file}: empty")
    texts = [text for _, text in found]
    numbers = [NUMBERS.search(text) for text in texts]
    short = [text[: match.start()] if match else text for text, match in zip(texts, numbers, strict=True)]
    lines = tuple(line for line, _ in found)
    if not any(numbers) or (not labelled and len(set(short)) < len(set(texts))):
        return Listed(file, tuple(texts), None, lines)
    lacking = next((line for line, match in zip(lines, numbers, strict=True) if match is None), None)
    if lacking is not None:
        raise UsageError(f"{file}:{lacking}: expected 'video … label', as other lines have")
    labels = tuple(match[0].replace(",", " ").split()[-1] for match in numbers if match)
    return Listed(file, tuple(short), labels, lines)
