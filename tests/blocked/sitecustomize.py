"""Python without what Windows lacks, in this process and its children: `PYTHONPATH=tests/blocked python -m pytest`.

Imported by Python itself at its start. Locks are not there then (Windows has its own, which Linux has not): tests that
need them are skipped.
"""

import multiprocessing
import os
import sys

for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None  # type: ignore[assignment]
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
