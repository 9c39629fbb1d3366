"""Items found by file name: in a folder of items, file name = registry name = command-line name.

A module whose name starts with `_` is machinery; every other module of the folder is one item. `attention_streams.py`
is `attention-streams`. Adding an item is adding a file.
"""

import ast
import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from .errors import UsageError


def item_names(package: str) -> list[str]:
    """Names of the items in a package, sorted, without importing them or the package.

    Args:
        package: dotted name, such as "avr.heads".
    """
    modules = (module for module in pkgutil.iter_modules(_folders(package)) if not module.ispkg)
    return sorted(module.name.replace("_", "-") for module in modules if not module.name.startswith("_"))


def item_summary(package: str, name: str) -> str:
    """First line of an item's docstring, read without importing it."""
    path = Path(_folders(package)[0]) / f"{name.replace('-', '_')}.py"
    return (ast.get_docstring(ast.parse(path.read_bytes())) or "").partition("\n")[0]


def _folders(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    return list((spec and spec.submodule_search_locations) or ())


def load_item(package: str, name: str, kind: str) -> ModuleType:
    """Import one item's module.

    Args:
        package: dotted name, such as "avr.heads".
        name: the item's name on the command line, such as "attention-streams".
        kind: what to call it in the error, such as "head".

    Raises:
        UsageError: no such item; the message lists the known ones.
    """
    check_known(kind, name, item_names(package))
    return importlib.import_module(f"{package}.{name.replace('-', '_')}")


def check_known(kind: str, name: str, known: Iterable[str], *, listed: str = "", where: str = "") -> None:
    """Refuse a name that is not among the known ones.

    Args:
        kind: what to call it, such as "head".
        name: what was given.
        known: the names there are.
        listed: how the error lists them, where their names alone do not say enough.
        where: stands before the message, such as the name of the file it was read from and a colon.

    Raises:
        UsageError: with the name nearest to it and the known ones.
    """
    names = list(known)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UsageError(f"{where}unknown {kind} '{name}'{hint}; known: {listed or ', '.join(names) or 'none'}")
