"""Scores in dicts, lists and arrays, as npz, pickles, JSON, PyTorch and MATLAB hold them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError
from avr.store.matching import without_suffix

from .columns import column_of, found_in_columns
from .found import NO_COLUMN, SCORE_WORDS, Found, Known, Reading, heading, pick, role_of, text_of
from .values import are_scalars, as_numbers, column_in, depth_of, is_scalar, is_whole, words_for

BESIDE = ("labels", "ids", "groups", "folds", "class_names", "predictions")
FORMS = "expected arrays by name, {video: scores}, a list of scores, of (scores, label), (name, scores) or of dicts"


def found_in(value: Any, path: Path, form: str, known: Known, reading: Reading) -> Found:
    """The scores in a value, and what stands beside them.

    Raises:
        UsageError: none, or several things that may be the scores.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        value = value.item() if not value.ndim else list(value)  # np.save of a dict makes an array of it
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, dict):
        return _in_dict(value, path, form, known, reading)
    if isinstance(value, np.ndarray):
        reading.check(path, f"{form} of one array", ())
        if value.ndim < 2 or value.dtype.kind not in "fiub":
            raise UsageError(f"{path}: scores of shape {value.shape}, expected (videos, classes)")
        return Found(str(path), form, value)
    if not isinstance(value, list):
        raise UsageError(f"{path}: holds {words_for(value)}, which are no scores: {FORMS}")
    if not value:
        raise UsageError(f"{path}: holds no scores, an empty list")
    parts = _parts(value)
    if parts is not None or not all(isinstance(item, dict) and are_scalars(item) for item in value):
        reading.check(path, f"{form} of a list", ())
    if parts is not None:
        return _beside(
            value[parts.pop("scores")],
            {role: ("", value[place]) for role, place in parts.items()},
            path,
            f"{form} of a pair",
        )
    if all(isinstance(item, dict) for item in value):
        if all(are_scalars(item) for item in value):
            return _records(value, path, f"{form} of records", known, reading)
        return _of_items([_of_dict(item, path, i) for i, item in enumerate(value)], path, f"{form} of dicts")
    return _of_items([_of_item(item, path, i) for i, item in enumerate(value)], path, f"{form} of a list")


def _in_dict(value: dict[Any, Any], path: Path, form: str, known: Known, reading: Reading) -> Found:
    # Arrays without an axis, as np.savez makes of a text or a number, are nothing of a video's.
    named = {str(key): v for key, v in value.items() if not isinstance(v, np.ndarray) or v.ndim or v.dtype.kind == "O"}
    keys = list(named)
    if reading.array:
        if reading.array not in named:
            raise UsageError(f"{path}: no array {reading.array!r} in it, only {', '.join(keys)[:200]}")
        return _of_arrays(reading.array, named, path, form, known, reading)
    if {"columns", "index", "data"} == set(keys):  # pandas' orient="split"
        named = {str(name): list(cells) for name, *cells in zip(value["columns"], *value["data"], strict=True)}
        index = value["index"] if value["index"] != list(range(len(value["index"]))) else None
        rows = [dict(zip(named, cells, strict=True)) for cells in zip(*named.values(), strict=True)]
        rows = rows if index is None else [{"": key} | row for key, row in zip(index, rows, strict=True)]
        return _records(rows, path, f"{form} of columns and data", known, reading)
    if {"schema", "data"} == set(keys):
        return found_in(value["data"], path, form, known, reading)
    said = [key for key in keys if heading(key) in SCORE_WORDS["scores"] and not is_scalar(named[key])]
    if len(said) > 1:
        raise UsageError(f"{path}: {said[0]!r} and {said[1]!r} may be the scores: say --array")
    if said:
        return _of_arrays(said[0], named, path, form, known, reading)
    tall = [key for key in keys if depth_of(named[key]) >= 2 and role_of(key) not in BESIDE]
    roles = [key for key in keys if role_of(key) in BESIDE and not is_scalar(named[key]) and depth_of(named[key]) < 3]
    if tall and (roles or len(tall) == 1):
        if len(tall) > 1:
            raise UsageError(f"{path}: {tall[0]!r} and {tall[1]!r} may be the scores: say --array")
        return _of_arrays(tall[0], named, path, form, known, reading)
    wide = [key for key in keys if role_of(key) == "predictions" and depth_of(named[key]) >= 2]
    if wide:
        raise UsageError(f"{path}: {wide[0]!r} may be the scores or predictions: say --array {wide[0]}")
    if len(keys) == 1 and depth_of(named[keys[0]]) >= 2:
        return _of_arrays(keys[0], named, path, form, known, reading)
    if value and all(isinstance(item, dict) and are_scalars(item) for item in value.values()):
        return _nested(named, path, form, known, reading)
    if roles and all(depth_of(item) == 1 for item in named.values()):
        if len({len(cells) for cells in named.values()}) > 1:
            raise UsageError(f"{path}: columns of unequal length")
        rows = [dict(zip(keys, cells, strict=True)) for cells in zip(*named.values(), strict=True)]
        return _records(rows, path, f"{form} of columns", known, reading)
    if not value or not all(isinstance(key, str | bytes | int) for key in value):
        raise UsageError(f"{path}: no array 'scores' in it, only {', '.join(keys)[:200] or 'nothing'}")
    reading.check(path, f"{form} of {{video: scores}}", ())
    items = [_of_dict(v, path, k) if isinstance(v, dict) else _of_item(v, path, k) for k, v in value.items()]
    found = _of_items(items, path, f"{form} of {{video: scores}}")
    found.ids = [text_of(key, path, "names") for key in value]
    found.told["ids"] = "its keys"
    return found


