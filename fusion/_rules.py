"""The rules by name."""

from typing import Any

from avr.core import item_names, load_item, options_of, read_options

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

    Args:
        name: of the rule.
        options: of the rule, as values or as texts from a command line.

    Raises:
        UsageError: no such rule, option or value; the known ones are listed.
    """
    rule = rule_class(name)
    return rule(**read_options(options_of(rule), options, kind=f"option of rule {name}"))
