"""Pickles of others, read as data: nothing in them is ever called but what stands here.

The unpickler knows a handful of names, none of which does anything but make arrays, numbers, text, lists and dicts; a
pickle that asks for another name is refused with the name. Arrays are built here from their bytes, not by NumPy's own
`__setstate__`, so that a forged pickle meets checks and no C code that trusts it.

Note [the unpickler in Python]: the one in C makes room for as many objects as a number in the pickle says (34 GB for
ten bytes), and hashes a key that holds itself twice, forty levels deep, for ever. The one in Python keeps what it
remembers in a dict, and lets keys be looked at first. It takes 50 ns a byte.
"""

import io
import math
import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from avr.core import AvrError, UsageError, message_of

LARGEST_FILE = 8 << 30  # bytes that are read at once
DTYPE = re.compile(r"[biufSUO]\d{0,9}")


class PickledArray:
    """An array on its way out of a pickle: `_reconstruct` makes it, its state fills it."""

    __slots__ = ("value",)

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        self.value = array_of(content, dtype, tuple(int(side) for side in shape), fortran=bool(fortran))


class PickledDtype:
    """A dtype on its way out of a pickle."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any) -> None:
        self.code, self.order = _ascii(code), ""
        if not DTYPE.fullmatch(self.code):
            raise pickle.UnpicklingError(f"an array of dtype {self.code[:40]!r}")

    def __setstate__(self, state: Any) -> None:
        self.order = _ascii(state[1])
        if self.order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"byte order {self.order[:10]!r}")

    @property
    def dtype(self) -> np.dtype:
        return np.dtype("O" if self.code.startswith("O") else self.order + self.code)


def _ascii(text: Any) -> str:
    return text.decode("ascii") if isinstance(text, bytes) else str(text)


def array_of(content: Any, dtype: Any, shape: tuple[int, ...], *, fortran: bool = False) -> NDArray:
    """An array from its pickled bytes, or from the list of its items when it holds objects."""
    if not isinstance(dtype, PickledDtype):
        raise pickle.UnpicklingError("an array without a dtype")
    order: Any = "F" if fortran else "C"
    if dtype.dtype.kind == "O":
        if not isinstance(content, list):
            raise pickle.UnpicklingError("an object array that is no list")
        objects = np.empty(len(content), dtype=object)
        for index, item in enumerate(content):
            objects[index] = item
        return objects.reshape(shape, order=order)
    raw = content.encode("latin1") if isinstance(content, str) else content
    if not isinstance(raw, bytes | bytearray):
        raise pickle.UnpicklingError("an array without bytes")
    return np.frombuffer(bytes(raw), dtype=dtype.dtype).reshape(shape, order=order)


class Plain:
    """Makes the arrays in a value NumPy's, each object once, however often the value refers to it.

    Args:
        most: parts that a value may have, the bytes of arrays among them, those that it refers to several times counted
            as often: a pickle of 300 bytes can hold 2⁴⁰ of them, over which whoever reads them would walk for ever.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._known: dict[int, tuple[Any, Any, int]] = {}  # the object, which keeps its number its own; plain; parts

    def __call__(self, value: Any) -> Any:
        return self._plain(value)[0]

    def _plain(self, value: Any) -> tuple[Any, int]:
        if isinstance(value, PickledArray):
            value = value.value
        is_objects = isinstance(value, np.ndarray) and value.dtype.kind == "O"
        if not is_objects and not isinstance(value, dict | list | tuple):
            return value, 1 + (value.nbytes if isinstance(value, np.ndarray) else 0)
        if id(value) not in self._known:
            if isinstance(value, dict):
                parts = [self._plain(part) for pair in value.items() for part in pair]
                found: Any = {key[0]: item[0] for key, item in zip(parts[::2], parts[1::2], strict=True)}
            else:
                parts = [self._plain(part) for part in (value.reshape(-1) if is_objects else value)]
                found = [part for part, _ in parts]
            if is_objects:
                found = np.fromiter(found, dtype=object, count=len(found)).reshape(value.shape)
            steps = 1 + sum(count for _, count in parts)
            if steps > self.most:
                raise pickle.UnpicklingError("it refers to its own parts more often than it has bytes")
            self._known[id(value)] = value, found, steps
        _, found, steps = self._known[id(value)]
        return found, steps


def _check_keys(keys: Iterable[Any]) -> None:
    """Refuse keys that are no text or numbers: what holds others is hashed part by part, as often as it is held."""
    if not all(isinstance(key, str | bytes | int | float | None) for key in keys):
        raise pickle.UnpicklingError("a dict whose keys are neither text nor numbers")


PythonUnpickler: Any = pickle._Unpickler  # type: ignore[attr-defined]  # Note [the unpickler in Python]