def _nested(named: dict[str, Any], path: Path, form: str, known: Known, reading: Reading) -> Found:
    """{column: {row: cell}}, as pandas writes, or {video: {class: score}}: told by who has a key of a known word."""
    outer, inner = list(named), list(next(iter(named.values())))
    if any(list(item) != inner for item in named.values()):
        raise UsageError(f"{path}: dicts of unequal keys, first {inner[:3]}")
    by_column = any(role_of(name) in ("ids", "labels") for name in outer) or set(outer) <= set(known.classes or ())
    by_row = any(role_of(name) in ("ids", "labels") for name in inner) or set(inner) <= set(known.classes or ())
    by_column |= bool(known.ids) and set(inner) <= known.ids
    by_row |= bool(known.ids) and set(outer) <= known.ids
    if by_column == by_row:
        raise UsageError(
            f"{path}: {outer[0]!r} may be a class and {inner[0]!r} a video, or the other way round: write records "
            "(`to_json(orient='records')`)"
        )
    if by_column:
        counted = inner == [str(number) for number in range(len(inner))]  # pandas' own index, which names no row
        rows = [({} if counted else {"": row}) | {name: named[name][row] for name in outer} for row in inner]
    else:
        rows = [{"": name} | cells for name, cells in named.items()]
    return _records(
        rows, path, f"{form} of columns" if by_column else f"{form} of {{video: {{class: score}}}}", known, reading
    )


def _records(rows: Sequence[Mapping[str, Any]], path: Path, form: str, known: Known, reading: Reading) -> Found:
    """A table, a dict a row."""
    names = list(rows[0])
    for index, row in enumerate(rows):
        if list(row) != names and set(row) != set(names):
            odd = (set(row) ^ set(names)).pop()
            raise UsageError(f"{path}: record {index} differs in {odd!r} from the first")
    columns = [column_of(str(name), [row[name] for row in rows]) for name in names]
    return found_in_columns(columns, str(path), form, known, reading)


def _roles(named: Mapping[str, Any], reading: Reading) -> dict[str, tuple[str, Any]]:
    """What stands beside scores under a known name, and that."""
    found: dict[str, tuple[str, Any]] = {}
    keys = [key for key, value in named.items() if not is_scalar(value)]
    keys = [key for key in keys if role_of(key) != "predictions" or column_in(named[key]) is not None]
    for role in BESIDE:
        key = reading.column(role) or pick(keys, role)
        if key is not None and key != NO_COLUMN:
            if key not in named:
                raise UsageError(f"--{role[:-1].replace('_', '-')}-column {key}: there are {', '.join(named)[:200]}")
            found[role] = key, named[key]
    return found


def _of_arrays(key: str, named: dict[str, Any], path: Path, form: str, known: Known, reading: Reading) -> Found:
    """The scores in one of several arrays by name, with what the others tell; those that tell nothing are noted."""
    scores = named.pop(key)
    roles = _roles(named, reading)
    found = _beside(scores, roles, path, f"{form} of arrays")
    taken = {name for name, _ in roles.values()}
    others = [name for name, part in named.items() if name not in taken and not is_scalar(part)]
    columns = {name: column_in(named[name], one_hot=role_of(name) == "labels") for name in others}
    if found.labels is not None and not reading.label_column:
        count = len(found.labels)
        further = [name for name, cells in columns.items() if role_of(name) == "labels" and len(cells or ()) == count]
        found.again = {f"array {name!r}": columns.pop(name) or [] for name in further}
    if found.ids is None and not reading.id_column:
        name = _unnamed_ids(found, columns, known)
        if name:
            found.ids = [text_of(item, path, "names").strip() for item in columns.pop(name) or []]
            found.told["ids"] = f"array {name!r}"
    if columns:
        found.notes.append(f"not read: {', '.join(f'array {name!r}' for name in columns)}")
    return found


def _unnamed_ids(found: Found, columns: Mapping[str, list[Any] | None], known: Known) -> str:
    """The one array of different texts, as many as names, labels or the like, or names with labels; else empty."""
    beside = (found.labels, found.groups, found.folds, found.predictions)
    count = known.names or next((len(column) for column in beside if column is not None), None)

    def may_be(column: list[Any] | None) -> bool:
        if not column or not all(isinstance(item, str | bytes) for item in column):
            return False
        told = {without_suffix(text_of(item, found.where, "names").strip()) for item in column}
        return len(told) == len(column) and (len(column) == count or told <= known.ids)

    met = [name for name, column in columns.items() if may_be(column)]
    return met[0] if len(met) == 1 else ""


