"""Names: those that become parts of file names, such as a data set's, and those of splits, in order."""

import re
from collections.abc import Iterable

from .errors import UsageError

MOST = 200


def check_name(kind: str, text: str) -> str:
    """The text, if it is a name: letters, digits, blanks, . _ - +, not "." or "..", without blanks at its ends.

    Raises:
        UsageError: it is none; `kind` is what to call it, such as "data set".
    """
    if not re.fullmatch(r"[\w .+-]+", text) or text != text.strip() or set(text) <= {"."} or len(text) > MOST:
        raise UsageError(f"{kind} {text!r} is no name (letters, digits, blanks, . _ - +; up to {MOST} of them)")
    return text


def name_from(text: str) -> str:
    """The name that comes nearest to a text, with `_` for what no name holds."""
    name = re.sub(r"[^\w .+-]", "_", text)[:MOST].strip()
    return "_" if set(name) <= {"."} else name


def by_number(names: Iterable[str]) -> list[str]:
    """Names of splits in order, those that are numbers by their number: "2" before "10"."""
    return sorted(set(names), key=lambda name: (not name.isdecimal(), len(name) if name.isdecimal() else 0, name))