class RestrictedUnpickler(PythonUnpickler):  # type: ignore[misc]
    """Resolves the names below and no other. They are bound methods, which a pickle cannot alter."""

    dispatch: ClassVar[dict[int, Any]] = dict(PythonUnpickler.dispatch)

    def _set_item(self) -> None:
        _check_keys(self.stack[-2:-1])
        self.load_setitem()

    def _set_items(self) -> None:
        _check_keys(self.stack[::2])
        self.load_setitems()

    def _dict(self) -> None:
        _check_keys(self.stack[::2])
        self.load_dict()

    def _bytearray(self) -> None:
        """As bytes that are there: the library makes room for as many as the pickle says."""
        size = int.from_bytes(self.read(8), "little")
        content = self.read(size)
        if len(content) < size:
            raise pickle.UnpicklingError("it is cut short")
        self.append(content)

    def _set(self) -> NoReturn:
        raise pickle.UnpicklingError("it holds a set; save plain lists and arrays instead")

    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items
    dispatch[pickle.DICT[0]] = _dict
    dispatch[pickle.BYTEARRAY8[0]] = _bytearray
    dispatch[pickle.EMPTY_SET[0]] = dispatch[pickle.FROZENSET[0]] = _set

    def find_class(self, module: str, name: str) -> Any:
        known = {
            "numpy.core.multiarray._reconstruct": self._array,
            "numpy.core.multiarray.scalar": self._scalar,
            "numpy.core.numeric._frombuffer": self._frombuffer,
            "numpy.ndarray": "ndarray",
            "numpy.dtype": self._dtype,
            "_codecs.encode": self._encode,
            "collections.OrderedDict": self._mapping,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch.storage._load_from_bytes": self._storage,
        }
        asked = f"{module.replace('numpy._core', 'numpy.core')}.{name}"
        if asked not in known:
            mend = "; save it as csv or parquet" if module.startswith("pandas") else ""
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which avr does not load{mend}")
        return known[asked]

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it refers to data outside itself; save plain arrays instead")

    def _array(self, *_: Any) -> PickledArray:
        return PickledArray()

    def _dtype(self, code: Any, *_: Any) -> PickledDtype:
        return PickledDtype(code)

    def _scalar(self, dtype: Any, content: Any) -> Any:
        return array_of(content, dtype, ()).item()

    def _frombuffer(self, content: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> Any:
        array = array_of(bytes(content), dtype, tuple(shape), fortran=order == "F")
        return PickledArray(array if axes is None else array.transpose(tuple(axes)))

    def _encode(self, text: Any, encoding: Any = "latin1") -> bytes:
        if encoding not in ("latin1", "latin-1", "utf-8", "ascii") or not isinstance(text, str):
            raise pickle.UnpicklingError("text in an encoding avr does not load")
        return text.encode(encoding)

    def _mapping(self, items: Any = ()) -> dict[Any, Any]:
        pairs = list(items.items() if isinstance(items, dict) else items)
        _check_keys(key for key, _ in pairs)
        return dict(pairs)

    def _storage(self, content: Any) -> Any:
        """A tensor's storage, which PyTorch pickles as a file of its own; it has a restricted reader, too."""
        import warnings

        import torch

        raw = content.encode("latin1") if isinstance(content, str) else bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that typed storages are deprecated is no news to the user
            storage = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
            return torch.tensor([], dtype=storage.dtype).set_(storage).float().numpy()

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
        size, stride = tuple(map(int, size)), tuple(map(int, stride))
        last = int(offset) + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
        if not isinstance(storage, np.ndarray) or min((offset, *size, *stride), default=0) < 0:
            raise pickle.UnpicklingError("a tensor without numbers")
        if 0 not in size and (last >= storage.size or math.prod(size) > storage.size):
            raise pickle.UnpicklingError("a tensor larger than its storage")
        strided = np.lib.stride_tricks.as_strided(
            storage[int(offset) :], size, tuple(step * storage.itemsize for step in stride)
        )
        return PickledArray(strided.copy() if 0 not in size else np.zeros(size, np.float32))


def load_pickle(content: bytes, path: Path, *, what: str = "pickle") -> Any:
    """The value of a pickle (Python 2's too), arrays as NumPy arrays, text that was Python 2's bytes as Latin-1."""
    try:
        value = RestrictedUnpickler(io.BytesIO(content), encoding="latin1").load()
        return Plain(most=1000 + 4 * len(content))(value)
    except AvrError:
        raise
    except Exception as error:  # a forged pickle can raise anything
        message = message_of(error, "it is cut short, or none")
        raise UsageError(f"{path}: this {what} cannot be read: {message}") from error
