"""Which annotation files there are, and which part of which split each of their lines is in."""

import glob
import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from avr.core import UsageError, note

from ._annotations import Entry, looks_listed, table_of
from ._lists import Told, list_places
from ._splits import by_number, splits_of_folds
from ._types import Split

TABLES = (".csv", ".tsv")
KIND = "annotation files (a csv of path,label, names with a comma in quotes; or *train*.txt, *val*.txt, *test*.txt)"
WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
PART = r"(?<![a-z])(?:train|val|test)"
Side = tuple[str, str]  # split, and train, val or test; or "", and the number of the fold that tests a video
Sides = Mapping[Path, Side | None]


def lists_in(root: Path, splits: Path | None, pattern: str | None) -> Sides:
    """The annotation files, and the split and part that each one's name says, if it does.

    Args:
        root: the data set's folder.
        splits: an annotation file, or the folder of them.
        pattern: of their names; a relative one starts from `splits`, or from the working folder or else the root.

    Raises:
        UsageError: there are none, or lists of parts beside a table of all videos.
    """
    if splits is not None and splits.is_file():
        return {splits: _side(splits)}
    places = list_places(root, splits)
    if pattern is not None:
        for place in places if splits is not None else [Path(), *places]:
            files = [place / name for name in sorted(glob.glob(pattern, root_dir=place)) if (place / name).is_file()]
            if files:
                return {file: _side(file) for file in files}
    else:
        for place in places:
            found = lists_at(place)
            if found:
                return found
    which = KIND if pattern is None else f"annotation files ({pattern})"
    raise UsageError(f"no {which} in {' or '.join(map(str, places))}; give --splits FILE or DIR")


def lists_at(place: Path) -> Sides:
    """The lists in a folder: those whose names say a part, or else the tables of paths and labels.

    Raises:
        UsageError: there are both.
    """
    files = sorted(path for path in place.glob("*") if path.suffix.lower() in (".txt", *TABLES) and path.is_file())
    named = {file: side for file in files if (side := _side(file)) is not None}
    for file in [file for file in named if not re.search(PART, file.stem.lower()) and not looks_listed(file)]:
        del named[file]  # such as latest.txt
    unlabelled = [file for file in named if named[file][1] == "test" and _lacks_labels(file)]
    for file in unlabelled:
        note(f"{file}: left out, as it has no labels")
        del named[file]
    tables = [file for file in files if file not in named and file.suffix.lower() in TABLES and _is_table(file)]
    if named and tables:
        raise UsageError(
            f"{place} holds lists of parts ({next(iter(named)).name}, …) and a table of all videos ({tables[0].name}): "
            f"say which to read, --splits {tables[0]} or --set 'files=PATTERN'"
        )
    return named or dict.fromkeys(tables)


def _is_table(file: Path) -> bool:
    table = table_of(file)
    return table is not None and {"path", "label"} <= table.columns


def _lacks_labels(file: Path) -> bool:
    table = table_of(file) if file.suffix.lower() in TABLES else None
    return table is not None and "path" in table.columns and "label" not in table.columns


def _side(file: Path) -> Side | None:
    """The split and the part (train, val, test) that an annotation file's name says; None without a part."""
    stem = file.stem.lower()
    part = re.search(PART, stem) or re.search(r"train|val|test", stem)
    if part is None:
        return None
    number = re.search(r"split_?0*(\d+)|(?:list|_)0*(\d+)(?!\d)", file.stem[part.end() :])
    return ((number[1] or number[2]) if number else "1", part[0])


def side_of(entry: Entry, named: Side | None) -> Side | None:
    """The side that a line's column `split` says, or else the name of its file; ("", "") where the column is empty."""
    if entry.part is None:
        return named
    word = entry.part.lower()
    if not word:
        return "", ""
    fold = re.fullmatch(r"(?:fold|split)?[ _-]*0*(\d{1,9})", word)
    if fold:
        return "", fold[1]
    if word not in WORDS:
        raise UsageError(
            f"{entry.where}: {entry.part!r} is no split: expected train, val or test, or the number of the "
            "fold that tests the video"
        )
    return (named[0] if named else "1"), WORDS[word]


def listed_splits(lines: Sequence[tuple[str, Entry, Side | None]], there: Container[str]) -> dict[str, Split]:
    """The splits that the lists tell, of the videos that are there; none where they tell none.

    Args:
        lines: the id, the line, and the side of each.
        there: ids of the videos that are there.

    Raises:
        UsageError: a video in two parts of one split, or lines that tell their part in different ways (file:line).
    """
    kinds = {
        ("none" if side is None else "part" if side[0] else "fold"): entry.where
        for _, entry, side in lines
        if side != ("", "")
    }
    if len(kinds) > 1:
        (one, here), (other, place) = list(kinds.items())[:2]
        words = {"none": "no part of a split", "part": "a part of a split", "fold": "the number of a fold"}
        raise UsageError(f"{here}: {words[one]} is told here, but {words[other]} at {place}: every line tells the same")
    if not kinds or "none" in kinds:
        return {}
    told = Told()
    members: dict[str, dict[str, list[str]]] = {}
    tested = {side[0] for _, _, side in lines if side is not None and side[1] == "test"}
    for name, entry, side in lines:
        if side is None or not side[1]:
            continue
        split, part = side
        if part == "val" and split in tested:
            continue  # where there are both, val is left out
        told.tell((name, split), "part" if split else "fold", part, entry.where, shown=name)
        if name in there:
            members.setdefault(split, {}).setdefault(part, []).append(name)
    if "fold" in kinds:
        folds = members.get("", {})
        if len(folds) == 1:
            raise UsageError(f"all videos are of fold {next(iter(folds))}: at least two folds are needed")
        ids = dict.fromkeys(name for name, _, _ in lines if name in there)
        return splits_of_folds({name: folds[name] for name in by_number(folds)}, ids)
    return {
        split: Split(
            split, _once(members[split].get("train")), _once(members[split].get("test") or members[split].get("val"))
        )
        for split in by_number(members)
    }


def _once(ids: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ids or ()))
