"""Values of Python and NumPy, as files hold them: columns, arrays, single ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def column_in(value: Any, *, one_hot: bool = False) -> list[Any] | None:
    """The items of a column of texts or whole numbers; None where it is none. Labels may be one-hot."""
    try:
        array = np.asarray(value) if not isinstance(value, list | tuple) else np.asarray(value, dtype=object)
    except ValueError:
        return None
    if one_hot and array.ndim == 2 and min(array.shape) > 1:
        numbers = as_numbers(array)
        if numbers is None or not (np.isin(numbers, (0, 1)).all() and (numbers.sum(axis=1) == 1).all()):
            return None
        return list(numbers.argmax(axis=1).tolist())
    if array.ndim > 2 or (array.ndim == 2 and min(array.shape) > 1):
        return None
    flat = [
        item.item() if isinstance(item, np.generic | np.ndarray) and item.size == 1 else item
        for item in array.reshape(-1).tolist()
    ]
    if all(isinstance(item, str | bytes) for item in flat) or all(is_whole(item) for item in flat):
        return flat
    return None


def is_whole(item: Any) -> bool:
    return isinstance(item, int | float | np.number) and not isinstance(item, bool) and float(item) % 1 == 0


def as_numbers(value: Any) -> NDArray[np.float64] | None:
    """Values as an array; None where they are no numbers, nor lists of as many each."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return value.astype(np.float64, copy=False)
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return None
    try:
        with np.errstate(all="ignore"):
            array = np.array(value)
            if array.dtype.kind == "O":
                array = np.array([np.asarray(item, dtype=np.float64) for item in value])
    except (TypeError, ValueError, OverflowError):
        return None
    return array.astype(np.float64, copy=False) if array.dtype.kind in "fiub" else None


def depth_of(value: Any) -> int:
    """Axes of an array, or of lists in each other; of a list of arrays one more than theirs."""
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return value.ndim
    if isinstance(value, list | tuple | np.ndarray) and len(value):
        return 1 + max(depth_of(value[0]), (value.ndim - 1) if isinstance(value, np.ndarray) else 0)
    return 0


def is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | bytes | bool | int | float | np.generic)


def are_scalars(item: Mapping[Any, Any]) -> bool:
    return all(map(is_scalar, item.values()))


def words_for(value: Any) -> str:
    kinds = {int: "a number", float: "a number", str: "a text", dict: "a dict", type(None): "nothing"}
    return kinds.get(type(value), f"a list of {len(value)}" if isinstance(value, list | tuple) else "something else")
