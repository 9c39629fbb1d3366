"""Class names and labels of imported scores: every telling of them is used or compared."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError
from avr.store.matching import match_ids

from .file import UNLABELLED
from .found import Found

Labels = Mapping[str, int] | Mapping[str, str] | Mapping[str, int | str] | Sequence[int | str] | None
MISSING = ("", "nan", "None", "-1")
MOST_STRAY = 10  # a label in so many may go with another folder, and folders still be the classes'


def labels_of(found: Found, ids: list[str], given: Labels, classes: Sequence[str] | None) -> NDArray[np.int64]:
    """Class numbers (M,): the file's own, else those given; one that both have must agree. `UNLABELLED` without.

    Args:
        found: the file.
        ids: of its videos.
        given: class numbers or names, by id or in the file's order.
        classes: given names of the columns, in whose order given numbers count where the file has another.
    """
    names = found.class_names
    own = None if found.labels is None else _numbered(found, ids, found.labels, names or classes)
    if own is not None:
        _compare_again(found, ids, own, names or classes)
    if given is None:
        return np.full(len(ids), UNLABELLED) if own is None else own
    if isinstance(given, Mapping):
        known = list(given)
        matches = match_ids(known, ids)
        told = [given[known[matches[index]]] if index in matches else UNLABELLED for index in range(len(ids))]
        missing = [video for index, video in enumerate(ids) if index not in matches]
        if missing and own is None:
            raise UsageError(
                f"{found.where}: no label for {len(missing)} of {len(ids)} videos, first {', '.join(missing[:10])}"
            )
    else:
        told = list(given)
        if len(told) != len(ids):
            raise UsageError(f"{found.where}: {len(ids)} names, but {len(told)} labels")
        if own is None:
            found.notes.append("labels taken in the file's order: nothing in it can tell")
    if names is not None and classes is not None and list(names) != list(classes):
        # Labels and class names that are given go together, whatever the order of the columns.
        places = [_text(label) for label in told]
        gone = _missing(classes)
        if all(text in gone or (text.isdecimal() and int(text) < len(classes)) for text in places):
            told = [UNLABELLED if text in gone else classes[int(text)] for text in places]
            found.notes.append("labels numbered as the class names given, not as the columns")
    numbers = _numbered(found, ids, told, names or classes)
    if own is None:
        return numbers
    both = (own != UNLABELLED) & (numbers != UNLABELLED)
    differing = np.flatnonzero(both & (own != numbers))
    if len(differing):
        at = differing[0]
        raise UsageError(
            f"{found.where}: its own labels disagree with those given for {len(differing)} of {both.sum()} videos, "
            f"first {ids[at]} ({own[at]} and {numbers[at]}): are names and labels in its order, and of its classes?"
        )
    return np.where(own == UNLABELLED, numbers, own)


def _missing(names: Sequence[str] | None) -> set[str]:
    """How a label that is not there is written; a class may be called so."""
    return {text for text in MISSING if text not in (names or ())}


def _compare_again(found: Found, ids: list[str], own: NDArray[np.int64], names: Sequence[str] | None) -> None:
    """Compare the labels with further ones that the file holds."""
    for place, labels in found.again.items():
        try:
            told = _numbered(found, ids, labels, names)
        except UsageError:
            found.notes.append(f"not compared: {place}, which holds no classes of these")
            continue
        differing = np.flatnonzero((own != told) & (own != UNLABELLED) & (told != UNLABELLED))
        if len(differing):
            at = differing[0]
            raise UsageError(
                f"{found.place(at, ids[at])}: label {own[at]}, but {told[at]} in {place}, as for {len(differing)} "
                "videos: say --label-column"
            )


def _numbered(found: Found, ids: list[str], labels: Sequence[Any], names: Sequence[str] | None) -> NDArray[np.int64]:
    """Labels as numbers of columns: names are looked up."""
    texts = [_text(label) for label in labels]
    gone = _missing(names)
    told = {text for text in texts if text not in gone}
    whole = all(text.isdecimal() for text in told)
    if names is not None and told <= set(names) and (not whole or list(names) != list(map(str, range(len(names))))):
        if whole and any(int(text) < len(names) for text in told) and not _agree(told, names):
            raise UsageError(
                f"{found.where}: label {min(told, key=int)} may be the class of this name or of this place: "
                "write the labels as other names, or give --class-names"
            )
        number = {name: place for place, name in enumerate(names)}
        return np.array([UNLABELLED if text in gone else number[text] for text in texts], dtype=np.int64)
    if not whole:
        strange = next(text for text in texts if text not in gone and not (names and text in names))
        at = texts.index(strange)
        place = found.place(at, ids[at])
        if names is None:
            raise UsageError(f"{place}: label {strange[:60]!r} is a name: say which columns are which (--class-names)")
        raise UsageError(f"{place}: label {strange[:60]!r} is no class of {', '.join(names)[:200]}")
    if any(len(text) > 9 for text in told):
        raise UsageError(f"{found.where}: label {max(told, key=len)[:30]} is no class number")
    return np.array([UNLABELLED if text in gone else int(text) for text in texts], dtype=np.int64)


def _agree(told: set[str], names: Sequence[str]) -> bool:
    """Whether each name that is a number cannot be a place, or is the class at that place."""
    return any(int(text) >= len(names) for text in told) or all(names[int(text)] == text for text in told)


def _text(label: Any) -> str:
    if isinstance(label, bytes):
        return label.decode("utf-8", "replace")
    if label is None or label != label:
        return ""
    if isinstance(label, float | np.floating):
        return str(int(label)) if np.isfinite(label) and label % 1 == 0 else str(float(label))
    text = str(label).strip()
    head, point, tail = text.partition(".")
    return head if point and head.lstrip("-").isdecimal() and not tail.strip("0") else text


def class_folders(found: Found, ids: list[str], labels: NDArray[np.int64], classes: Sequence[str]) -> dict[int, str]:
    """The class folder that goes with each label, where ids say "class/video"; empty where folders are others.

    They are the classes' where they are called as these, or where nearly every label goes with one of its own.

    Raises:
        UsageError: one label goes with two of them: names and labels are in two orders.
    """
    folders = [video.rpartition("/")[0].rpartition("/")[2] for video in ids]
    pairs = [(label, name) for label, name in zip(labels.tolist(), folders, strict=True) if label != UNLABELLED]
    counts: dict[int, Counter[str]] = {}
    for label, name in pairs:
        counts.setdefault(label, Counter())[name] += 1
    best = {label: names.most_common(1)[0][0] for label, names in counts.items()}
    stray = [index for index, label in enumerate(labels.tolist()) if label in best and best[label] != folders[index]]
    called = len(set(folders)) > 1 and set(folders) <= set(classes)
    told = len(best) > 1 and len(set(best.values())) == len(best) and all(best.values())
    if not called and (not told or MOST_STRAY * len(stray) > len(pairs)):
        return {}
    if stray:
        at, label = stray[0], int(labels[stray[0]])
        raise UsageError(
            f"{found.place(at, ids[at])}: label {label} goes with class folders {best[label]} and {folders[at]}, as "
            f"for {len(stray)} videos: are names and labels in the file's order?"
        )
    return best


def column_names(
    found: Found, ids: list[str], labels: NDArray[np.int64], given: Sequence[str] | None, count: int
) -> tuple[str, ...]:
    """Names of the columns: as the ids' folders tell, else the file's own, else those given, else numbers."""
    own = found.class_names
    folders = class_folders(found, ids, labels, own or given or ())
    if own is not None and set(folders.values()) <= set(own):
        wrong = next((label for label, name in folders.items() if label < len(own) and own[label] != name), None)
        if wrong is not None:
            raise UsageError(
                f"{found.where}: label {wrong} is of class folder {folders[wrong]!r}, but its column {wrong + 1} of "
                f"scores is called {own[wrong]!r}: are its labels numbers of its columns?"
            )
    if set(folders) == set(range(count)) and (given is None or set(given) == set(folders.values())):
        if own is None:
            found.told["class_names"] = "the folders in the ids"
            return tuple(folders[label] for label in range(count))
    elif folders and given is not None and len(set(given)) == count and set(folders.values()) <= set(given):
        wrong = next((k for k, name in folders.items() if not 0 <= k < count or given[k] != name), None)
        if wrong is not None and own is None:
            raise UsageError(
                f"{found.where}: label {wrong} is of class folder {folders[wrong]!r}, but not in the class names "
                "given; as not every class has a video here, give the names in the file's order"
            )
    if own is not None:
        return tuple(own)
    if given is not None:
        found.told["class_names"] = "those given"
    return tuple(given) if given is not None else tuple(f"class {number}" for number in range(count))


def check_predictions(found: Found, ids: list[str], values: NDArray, names: Sequence[str]) -> None:
    """Compare a column of predictions with the largest scores: another order of classes shows in it.

    Raises:
        UsageError: it differs.
    """
    if found.predictions is None:
        return
    try:
        told = _numbered(found, ids, found.predictions, names)
    except UsageError:
        found.notes.append("not compared: the predictions, which are no classes")
        return
    rows = np.flatnonzero((told >= 0) & (told < len(names)))
    wrong = [row for row in rows.tolist() if values[row, told[row]] < values[row].max()]
    if wrong:
        at = wrong[0]
        raise UsageError(
            f"{found.place(at, ids[at])}: its prediction is {names[told[at]]}, its largest score that of "
            f"{names[int(values[at].argmax())]}, as for {len(wrong)} videos: are the columns in the classes' order?"
        )
