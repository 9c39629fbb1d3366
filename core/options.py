"""Typed options: the keyword parameters of a function or class, or the fields of a dataclass, as what a user may set.

An annotation says all that an option takes. The choices of a command line, texts turned into values, the check of
values given in Python and the message where one is refused follow from it:

    def __init__(self, *, design: Literal["a", "b"] = "a", rounds: PositiveInt = 1, dropout: Share = 0.0) -> None:

    design=c is not possible; design takes a|b
    dropout=2 is not possible; dropout takes 0 ≤ float < 1

An option is a bool, int, float (finite), str, Path or `Literal`, a number within a `Range`, a name `OneOf` a table's, a
tuple, sequence or mapping of such (as texts "1,2" and "rgb=1,flow=2"), or one of several of them (the text "none" is
None). Of any other class, it is an instance.
"""

import collections.abc
import contextlib
import dataclasses
import functools
import inspect
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from .errors import UsageError
from .marks import About, OneOf, Range
from .registry import check_known

UNIONS = (typing.Union, types.UnionType)
SEQUENCES = (tuple, list, collections.abc.Sequence)
MAPPINGS = (dict, collections.abc.Mapping)


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: as in Python.
        hint: its annotation.
        default: `dataclasses.MISSING` where there is none, or one that is made anew each time.
    """

    name: str
    hint: Any
    default: Any

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a `Literal` or the names of a `OneOf`; of another option none."""
        names = [name for mark in self._marks if isinstance(mark, OneOf) for name in mark.names]
        return typing.get_args(self.kind) if typing.get_origin(self.kind) is Literal else tuple(names)

    @property
    def about(self) -> About:
        """What it is for, where its annotation says so, else nothing."""
        return next((mark for mark in self._marks if isinstance(mark, About)), About(""))

    @property
    def kind(self) -> Any:
        """What is left of its annotation without marks and without None: `float` of `Share | None`."""
        kind = self.hint
        while typing.get_origin(kind) in (Annotated, *UNIONS):
            kind = next(one for one in typing.get_args(kind) if one is not types.NoneType)
        return kind

    @property
    def _marks(self) -> tuple[Any, ...]:
        return typing.get_args(self.hint)[1:] if typing.get_origin(self.hint) is Annotated else ()

    def describe(self) -> str:
        """What it takes, and its default: "design=a|b|c (a)"."""
        default = "" if self.default is dataclasses.MISSING else f" ({as_text(self.default)})"
        return f"{self.name}={takes(self.hint)}{default}"


def options_of(made: Callable[..., Any]) -> Mapping[str, Option]:
    """Options by name: the fields of a dataclass, else the keyword-only parameters of a function or of a class."""
    return _options_of(made)


@functools.cache  # resolving annotations takes 0.3 ms, and each fit of a rule checks its options
def _options_of(made: Callable[..., Any]) -> Mapping[str, Option]:
    if dataclasses.is_dataclass(made):
        source: Any = made
        defaults = {field.name: field.default for field in dataclasses.fields(made)}
    else:
        source = made.__init__ if inspect.isclass(made) else made  # type: ignore[misc]
        own = [p for p in inspect.signature(source).parameters.values() if p.kind is p.KEYWORD_ONLY]
        defaults = {p.name: dataclasses.MISSING if p.default is p.empty else p.default for p in own}
    hints = typing.get_type_hints(source, include_extras=True)
    return types.MappingProxyType({name: Option(name, hints[name], default) for name, default in defaults.items()})


def read_options(known: Mapping[str, Option], given: Mapping[str, object], *, kind: str) -> dict[str, Any]:
    """The given options, with texts turned into values.

    Args:
        known: what there is, as from `options_of`.
        given: values or texts by name.
        kind: what to call an option in the error, such as "option of head stfn".

    Raises:
        UsageError: an unknown option, or a value that it does not take, with what is known.
    """
    for name in given:
        check_known(kind, name, known, listed="; ".join(option.describe() for option in known.values()))
    return {name: read_value(name, value, known[name].hint) for name, value in given.items()}


def check_fields(record: Any, *, where: str = "") -> None:
    """Refuse an instance that holds what its options do not take. A text is a value of those alone that are texts.

    Args:
        record: of a dataclass, whose `__post_init__` calls this; or of a class that keeps its options as attributes.
        where: stands before the message, such as the name of the file it was read from and a colon.

    Raises:
        UsageError: naming the first field at fault and what it takes.
    """
    for name, option in options_of(type(record)).items():
        read_value(name, getattr(record, name), option.hint, texts=False, where=where)


