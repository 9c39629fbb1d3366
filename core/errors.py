"""The errors a user is meant to read: one line that says what is wrong and what to do."""

from typing import Any


class AvrError(Exception):
    """Base of all errors avr raises on purpose. `str(error)` is one line for a person; `exit_code` is the shell's."""

    exit_code = 1

    def __str__(self) -> str:
        """One line, whatever stands in a name that it speaks of."""
        return " ".join(super().__str__().splitlines())


class WorkError(AvrError):
    """The request was sound but the work failed (a damaged file, a full disk, weights that do not load): exit 1."""


class Unwritten(WorkError):
    """All is computed and cannot be written; what was computed is `result`, to be shown before this is said."""

    def __init__(self, error: WorkError, result: Any) -> None:
        super().__init__(str(error))
        self.result = result


class UsageError(AvrError, ValueError):
    """The request cannot be met as it was put (unknown name, missing folder, settings that differ): exit 2."""

    exit_code = 2


def one_line(error: BaseException) -> str:
    """An error that is not avr's own."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def message_of(error: BaseException, instead: str = "") -> str:
    """What a library's error says, in one line; where it says nothing `instead`, or its kind."""
    return " ".join(str(error).split())[:200] or instead or type(error).__name__
