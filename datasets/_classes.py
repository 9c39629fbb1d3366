"""Class numbers and names of annotation files: from a file of names, the class folders, or the labels themselves."""

import re
from collections.abc import Sequence
from pathlib import Path

from avr.core import UsageError, note

from ._annotations import WHOLE, Entry
from ._files import few
from ._lists import given_file, read_list
from ._types import numbered

MOST = 10  # times as many as there are lines: a label above that is no label, unless a file names the classes


def class_numbers(
    entries: Sequence[Entry],
    parents: Sequence[str],
    *,
    root: Path,
    classes: Path | None,
    first_label: int,
    beside: Path,
) -> tuple[tuple[str, ...], list[int]]:
    """Class names in label order, and each entry's label.

    Labels that are all whole numbers are the numbers of the classes in a file of names, if there is one; else there is
    a class for each that occurs. Other labels are the classes' names.

    Args:
        entries: the lines.
        parents: of each, the name of the folder that it lies in.
        root: the data set's folder.
        classes: the file of names that the user gives.
        first_label: number of the first class, 0 or 1.
        beside: where the lists are: a `classInd.txt` or `label_map*.txt` there names numbers, too.

    Raises:
        UsageError: labels that are no class numbers, or not in the file of names (file:line).
    """
    is_number = [re.fullmatch(r"[+-]?\d+(\.0*)?", entry.label) is not None for entry in entries]
    named = [entry for entry, number in zip(entries, is_number, strict=True) if not number]
    file = given_file(root, classes, "classes") if classes is not None else None
    if file is None and not named:
        candidates = [beside / "classInd.txt", *sorted(beside.glob("label_map*.txt"))]
        file = next((path for path in candidates if path.is_file()), None)
    names = None if file is None else read_classes(file)
    if named:
        if len(named) < len(entries):
            first = entries[is_number.index(True)]
            note(f"{first.where}: label {first.label!r} is taken as a name, as {named[0].label!r} is one")
        return _by_name(entries, file, names)
    labels = [_number(entry, first_label) for entry in entries]
    if names is not None:
        return _by_number(entries, labels, file, names, first_label), labels
    for entry, label in zip(entries, labels, strict=True):
        if label > MOST * len(entries):
            raise UsageError(
                f"{entry.where}: label {entry.label[:30]}, but the lists hold {few(set(labels), 'label', 'labels')}: "
                "is the last column the label? If it is, name the classes by --set classes=FILE"
            )
    # Classes are made for the labels that occur, never for a range.
    place = {label: number for number, label in enumerate(sorted(set(labels)))}
    folders: dict[int, set[str]] = {}
    for label, parent in zip(labels, parents, strict=True):
        folders.setdefault(label, set()).add(parent)
    told = [min(folders[label]) for label in place]
    whole = all(len(of_label) == 1 for of_label in folders.values()) and len(set(told)) == len(told) and all(told)
    shown = tuple(told) if whole else tuple(str(label + first_label) for label in place)
    return shown, [place[label] for label in labels]


def read_classes(file: Path) -> tuple[str, ...]:
    """Class names, one a line in label order; numbers before them, from 0 or 1 on, are left out.

    Raises:
        UsageError: a name that stands twice (file:line).
    """
    lines = list(read_list(file, str))
    found = [re.fullmatch(rf"({WHOLE})[\s,;]+(.*\S)", line) for _, line in lines]
    numbers = [int(match[1]) for match in found if match]
    counted = len(numbers) == len(lines) and numbers in ([*range(len(lines))], [*range(1, len(lines) + 1)])
    names = [match[2] if match and counted else line for match, (_, line) in zip(found, lines, strict=True)]
    places: dict[str, int] = {}
    for (number, _), name in zip(lines, names, strict=True):
        if places.setdefault(name, number) != number:
            raise UsageError(f"{file}:{number}: class {name!r} stands at line {places[name]}, too")
    return tuple(names)


def _number(entry: Entry, first_label: int) -> int:
    digits = entry.label.partition(".")[0]
    label = (int(digits) if re.fullmatch(rf"[+-]?{WHOLE}", digits) else 10**18) - first_label
    if label < 0:
        raise UsageError(f"{entry.where}: label {entry.label} is below the first label, {first_label}")
    return label


def _by_name(
    entries: Sequence[Entry], file: Path | None, names: tuple[str, ...] | None
) -> tuple[tuple[str, ...], list[int]]:
    number = numbered(entry.label for entry in entries) if names is None else {n: i for i, n in enumerate(names)}
    for entry in entries:
        if entry.label not in number:
            raise UsageError(f"{entry.where}: class {entry.label!r} is not in {file}: {', '.join(names or ())}")
    _say_unused(file, tuple(number), {entry.label for entry in entries})
    return tuple(number), [number[entry.label] for entry in entries]


def _by_number(
    entries: Sequence[Entry], labels: Sequence[int], file: Path | None, names: tuple[str, ...], first_label: int
) -> tuple[str, ...]:
    most = max(labels)
    if most >= len(names):
        where = entries[list(labels).index(most)].where
        hint = "; --set first_label=1 may be meant" if most == len(names) and not first_label else ""
        raise UsageError(f"{file}: {len(names)} class names, but a label is {most + first_label} ({where}){hint}")
    _say_unused(file, names, {names[label] for label in labels})
    return names


def _say_unused(file: Path | None, names: tuple[str, ...], used: set[str]) -> None:
    """Note where a file names more classes than the lists hold."""
    without = [name for name in names if name not in used]
    if without:
        note(
            f"{file}: names {len(names)} classes, the lists have videos of {len(used)}; none of "
            f"{', '.join(without[:3])}{', …' if len(without) > 3 else ''}"
        )
