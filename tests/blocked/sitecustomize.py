"""Python without what Windows lacks, in this process and its children: `PYTHONPATH=tests/blocked python -m pytest`.

Imported by Python itself at its start. avr and its tests find no such modules; other libraries, which have ways of
their own on Windows, do. Locks are not there then (Windows has its own, which Linux has not): tests that need them are
skipped.
"""

import builtins
import multiprocessing
import os
from typing import Any

LACKING = ("fcntl", "resource", "pwd", "grp", "termios")
ASKING = ("avr", "_pytest", "__main__")  # _pytest: `pytest.importorskip`

_import = builtins.__import__


def _import_less(name: str, names: dict[str, Any] | None = None, *more: Any, **told: Any) -> Any:
    if name in LACKING and str((names or told.get("globals") or {}).get("__name__", "")).partition(".")[0] in ASKING:
        raise ModuleNotFoundError(f"No module named {name!r} (tests/blocked)", name=name)
    return _import(name, names, *more, **told)


builtins.__import__ = _import_less
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
