"""Packages some of whose names are imported when they are first used, so that a command's help stays instant."""

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def lazy(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package that imports at their first use what it imports for type checkers:

        if TYPE_CHECKING:
            from .folds import grouped_folds, validation_part
        else:
            __getattr__, __dir__ = lazy(__name__)

    Args:
        package: its dotted name.
    """
    face = sys.modules[package]
    block = next(node for node in ast.parse(Path(str(face.__file__)).read_bytes()).body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    places = {alias.name: node.module for node in imports for alias in node.names}

    def load(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f".{places[name]}", package), name)

    return load, lambda: sorted({*vars(face), *places})
