"""Scores in brackets in a text file: a line a view, as VideoMAE's code and its heirs write them, or a cell a video, as
pandas writes a column of lists."""

import io
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, plain_cell, read_rows, softmax

from .found import Found
from .kinds import CLOSE

BEHIND = re.compile(r"(-?\d+)((?: \d+){0,2})")  # label, (chunk (and crop))
LIST = re.compile(r"\[[\s\[]*[-+.\d]")  # how a cell of numbers begins
NEAR = 0.05  # by which scores of one view may differ, as two processes round in half precision
INNER = re.compile(r"\[([^\[\]]*)\]")
SUMMARY = re.compile(r"[\d.]+\s*,\s*[\d.]+")  # top-1 and top-5, with which the file of each process begins


def read_views(path: Path, text: str) -> Found | None:
    """Scores of a text file with a line a view, `name [s, s, …] label chunk crop`; None where it is another.

    A video's views become probabilities, by softmax where they are none yet: so the code that writes such files
    averages them. A view that stands twice, as where processes share out what does not go up, counts once.

    Raises:
        UsageError: a line of another form, another label or number of scores; another view of one chunk and crop.
    """
    if _cut(next(_lines(text), (0, ""))[1]) is None:
        return None
    views: dict[str, dict[str, NDArray]] = defaultdict(dict)
    labels: dict[str, str] = {}
    first: dict[str, int] = {}
    for number, line in _lines(text):
        told = _cut(line)
        if told is None:
            raise UsageError(f"{path}:{number}: expected `name [score, …] label chunk crop`, as the first line has it")
        name, written, label, view = told
        view = view or str(number)
        scores = _numbers(written, f"{path}:{number}")
        if labels.setdefault(name, label) != label:
            raise UsageError(f"{path}:{number}: video {name} has label {label}, and {labels[name]} before")
        known = next(iter(views[name].values()), scores)
        if known.shape != scores.shape:
            raise UsageError(f"{path}:{number}: {len(scores)} scores, where the video has {len(known)} before")
        if not np.allclose(views[name].setdefault(view, scores), scores, rtol=NEAR, atol=NEAR, equal_nan=True):
            raise UsageError(f"{path}:{number}: view {view} of video {name} stands here with other scores than before")
        first.setdefault(name, number)
    values = [np.stack(list(of_video.values())) for of_video in views.values()]
    form = f"{path.suffix[1:].lower()}, a line a view"
    with np.errstate(all="ignore"):  # what is no number is told of where scores are checked
        if any((value < 0).any() or np.abs(value.sum(axis=1) - 1).max() > CLOSE for value in values):
            values, form = [softmax(value) for value in values], f"{form}, softmax of each"
    return Found(
        str(path),
        form,
        values,
        ids=list(views),
        labels=list(labels.values()),
        axes="MVK",
        lines=list(first.values()),
    )


def _cut(line: str) -> tuple[str, str, str, str] | None:
    """Name, list, label and view of a line of that form."""
    opens, closes = line.rfind("["), line.rfind("]")
    behind = BEHIND.fullmatch(" ".join(line[closes + 1 :].split())) if closes > opens else None
    if behind is None or not line[:opens].strip():
        return None
    return line[:opens].strip(), line[opens : closes + 1], behind[1], behind[2].strip()


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without those that hold nothing of a video."""
    for number, line in enumerate(io.StringIO(text), 1):
        if line.strip() and not SUMMARY.fullmatch(line.strip()):
            yield number, line.strip()


def read_cells(path: Path, text: str) -> dict[str, list[Any]] | None:
    """The columns by name of a table of which one holds a list in brackets in each row; None of other tables.

    Raises:
        UsageError: brackets that hold no numbers, or numbers that NumPy left out.
    """
    for mark in (",", ";", "\t") if "[" in text else ():
        try:
            (_, names), (_, first) = islice(read_rows(path, text, mark), 2)
            lists = [place for place, cell in enumerate(first) if LIST.match(cell)]
            if len(first) != len(names) or len(set(names)) < len(names) or not lists:
                continue
            _, *rows = read_rows(path, text, mark)
        except (UsageError, ValueError):  # cut at something else, or without rows
            continue
        odd = next((line for line, cells in rows if len(cells) != len(names)), 0)
        if odd:
            raise UsageError(f"{path}:{odd}: not as many cells as the {len(names)} of the first line")
        columns: dict[str, list[Any]] = {
            plain_cell(name): [cells[place] for _, cells in rows] for place, name in enumerate(names)
        }
        for place in lists:
            columns[plain_cell(names[place])] = [_numbers(cells[place], f"{path}:{line}") for line, cells in rows]
        return columns
    return None


def _numbers(text: str, where: str) -> NDArray[np.float64]:
    """A list of numbers `(K,)`, or of lists `(V, K)`, cut at commas or, as NumPy prints them, at blanks."""
    try:
        numbers = np.array(
            [[float(number) for number in part.split()] for part in INNER.findall(text.replace(",", " "))]
        )
    except ValueError as error:
        why = "NumPy left some out when it printed them" if "..." in text else "these are no scores"
        raise UsageError(f"{where}: {text[:40]}: {why}") from error
    if not numbers.size:
        raise UsageError(f"{where}: brackets without a score")
    if text.startswith("[[") or len(numbers) > 1:
        return numbers
    return np.asarray(numbers[0])
