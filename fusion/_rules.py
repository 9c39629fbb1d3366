"""The rules by name."""

import inspect
from typing import Any

from avr.core import UsageError, item_names, load_item

from ._base import Fuser


def rule_names() -> list[str]:
    """Names of the rules, sorted: the files of this folder that do not start with `_`."""
    return item_names("avr.fusion")


def rule_class(name: str) -> type[Fuser]:
    """The estimator class of a rule.

    Raises:
        UsageError: no such rule; the known ones are listed.
    """
    rule: type[Fuser] = load_item("avr.fusion", name, "rule").RULE
    return rule


def make_fuser(name: str, **options: Any) -> Fuser:
    """An unfitted rule, such as `make_fuser("weighted", weights=[1, 2])`.

    Raises:
        UsageError: no such rule or option; the known ones are listed.
    """
    rule = rule_class(name)
    known = set(inspect.signature(rule).parameters)
    unknown = sorted(set(options) - known)
    if unknown:
        raise UsageError(f"rule {name} has no option '{unknown[0]}'; known: {', '.join(sorted(known))}")
    return rule(**options)
