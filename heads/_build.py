"""From names and texts to a head: finding its class, reading its options."""

from collections.abc import Mapping
from typing import Any

from avr.core import load_item, options_of
from avr.core import read_options as read

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
    known = options_of(head_class(name))
    defaults = {option: entry.default for option, entry in known.items()}
    return defaults | read(known, given, kind=f"option of head {name}")
