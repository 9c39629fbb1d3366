"""Python without what Windows lacks, in this process and its children: `PYTHONPATH=tests/blocked python -m pytest`.

Imported by Python itself at its start. avr and its tests find no such modules; other libraries, which have ways of
their own on Windows, do. Locks are not there then (Windows has its own, which Linux has not): tests that need them are
skipped.
"""

import builtins
import importlib
import multiprocessing
import os
import sys
from typing import Any

LACKING = ("fcntl", "resource", "pwd", "grp", "termios")
ASKING = ("avr", "_pytest", "__main__")  # _pytest: `pytest.importorskip`

_import, _import_module = builtins.__import__, importlib.import_module


def _refuse(name: str) -> None:
    """What asks is two calls up."""
    if name in LACKING and str(sys._getframe(2).f_globals.get("__name__")).partition(".")[0] in ASKING:
        raise ModuleNotFoundError(f"No module named {name!r} (tests/blocked)", name=name)


def _import_less(name: str, *more: Any, **told: Any) -> Any:
    _refuse(name)
    return _import(name, *more, **told)


def _import_module_less(name: str, package: str | None = None) -> Any:
    _refuse(name)
    return _import_module(name, package)


builtins.__import__ = _import_less
importlib.import_module = _import_module_less
for name in (
    "fchmod",
    "memfd_create",
    "pread",
    "preadv",
    "pwrite",
    "sched_getaffinity",
    "sched_setaffinity",
):
    vars(os).pop(name, None)
multiprocessing.set_start_method("spawn")
