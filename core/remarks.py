"""How things are told to a person: remarks on many videos, numbers of bytes, what differs between settings."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any


def tell(remarks: Iterable[tuple[str, str]], *, label: str = "", most: int = 3) -> list[str]:
    """Lines of (whose, remark) pairs: of each kind that several share a count and the first ones, most frequent first.

    Lines of single remarks and counts begin with the label, those of the first ones are indented.

    A remark may be several, parted by "; ". Two are of one kind where they differ in their numbers alone, or in what a
    library says. Of one video several of a kind are one line.
    """
    kinds: dict[str, dict[str, list[str]]] = {}
    for whose, text in remarks:
        for remark in text.split("; "):
            kind = re.sub(r"(says [^:]*):.*|\d+(\.\d+)?", lambda found: found[1] or "…", remark)
            kinds.setdefault(kind, {}).setdefault(whose, []).append(remark)
    lines = []
    for kind, told in sorted(kinds.items(), key=lambda item: -len(item[1])):
        own = [f"{whose}: {'; '.join(said)}" for whose, said in told.items()]
        if len(own) == 1:
            lines.append(label + own[0])
            continue
        lines += [f"{label}{len(own)} videos: {kind}", *(f"        {line}" for line in own[:most])]
        lines += [f"        and {len(own) - most} more"] if len(own) > most else []
    return lines


def as_size(count: float) -> str:
    """A number of bytes: "812 B", "57.5 MB", "1.2 TB"."""
    unit = "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if count < 1000:
            break
        count, unit = count / 1000, larger
    return f"{count:.3g} {unit}"


def first_few(names: Iterable[object], most: int = 3) -> str:
    """The first of some names, each once: "a, b, c, …"."""
    found = list(dict.fromkeys(map(str, names)))
    return ", ".join(found[:most]) + (", …" if len(found) > most else "")


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
