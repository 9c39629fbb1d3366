"""From names and texts to a head: finding its class, reading its options and training settings."""

import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from avr.core import UsageError, load_item
from avr.training import Training

from ._base import Head, Shapes


def head_class(name: str) -> type[Head]:
    """The class of a head by its registry name.

    Raises:
        UsageError: unknown; lists the known ones.
    """
    found: type[Head] = load_item("avr.heads", name, "head").HEAD
    return found


def build_head(name: str, shapes: Shapes, num_classes: int, *, options: Mapping[str, object] | None = None) -> Head:
    """Build a head with fresh random weights (from torch's global generator).

    Args:
        name: registry name.
        shapes: stream -> `(N, D)` or `(N, C, H, W)`.
        num_classes: K.
        options: keyword options, as values or as texts from a command line.

    Raises:
        UsageError: unknown head, option or value.
    """
    made = head_class(name)
    return made(shapes, num_classes, **read_options(name, options or {}))


def read_options(name: str, given: Mapping[str, object]) -> dict[str, Any]:
    """Every option of a head with its value: the given ones, texts turned into their types, and the defaults.

    Raises:
        UsageError: unknown option or value, with what is known.
    """
    known = option_types(name)
    values = {option: default for option, (_, default) in known.items()}
    for option, value in given.items():
        if option not in known:
            listed = "; ".join(describe_options(name)) or "none"
            raise UsageError(f"unknown option '{option}' of head {name}; known: {listed}")
        values[option] = read_value(option, value, known[option][0])
        least = 0 if known[option][1] == 0 or option in head_class(name).zero_options else 1
        _check_range(option, values[option], least)
    return values


def _check_range(option: str, value: Any, least: int) -> None:
    """Refuse numbers no head can be built with: counts below `least`, a dropout that is no share.

    Raises:
        UsageError: naming the option and what it takes.
    """
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int) and not isinstance(number, bool) and number < least:
            raise UsageError(f"{option}={_plain(value)} is not possible; {option} is at least {least}")
        if isinstance(number, float) and not math.isfinite(number):
            raise UsageError(f"{option}={number} is not possible; {option} is a finite number")
        if option.endswith("dropout") and not 0 <= number < 1:
            raise UsageError(f"{option}={number} is not possible; a dropout is at least 0 and below 1")


def option_types(name: str) -> dict[str, tuple[Any, Any]]:
    """Option -> (type, default) of a head: the keyword-only parameters of its `__init__`."""
    made = head_class(name)
    hints = typing.get_type_hints(made.__init__)
    parameters = inspect.signature(made.__init__).parameters.values()
    return {p.name: (hints[p.name], p.default) for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def describe_options(name: str) -> list[str]:
    """One text an option, such as "design=a|b|c (a)": what it takes and its default."""
    return [f"{option}={_takes(hint)} ({_plain(default)})" for option, (hint, default) in option_types(name).items()]


def read_training(base: Training, given: Mapping[str, object]) -> Training:
    """Training settings with some changed; texts are turned into their types.

    Where a number of epochs is given, it holds: `min_steps` and `steps` of the base are then 0, unless given too.

    Raises:
        UsageError: unknown setting or value, or settings that contradict one another.
    """
    hints = typing.get_type_hints(Training)
    for name in given:
        if name not in hints:
            raise UsageError(f"unknown training setting '{name}'; known: {', '.join(hints)}")
    changed = {name: read_value(name, value, hints[name]) for name, value in given.items()}
    if "epochs" in changed:
        changed = {"min_steps": 0, "steps": 0} | changed
    return dataclasses.replace(base, **changed)


def read_value(name: str, value: object, hint: Any) -> Any:
    """Turn a text into the type an annotation asks for; check a value that has a type already.

    Example: ("kernels", "2,3,4,5", tuple[int, ...]) gives (2, 3, 4, 5).

    Raises:
        UsageError: naming the option and what it takes.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    wrong = UsageError(f"{name}={_plain(value)} is not possible; {name} takes {_takes(hint)}")
    if origin is typing.Literal:
        for choice in arguments:
            if value == choice or value == str(choice):
                return choice
        raise wrong
    if origin in (typing.Union, types.UnionType):
        if value is None or value in ("none", "None"):
            return None
        return read_value(name, value, next(kind for kind in arguments if kind is not type(None)))
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not items:
            raise wrong
        return tuple(read_value(name, item, arguments[0]) for item in items)
    if hint is bool:
        if isinstance(value, bool):
            return value
        texts = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() not in texts:
            raise wrong
        return texts[str(value).lower()]
    if hint is int and isinstance(value, float) and value != int(value):
        raise wrong
    try:
        return hint(value)
    except (TypeError, ValueError):
        raise wrong from None


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _takes(hint: Any) -> str:
    """What a type takes, for a person: "a|b|c", "a whole number", …"""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "|".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return "|".join("none" if kind is type(None) else _takes(kind) for kind in arguments)
    if origin is tuple:
        return f"{_takes(arguments[0])},…"
    return {bool: "true|false", int: "int", float: "float", str: "text"}.get(hint, str(hint))
