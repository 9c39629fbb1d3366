"""Items found by file name: in a folder of items, file name = registry name = command-line name.

A module whose name starts with `_` is machinery; every other module of the folder is one item. `attention_streams.py`
is `attention-streams`. Adding an item is adding a file.
"""

import difflib
import importlib
import pkgutil
from types import ModuleType

from .errors import UsageError


def item_names(package: str) -> list[str]:
    """Names of the items in a package, sorted, without importing them.

    Args:
        package: dotted name, such as "avr.heads".
    """
    path = importlib.import_module(package).__path__
    modules = (module for module in pkgutil.iter_modules(path) if not module.ispkg)
    return sorted(module.name.replace("_", "-") for module in modules if not module.name.startswith("_"))


def load_item(package: str, name: str, kind: str) -> ModuleType:
    """Import one item's module.

    Args:
        package: dotted name, such as "avr.heads".
        name: the item's name on the command line, such as "attention-streams".
        kind: what to call it in the error, such as "head".

    Raises:
        UsageError: no such item; the message lists the known ones.
    """
    known = item_names(package)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UsageError(f"unknown {kind} '{name}'{hint}; known: {', '.join(known)}")
    return importlib.import_module(f"{package}.{name.replace('-', '_')}")
