"""Which annotation files there are, and which part of which split each of their lines is in."""

import glob
import re
from collections.abc import Collection, Container, Sequence
from pathlib import Path

from avr.core import UsageError, by_number, first_few, note

from ._annotations import Entry, looks_listed, table_of
from ._lists import Told, list_places
from ._tables import Table
from ._types import Split

TABLES = (".csv", ".tsv")
KIND = "annotation files (a csv of path,label, names with a comma in quotes; or *train*.txt, *val*.txt, *test*.txt)"
WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
PART = re.compile(r"(?<![a-z])(train|val|test)(?:ing|id|idate|idation|s|set|_?list|_?split)?(?![a-z])")
Side = tuple[str, str]  # split, and train, val or test; or "", and the number of the fold that tests a video


def lists_in(
    root: Path, splits: Path | None, pattern: str | None, given: Collection[Path | None]
) -> dict[Path, Table | None]:
    """The annotation files, each with its table, if it is one.

    Args:
        root: the data set's folder.
        splits: an annotation file, or the folder of them.
        pattern: of their names, from `splits`, or from the root; one with a folder from the working folder, too.
        given: files that other options name, which are none.

    Raises:
        UsageError: there are none.
    """
    places = list_places(root, splits)
    if splits is not None and splits.is_file():
        if pattern is not None:
            raise UsageError(f"files={pattern}: the list is given, {splits}: leave files out")
        return {splits: table_of(splits)}
    for place in [*places, Path()] if pattern and re.search(r"[\\/]", pattern) else places:
        if pattern is None:
            found = _lists_at(texts_in(place, given))
        else:
            files = [place / name for name in sorted(glob.glob(pattern, root_dir=place))]
            found = {file: table_of(file) for file in files if file.is_file()}
        if found:
            return found
    which = KIND if pattern is None else f"annotation files ({pattern})"
    raise UsageError(f"no {which} in {' or '.join(map(str, places))}; give --splits FILE or DIR")


def texts_in(place: Path, given: Collection[Path | None] = ()) -> list[Path]:
    """What may be a list in a folder, by its suffix, but for files that options name."""
    files = sorted(path for path in place.glob("*") if path.suffix.lower() in (".txt", *TABLES) and path.is_file())
    return [file for file in files if not any(path and file.samefile(path) for path in given)]


def _lists_at(files: Sequence[Path]) -> dict[Path, Table | None]:
    """Of the files of a folder, those whose names say a part, or else the tables of paths and labels."""
    named = [file for file in files if says_part(file) or (side_in(file) is not None and looks_listed(file))]
    others = [file for file in files if file.suffix.lower() in TABLES and file not in named]
    found = _labelled(named)
    if found and others:
        note(f"left out beside lists of parts: {first_few(list(map(str, others)))}")
    return found or _labelled(others)


def _labelled(files: Sequence[Path]) -> dict[Path, Table | None]:
    """Those with labels; train and val lists must have them."""
    found = {}
    for file in files:
        table, side = table_of(file), side_in(file)
        columns = table.columns if table else frozenset[str]()
        wanted = {"path", "label"} if side is None else {"label"} if table and side[1] == "test" else set[str]()
        if wanted <= columns:
            found[file] = table
        else:
            note(f"{file}: left out, as it has no {'labels' if 'path' in columns else 'columns path, label'}")
    return found


def says_part(file: Path) -> re.Match[str] | None:
    """Where a file's name says by a word which part it lists, as in train_1080p.csv, hmdb51_val_split_1.txt."""
    return PART.search(_words(file))


def side_in(file: Path) -> Side | None:
    """The split and the part (train, val, test) that an annotation file's name says; None without a part.

    A table says it by a word, a list of TSN's or mmaction2's anywhere, as ucf101trainlist01.txt.
    """
    loose = None if file.suffix.lower() in TABLES else re.search("(train|val|test)", _words(file))
    part = says_part(file) or loose
    if part is None:
        return None
    number = re.search(r"split_?0*(\d+)|(?:list|_)0*(\d+)(?![\da-z])", _words(file)[part.start() :])
    return ((number[1] or number[2]) if number else "1", part[1])


def _words(file: Path) -> str:
    """A file's name in small letters, with `_` where a capital begins a word."""
    return re.sub(r"(?<=[a-z\d])(?=[A-Z])", "_", file.stem).lower()


def side_of(entry: Entry, named: Side | None) -> Side | None:
    """The side that a line's column `split` says, or else the name of its file; ("", "") where the column is empty.

    Raises:
        UsageError: the column says what is no split, or another part than the name.
    """
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
    if named and named[1] != WORDS[word]:
        raise UsageError(f"{entry.where}: split {entry.part!r}, but the file's name says {named[1]}: which is it?")
    return (named[0] if named else "1"), WORDS[word]


def listed_splits(lines: Sequence[tuple[str, Entry, Side | None]], there: Container[str]) -> dict[str, Split]:
    """The splits that the lists tell, of the videos that are there; none where they tell none.

    Args:
        lines: the id, the line, and the side of each.
        there: ids of the videos that are there.

    Raises:
        UsageError: a video in two parts of one split, or lines that tell their part in different ways (file:line).
    """
    told = Told()
    members: dict[str, dict[str, dict[str, None]]] = {}  # split -> part -> ids, in order
    tested = {side[0] for name, _, side in lines if side is not None and side[1] == "test" and name in there}
    for name, entry, side in lines:
        if side == ("", ""):
            continue
        form = "none" if side is None else "train, val or test" if side[0] else "the number of a fold"
        told.tell("", "the form", form, entry.where, shown="the split")
        if side is None or (side[1] == "val" and side[0] in tested):
            continue  # where there are both, val is left out
        split, part = side
        told.tell((name, split), "part" if split else "fold", part, entry.where, shown=name)
        if name in there:
            members.setdefault(split, {}).setdefault(part, {})[name] = None
    folds = members.get("", {})
    if not folds:
        sides = {
            name: (tuple(s.get("train", ())), tuple(s.get("test", s.get("val", ())))) for name, s in members.items()
        }
        return {name: Split(name, *sides[name]) for name in by_number(sides)}
    if len(folds) == 1:
        raise UsageError(f"all videos are of fold {next(iter(folds))}: at least two folds are needed")
    note(f"column split numbers the folds that test: {first_few(by_number(folds))}; for one split, train and test")
    ids = list(dict.fromkeys(name for name, _, _ in lines if name in there))
    tests = {name: folds[name] for name in by_number(folds)}
    return {name: Split(name, tuple(i for i in ids if i not in test), tuple(test)) for name, test in tests.items()}
