"""Names: those that become parts of file names, such as a data set's, and those of splits, in order."""

import re
from collections.abc import Iterable

from .errors import UsageError

MOST = 200
# What Windows takes for a device, whatever suffix follows.
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


def check_name(kind: str, text: str) -> str:
    """The text, if it is a name that every system takes for a file: letters, digits, blanks, . _ - +.

    Not "." or "..", without a blank at its ends or a point at its end, and no device of Windows.

    Raises:
        UsageError: it is none; `kind` is what to call it, such as "data set".
    """
    if not re.fullmatch(r"[\w .+-]+", text) or text != text.strip() or text[-1] == "." or len(text) > MOST:
        raise UsageError(f"{kind} {text[:MOST]!r} is no name (letters, digits, blanks, . _ - +; up to {MOST} of them)")
    if _is_device(text):
        raise UsageError(f"{kind} {text!r} is no name: Windows takes it for a device")
    return text


def name_from(text: str) -> str:
    """The name that comes nearest to a text, with `_` for what no name holds."""
    name = re.sub(r"[^\w .+-]", "_", text)[: MOST - 1].strip().rstrip(". ") or "_"
    return f"_{name}" if _is_device(name) else name


def _is_device(name: str) -> bool:
    return name.partition(".")[0].strip().lower() in DEVICES


def by_number(names: Iterable[str]) -> list[str]:
    """Names of splits in order, those that are numbers by their number: "2" before "10"."""
    return sorted(set(names), key=lambda name: (not name.isdecimal(), len(name) if name.isdecimal() else 0, name))