def read_value(name: str, value: object, hint: Any, *, texts: bool = True, where: str = "") -> Any:
    """Turn a text into the type an annotation asks for; check a value that has a type already.

    Example: ("kernels", "2,3,4,5", tuple[int, ...]) gives (2, 3, 4, 5).

    Args:
        name: the option's.
        value: a text or a value.
        hint: the annotation.
        texts: whether a text stands for a value of another type.
        where: stands before the message.

    Raises:
        UsageError: naming the option and what it takes.
    """
    try:
        return _as(hint, value, texts)
    except (TypeError, ValueError, OverflowError):
        finite = ", finite" if as_text(value) in ("nan", "inf", "-inf") else ""
        raise UsageError(
            f"{where}{name}={as_text(value)} is not possible; {name} takes {takes(hint)}{finite}"
        ) from None


def takes(hint: Any) -> str:
    """What an annotation takes, for a person: "a|b|c", "int ≥ 1", "none or float", …"""
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is Annotated:
        marks = [mark for mark in arguments[1:] if isinstance(mark, (Range, OneOf))]
        return marks[0].describe(takes(arguments[0])) if marks else takes(arguments[0])
    if origin is Literal:
        return "|".join(map(str, arguments))
    if origin in UNIONS:
        return " or ".join(takes(kind) for kind in _none_first(arguments))
    if origin in SEQUENCES:
        return f"{takes(arguments[0])},…"
    if origin in MAPPINGS:
        return f"NAME={takes(arguments[1])},…"
    names: dict[Any, str] = {bool: "true|false", str: "text", Path: "path", types.NoneType: "none"}
    return names.get(origin, getattr(origin, "__name__", str(origin)))


def as_text(value: object) -> str:
    """A value as a command line would give it."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{name}={item}" for name, item in value.items())
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _none_first(kinds: tuple[Any, ...]) -> list[Any]:
    """None before the others: as a text, "none" would do for a str."""
    return sorted(kinds, key=lambda kind: kind is not types.NoneType)


def _as(hint: Any, value: Any, texts: bool) -> Any:
    """A value as an annotation has it, read from a text where `texts` allows it, or a ValueError or the like."""
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is Annotated:
        found = _as(arguments[0], value, texts)
        if any(found not in mark for mark in arguments[1:] if isinstance(mark, (Range, OneOf))):
            raise ValueError
        return found
    if origin is Literal:
        return arguments[[str(choice) for choice in arguments].index(str(value)) if texts else arguments.index(value)]
    if origin in UNIONS:
        for kind in _none_first(arguments):
            with contextlib.suppress(TypeError, ValueError, OverflowError):
                return _as(kind, value, texts)
        raise ValueError
    if origin in SEQUENCES:
        items = [_as(arguments[0], item, texts) for item in _items(value, texts)]
        if texts and not items:
            raise ValueError  # whoever gives a list gives something
        return tuple(items) if origin is tuple else items
    if origin in MAPPINGS:
        return {key: _as(arguments[1], item, texts) for key, item in _pairs(value, texts).items()}
    if origin in SCALARS:
        return _scalar(origin, value, texts)
    if origin is not Any and not isinstance(value, origin):
        raise TypeError
    return value


def _items(value: Any, texts: bool) -> list[Any]:
    """The items of a list, or of a text such as "1,2" or "[1, 2]"; a number alone is one."""
    if isinstance(value, str) and texts:
        items = (item.strip() for item in value.strip().removeprefix("[").removesuffix("]").split(","))
        return [item for item in items if item]
    if isinstance(value, (str, Mapping)):
        raise TypeError
    return [value] if texts and isinstance(value, numbers.Real) else list(value)


def _pairs(value: Any, texts: bool) -> dict[str, Any]:
    """The items of a mapping, or of a text such as "rgb=1,flow=2"."""
    if isinstance(value, str) and texts:
        parts = [item.partition("=") for item in value.split(",")]
        if not all(name.strip() and mark for name, mark, _ in parts):
            raise ValueError
        return {name.strip(): item.strip() for name, _, item in parts}
    if not isinstance(value, Mapping):
        raise TypeError
    return dict(value)


def _scalar(kind: Any, value: Any, texts: bool) -> Any:
    """A bool, a whole or finite number, a text, a path or None."""
    if texts and kind is bool:
        value = BOOLS.get(str(value).lower(), value)
    elif texts and kind is types.NoneType:
        value = None if str(value) in ("none", "None") else value
    elif texts and kind in (int, float) and isinstance(value, str):
        value = kind(value)
    allowed = numbers.Integral if kind is int and not texts else SCALARS[kind]
    if not isinstance(value, allowed) or isinstance(value, bool) != (kind is bool):
        raise TypeError
    if (kind is int and int(value) != value) or (kind is float and not math.isfinite(value)):
        raise ValueError
    return None if value is None else kind(value)


BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
SCALARS: dict[Any, Any] = {  # what a value of each may be
    bool: bool,
    int: numbers.Real,
    float: numbers.Real,
    str: (str, os.PathLike),
    Path: (str, os.PathLike),
    types.NoneType: types.NoneType,
}
