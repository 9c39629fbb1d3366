"""What differs between two sets of settings, as a person is told it."""

import json
from collections.abc import Mapping
from typing import Any


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which settings differ, as one phrase; empty where none do."""
    return ", ".join(changes(before, now))


def changes(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Settings that differ, as "name old → new": nested ones by dotted names, values as JSON, absent as null."""
    lines = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if all(isinstance(value, Mapping | None) for value in (old, new)):
            lines += changes(old or {}, new or {}, f"{prefix}{name}.")
        elif old != new:
            shown = [json.dumps(value, ensure_ascii=False, default=str) for value in (old, new)]
            shown = [text if len(text) <= 80 else text[:77] + "…" for text in shown]
            lines.append(f"{prefix}{name} {shown[0]} → {shown[1]}")
    return lines
