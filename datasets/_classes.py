"""Class numbers and names of annotation files: from a file of names, the class folders, or the labels themselves."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from avr.core import UsageError, first_few, note

from ._annotations import WHOLE, Entry
from ._files import few
from ._lists import lines_of
from ._types import numbered

MOST = 10  # times as many as there are lines: a label above that is no label, unless a file names the classes
HEADER = re.compile(r"((class|label|action)?[ _]?(id|index|idx|number|nr|no|label|class|name)s?([\s,;]+|$)){2,}", re.I)


@dataclass(frozen=True)
class ClassFile:
    """A file of class names: the names in label order, and the first's number; None: the file numbers none."""

    path: Path
    names: tuple[str, ...]
    first: int | None


def class_numbers(
    entries: Sequence[Entry],
    parents: Sequence[str],
    *,
    file: ClassFile | None,
    first_label: int | None,
) -> tuple[tuple[str, ...], list[int]]:
    """Class names in label order, and each entry's label.

    Labels that are all whole numbers are the numbers of the classes in a file of names, if there is one; else there is
    a class for each that occurs. Other labels are the classes' names.

    Args:
        entries: the lines.
        parents: of each, the name of the folder that it lies in.
        file: of names.
        first_label: number of the first class, 0 or 1; None: as the file of names has it, if it does, or else 0.

    Raises:
        UsageError: labels that are no class numbers, not in the file of names, or against the class folders
            (file:line).
    """
    if any(labelled_by_name(entry) for entry in entries):
        return _by_name(entries, file, first_label)
    if first_label is None:
        # A file's own numbers, unless they count from 1 and a label is 0, as mmaction2's are beside UCF101's classInd.
        zero = any(float(entry.label) == 0 for entry in entries)
        first_label = 0 if file is None or zero else file.first or 0
    labels = [_number(entry, first_label) for entry in entries]
    folders: dict[int, set[str]] = {}
    for label, parent in zip(labels, parents, strict=True):
        folders.setdefault(label, set()).add(parent)
    # The folder of each class that has one of its own.
    own = {label: min(found) for label, found in folders.items() if len(found) == 1}
    for entry, label in zip(entries, labels, strict=True):
        if file is not None:
            _check(entry, label, file, own.get(label, ""), first_label)
        elif label > MOST * len(entries):
            raise UsageError(
                f"{entry.where}: label {entry.label[:30]}, but the lists hold {few(folders, 'label', 'labels')}: "
                "is the last column the label? If it is, name the classes by --set classes=FILE"
            )
    if file is not None:
        return file.names, labels
    # Classes are made for the labels that occur, never for a range.
    place = {label: number for number, label in enumerate(sorted(folders))}
    whole = len(set(own.values()) - {""}) == len(place)
    return tuple(own[label] if whole else str(label + first_label) for label in place), [place[one] for one in labels]


def labelled_by_name(entry: Entry) -> bool:
    """Whether a line's label is a name, no whole number."""
    return re.fullmatch(r"[+-]?\d+(\.0*)?", entry.label) is None


def find_classes(given: Path | None, entries: Sequence[Entry], beside: Path) -> ClassFile | None:
    """The file of class names: the one that the user gives; for labels that are numbers, one beside the lists.

    Raises:
        UsageError: a name that stands in it twice (file:line).
    """
    if given is not None:
        return read_class_file(given)
    places = [beside / "classInd.txt", *sorted(beside.glob("label_map*.txt"))]
    path = next((one for one in places if one.is_file()), None)
    return None if path is None or any(map(labelled_by_name, entries)) else read_class_file(path)


def say_unused(file: ClassFile, used: Collection[int]) -> None:
    """Note where a file names more classes than the lists hold."""
    without = [name for label, name in enumerate(file.names) if label not in used]
    if without:
        note(
            f"{file.path}: names {len(file.names)} classes, the lists have videos of {len(used)}; none of "
            f"{first_few(without)}"
        )


def read_class_file(file: Path) -> ClassFile:
    """Names, one a line: in the order of the numbers that stand before all of them, from 0 or 1 on, or of the lines.

    Raises:
        UsageError: no text, or a name that stands in it twice (file:line).
    """
    lines = lines_of(file)
    if lines and HEADER.fullmatch(lines[0][1]) and all(line[0].isdigit() for _, line in lines[1:]):
        lines = lines[1:]
    found = [re.fullmatch(rf"({WHOLE})[\s,;]+(.*\S)", line) for _, line in lines]
    numbers = [int(match[1]) for match in found if match]
    first = next((one for one in (0, 1) if sorted(numbers) == [*range(one, one + len(lines))]), None)
    places: dict[str, int] = {}
    for match, (line, name) in zip(found, lines, strict=True):
        name = match[2] if match and first is not None else name
        if places.setdefault(name, line) != line:
            raise UsageError(f"{file}:{line}: class {name!r} stands at line {places[name]}, too")
    order = list(places) if first is None else [name for _, name in sorted(zip(numbers, places, strict=True))]
    return ClassFile(file, tuple(order), first)


def _number(entry: Entry, first_label: int) -> int:
    digits = entry.label.partition(".")[0]
    label = (int(digits) if re.fullmatch(rf"[+-]?{WHOLE}", digits) else 10**18) - first_label
    if label < 0:
        raise UsageError(f"{entry.where}: label {entry.label} is below the first label, {first_label}")
    return label


def _by_name(
    entries: Sequence[Entry], file: ClassFile | None, first_label: int | None
) -> tuple[tuple[str, ...], list[int]]:
    named = next(entry.label for entry in entries if labelled_by_name(entry))
    if first_label is not None:
        raise UsageError(f"first_label={first_label}: labels are names, as {named!r}: leave it out")
    other = next((entry for entry in entries if not labelled_by_name(entry)), None)
    if other is not None:
        note(f"{other.where}: label {other.label!r} is taken as a name, as {named!r} is one")
    names = numbered(entry.label for entry in entries) if file is None else file.names
    number = {name: label for label, name in enumerate(names)}
    for entry in entries:
        if file is not None and entry.label not in number:
            raise UsageError(f"{entry.where}: class {entry.label!r} is not in {file.path}: {', '.join(number)}")
    return tuple(number), [number[entry.label] for entry in entries]


def _check(entry: Entry, label: int, file: ClassFile, folder: str, first_label: int) -> None:
    """Refuse a label that the file has no name for, or another than the folder that its videos lie in."""
    count = len(file.names)
    if label >= count:
        hint = "; --set first_label=1 may be meant" if label == count and not first_label else ""
        raise UsageError(f"{file.path}: {count} class names, but a label is {entry.label[:30]} ({entry.where}){hint}")
    if folder in file.names and folder != file.names[label]:
        raise UsageError(
            f"{entry.where}: label {entry.label} is class {file.names[label]!r} by {file.path}, but its videos lie in "
            f"folder {folder}: give first_label=0 or 1, or another --set classes=FILE"
        )
