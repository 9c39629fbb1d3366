"""Libraries that are installed where they are asked for: the distribution's extras."""

import importlib
from typing import Any

from .errors import UsageError

DISTRIBUTION = "avr-video"  # PyPI's `avr` is another package


def installing(extra: str) -> str:
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def load_extra(module: str, what: str, *, extra: str = "") -> Any:
    """A module of an extra's.

    Args:
        module: its name.
        what: what needs it, for the message.
        extra: the extra's name; "": the module's.

    Raises:
        UsageError: it is not installed; says how.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{what} needs {module.partition('.')[0]}: {installing(extra or module)}") from error
