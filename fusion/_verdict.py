"""Which rule to use, as one sentence, and whether so many videos can tell."""

from collections.abc import Mapping
from typing import Any

from avr.store import UNTRAINED

SIGNIFICANT = 0.05
# The interval resamples groups: of so few it is too narrow to be believed.
FEWEST_GROUPS = 5


def verdict(
    rule: str,
    against: Mapping[str, Mapping[str, Any]],
    *,
    videos: int,
    groups: int,
    chosen_of: int = 1,
) -> str:
    """One sentence: what to use, by how much it is better, and whether the videos can tell.

    Two are told apart where the interval of their difference leaves out 0 and McNemar's p is below 0.05, over five
    groups at least: the first is too sure of few groups, the second of large ones.

    Args:
        rule: that is judged.
        against: "untrained" and "best stream", what the rule is against these, and "both", what the untrained rule is
            against the stream: name of the other, difference, low, high, p each.
        videos: that are judged.
        groups: they are of.
        chosen_of: of how many rules the judged one is the best on these very videos.
    """
    other = str(against["untrained"]["name"])
    count = f"{videos:,} videos".replace(",", " ") + (f" of {groups} groups" if groups < FEWEST_GROUPS else "")
    sign = told_apart(against["untrained"], groups)
    alike = sign == 0 and rule in UNTRAINED  # neither costs anything
    used, over = (rule, against["best stream"]) if sign > 0 or alike else (other, against["both"])
    if sign:
        told = dict(against["untrained"]) if sign > 0 else _turned(against["untrained"])
        text = f"use {used}: {_points(told)} points top-1 over {other if sign > 0 else rule}, which {count} can tell "
        text += f"({_interval(told)})"
    else:
        what, them = (f"{rule} or {other}", "them") if alike else (other, f"{rule} and {other}")
        text = f"use {what}: {count} cannot tell {them} apart: {_interval(against['untrained'], ' points')}"
    if chosen_of > 1:
        text += f" ({rule} is the best of {chosen_of} on these very videos, which flatters it)"
    beside = told_apart(over, groups)
    if beside < 0:
        less = _turned(over)
        text = f"use {over['name']} alone: {_points(less)} points top-1 over {used}, which {count} can tell "
        text += f"({_interval(less)})"
    else:
        text += f"; over {over['name']} alone {used} is {_points(over)} ({_interval(over)})"
        text += "" if beside else ", which they cannot tell"
    return text[0].upper() + text[1:] + "."


def told_apart(found: Mapping[str, Any], groups: int) -> int:
    """1 or -1 where the first of two is better or worse beyond doubt, else 0; `found` has low, high and p."""
    if groups < FEWEST_GROUPS or found["p"] >= SIGNIFICANT:
        return 0
    return 1 if found["low"] > 0 else -1 if found["high"] < 0 else 0


def _turned(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same difference the other way round."""
    return {**found, "difference": -found["difference"], "low": -found["high"], "high": -found["low"]}


def _points(found: Mapping[str, Any]) -> str:
    return f"{100 * found['difference']:+.1f}"


def _interval(found: Mapping[str, Any], unit: str = "") -> str:
    """The interval, and p where it alone leaves the two alike."""
    low, high, p = (found[name] for name in ("low", "high", "p"))
    unsure = f", p {p:.2g}" if p >= SIGNIFICANT and (low > 0 or high < 0) else ""
    return f"{100 * low:+.1f} … {100 * high:+.1f}{unit}{unsure}"
