"""Arrays in files of any kind: what is known of each, and what reads it; and those that Python objects hold."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import AvrError, WorkError, message_of

DEEPEST = 32  # dicts, or folders of an HDF5 file, in each other


@dataclass(frozen=True)
class Array:
    """An array in a file: what is known of it, and what opens it.

    Attributes:
        where: file and place in it, for messages.
        shape: as the file says.
        kind: the dtype's: "f", "i", "u", "b", "S", "U"; "O" are objects.
        open: gives what is read of by slices: an array, a map of the file, a data set.
    """

    where: str
    shape: tuple[int, ...]
    kind: str
    open: Callable[[], Any]

    @classmethod
    def of(cls, values: Any, where: str) -> "Array":
        """An array that is in memory."""
        array = np.asarray(values)
        return cls(where, array.shape, array.dtype.kind, lambda: array)

    def read(self) -> NDArray:
        """All of it. Raises WorkError where that is damaged or gone."""
        try:
            return np.asarray(self.open()[()])
        except AvrError:
            raise
        except Exception as error:  # what libraries raise at a forged file has no end
            raise WorkError(f"{self.where}: cannot be read: {message_of(error, OTHER)}") from error

    def rows(self) -> list["Array"]:
        """The items of its first axis; what they lie in is opened once."""
        opened = cache(self.open)
        return [
            Array(f"{self.where}[{index}]", self.shape[1:], self.kind, partial(_row, opened, index))
            for index in range(self.shape[0] if self.shape else 0)
        ]


def _row(opened: Callable[[], Any], index: int) -> NDArray:
    return np.asarray(opened()[index])


OTHER = "damaged, or of another kind"  # where a library says nothing of a file
Several = Array | list[Array]  # a list of arrays that do not stack
Content = Several | dict[str, Several]


def content_of(value: Any, path: Path) -> Content:
    """What Python objects hold."""
    if isinstance(value, dict):
        return _named(value, path, "", 0)
    return _several(value, str(path))


def _named(values: dict[Any, Any], path: Path, above: str, depth: int) -> dict[str, Several]:
    found: dict[str, Several] = {}
    for key, value in values.items():
        name = above + (key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key))
        if isinstance(value, dict) and depth < DEEPEST:
            found |= _named(value, path, f"{name}/", depth + 1)
        else:
            found[name] = _several(value, f"{path}: {name}")
    return found


def _several(value: Any, where: str) -> Several:
    """An array of what is one, or of numbers and texts in lists; of a list of arrays these."""
    if isinstance(value, Array):
        return value
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype.kind == "O"):
        items = list(value)
        if any(isinstance(item, np.ndarray) for item in items):
            return [Array.of(item, f"{where}[{index}]") for index, item in enumerate(items)]
        value = np.array(items)
    return Array.of(value, where)