def _beside(scores: Any, roles: Mapping[str, tuple[str, Any]], path: Path, form: str) -> Found:
    """Scores of all videos, with labels and names in lists beside them."""
    if isinstance(scores, dict):
        raise UsageError(f"{path}: its scores are a dict: {FORMS}")
    numbers = as_numbers(scores)
    if numbers is not None:
        if numbers.ndim < 2:
            raise UsageError(f"{path}: scores of shape {numbers.shape}, expected (videos, classes)")
        found = Found(str(path), form, numbers)
    else:
        found = _of_items([_of_item(item, path, i) for i, item in enumerate(scores)], path, form)
    for role, (key, part) in roles.items():
        column = column_in(part, one_hot=role == "labels")
        if column is None:
            raise UsageError(f"{path}: {role.replace('_', ' ')} that are no column, of {words_for(part)}")
        if role in ("ids", "class_names"):
            column = [text_of(item, path, role.replace("_", " ")).strip() for item in column]
        own = getattr(found, role)
        if role == "labels" and own is not None and [str(a) for a in own] != [str(b) for b in column]:
            raise UsageError(f"{path}: the labels beside the scores and the array of labels disagree")
        setattr(found, role, column)
        if key:
            found.told[role] = f"array {key!r}"
    return found


def _of_items(items: list[dict[str, Any]], path: Path, form: str) -> Found:
    """Scores of a list of videos."""
    found = Found(str(path), form, [item["scores"] for item in items])
    for role in ("ids", "labels"):
        column = [item.get(role) for item in items]
        if None not in column:
            setattr(found, role, column)
        elif any(value is not None for value in column):
            raise UsageError(f"{path}: video {column.index(None)} has no {role[:-1]}, others have one")
    return found


def _of_dict(item: dict[Any, Any], path: Path, index: Any) -> dict[str, Any]:
    """A video as a dict has it: mmaction2's results."""
    keys = [str(key) for key in item]
    found: dict[str, Any] = {}
    for role in ("scores", "ids", "labels"):
        key = pick([key for key in keys if key in item], role)
        value = None if key is None else item[key]
        found[role] = value["item"] if isinstance(value, dict) and "item" in value else value
    if found["scores"] is None:
        raise UsageError(f"{path}: video {index} holds no scores; its keys are {', '.join(keys)[:100]}")
    label = None if found["labels"] is None else column_in(found["labels"])
    return {
        "scores": _vector(found["scores"], path, index),
        "ids": None if found["ids"] is None else text_of(found["ids"], path, "names"),
        "labels": label[0] if label and len(label) == 1 else None,
    }


def _of_item(item: Any, path: Path, index: Any) -> dict[str, Any]:
    """A video as an array, or as a tuple of an array, a label and a name."""
    numbers = as_numbers(item)
    if numbers is not None:
        return {"scores": _vector(item, path, index)}
    found: dict[str, Any] = {}
    parts = list(item) if isinstance(item, list | tuple | np.ndarray) and len(item) <= 4 else []
    for part in parts:
        single = column_in(part) if not is_scalar(part) else [part]
        value: Any
        if isinstance(part, str | bytes):
            role, value = "ids", text_of(part, path, "names")
        elif single and len(single) == 1 and is_whole(single[0]):
            role, value = "labels", single[0]
        else:
            role, value = "scores", _vector(part, path, index)
        if role in found:
            raise UsageError(f"{path}: video {index} has two {role}")
        found[role] = value
    if "scores" not in found:
        raise UsageError(f"{path}: video {index} holds no scores ({words_for(item)}): {FORMS}")
    return found


def _vector(value: Any, path: Path, index: Any) -> NDArray[np.float64]:
    numbers = as_numbers(value)
    if numbers is None or not numbers.ndim or not numbers.size:
        raise UsageError(f"{path}: video {index} holds no scores ({words_for(value)})")
    return numbers


def _parts(value: Sequence[Any]) -> dict[str, int] | None:
    """Of a pair or triple of sequences of one length, which is what: one of them has two axes; None: it is none."""
    if not 2 <= len(value) <= 4 or any(isinstance(part, dict) or is_scalar(part) for part in value):
        return None
    arrays = [as_numbers(part) for part in value]
    tall = [place for place, array in enumerate(arrays) if array is not None and array.ndim >= 2]
    columns = [column_in(part, one_hot=False) for part in value]
    others = [place for place in range(len(value)) if place not in tall]
    if len(tall) != 1 or any(columns[place] is None for place in others):
        return None
    found = {"scores": tall[0]}
    for place in others:
        column = columns[place] or []
        role = "ids" if all(isinstance(item, str | bytes) for item in column) else "labels"
        if len(column) not in np.shape(value[tall[0]]) or role in found:
            return None
        found[role] = place
    return found
