"""Options whose values are texts of several parts: NAME=VALUE, or values with commas between them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from avr.core import UsageError, read_value

from ._shell import Complete

F = TypeVar("F", bound=Callable[..., Any])


def set_option(
    flag: str,
    text: str,
    *,
    name: str = "",
    bare: str = "",
    free: bool = False,
    unit: str = "",
    complete: Complete | None = None,
) -> Callable[[F], F]:
    """An option NAME=VALUE that is repeated: a dict of texts. With `bare`, NAME is left out where a value is for all.

    Args:
        flag: such as "--set".
        text: its help.
        name: of the command's argument, if not the flag's.
        bare: what NAME is called there, such as "STREAM"; a value without it is under "".
        free: NAME is the user's own; else it is an option's, whose "-" stands for "_".
        unit: what may be named behind NAME, such as "SPLIT" in "NAME@SPLIT".
        complete: completes it in a shell.
    """

    def pairs(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
        found = dict(named_value(flag, value, bare=bool(bare)) for value in values)
        if bare or free:
            return found
        parts = {name: name.partition("@") for name in found}
        return {"".join((own.replace("-", "_"), *rest)): found[name] for name, (own, *rest) in parts.items()}

    metavar = f"[{bare}=]VALUE" if bare else f"NAME[@{unit}]=VALUE" if unit else "NAME=VALUE"
    names = (flag, name) if name else (flag,)
    told: dict[str, Any] = {"metavar": metavar, "help": text, "shell_complete": complete}
    return click.option(*names, multiple=True, callback=pairs, **told)


def named_value(flag: str, text: str, *, bare: bool = False) -> tuple[str, str]:
    """NAME=VALUE in two; with `bare`, a text without "=", and one that is a path that is there, has the name "".

    Raises:
        UsageError: neither.
    """
    name, mark, value = text.partition("=")
    if bare and (not mark or Path(text).exists()):  # a path may hold "="
        return "", text
    if not name or not mark:
        raise UsageError(f"{flag} {text}: expected NAME=VALUE")
    return name, value


def list_option(
    flag: str,
    name: str,
    hint: Any,
    *,
    default: str | None = None,
    unit: str,
    text: str,
    complete: Complete | None = None,
) -> Callable[[F], F]:
    """An option with commas between its values, or repeated, as a tuple of the type that the annotation `hint` says."""

    def joined(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> Any:
        told = ",".join(texts) or default
        return None if told is None else read_value(name, told, hint)

    note = "" if default is None else f"  [default: {default}]"
    told: dict[str, Any] = {"metavar": unit, "help": text + note, "shell_complete": complete}
    return click.option(flag, name, multiple=True, callback=joined, **told)
