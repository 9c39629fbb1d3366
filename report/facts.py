"""What was run, as a run's record and its store tell it: command, settings, seeds, versions, how extraction went."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avr.core import AvrError
from avr.store import KINDS, describe

from .reading import Outcome
from .tables import Kind, Table

MOST = 200  # failures and notes that are listed


def run_facts(outcome: Outcome) -> list[tuple[str, str]]:
    """What a reader must know of a run after a month: (what, value), what is not known left out."""
    record, made = outcome.record, outcome.provenance
    about = made.get("store")
    store: Mapping[str, Any] = record.store if record is not None else about if isinstance(about, dict) else {}
    splits = [split for split in outcome.splits if split]
    videos = f"{len(outcome.labels)} {outcome.judged_on} of {len(np.unique(outcome.groups))} groups"
    facts = {
        "What": KINDS[record.kind] if record is not None else "a score file",
        "Head or rule": record.head if record is not None else "",
        "Lacks": outcome.lack,
        "Command": record.command if record is not None else "",
        "Data set": outcome.dataset,
        "Splits": ", ".join(splits),
        "Judged on": f"{videos}, {len(outcome.class_names)} classes",
        "Protocol": str(made.get("protocol", "")),
        "Main output": outcome.main,
        "Seed": str(record.seed if record is not None else made.get("seed", "")),
        "Written": record.written[:19].replace("T", " ") + " UTC" if record is not None and record.written else "",
        "Versions": ", ".join(f"{name} {value}" for name, value in record.versions.items())
        if record is not None
        else "",
        "Folder": str(outcome.path),
        "Store": ", ".join(map(str, outcome.stores)),
        "Digest of the store": str(store.get("digest", "")),
    }
    return [(name, value) for name, value in facts.items() if value]


def settings_table(outcome: Outcome) -> Table:
    """Every setting that the run's record, or else its scores, keep."""
    record, made = outcome.record, outcome.provenance
    if record is not None:
        kept = {"options": record.options, "training": record.training, "layers": record.layers}
        kept |= {"evaluation": record.identity.get("evaluation", {}), "features": record.store.get("streams") or {}}
    else:
        kept = {name: value for name, value in made.items() if name not in ("weights", "sources")}
    rows = list(_flat(kept, ""))
    return Table(f"Settings: {outcome.name}", [("setting", "text"), ("value", "text")], rows)


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        yield name, ", ".join(map(str, value))
    else:
        yield name, str(value)


@dataclass(frozen=True)
class Extraction:
    """How a store's features were made: facts (what, value), and the videos that failed or need a word."""

    path: str
    facts: list[tuple[str, str]]
    troubles: Table | None
    why: str = ""  # nothing is known


def extractions(outcomes: Sequence[Outcome]) -> list[Extraction]:
    """Those of the stores that the runs are of, each once."""
    paths = dict.fromkeys(path for outcome in outcomes for path in outcome.stores)
    return [_extraction(path) for path in paths]


def _extraction(path: Path) -> Extraction:
    try:
        found = describe(path)
    except AvrError as error:
        return Extraction(str(path), [], None, str(error))
    failures, notes = found["failures"], found["notes"]
    facts = {
        "Data set": found["dataset"],
        "Videos": f"{found['videos']} with features, {len(failures)} failed, {len(notes)} with notes",
        "Complete": "yes"
        if found["complete"]
        else f"no: {found['missing_shards']} of {found['shards']} shards missing",
        "Frames decoded": str(found["frames_decoded"]),
        "Seconds of video": f"{found['seconds']:.0f}" if found["seconds"] else "",
        "Frames a second": _counts(found["rates"]) + (f"; {n} vary" if (n := found["varying_rates"]) else ""),
        "Sizes": _counts(found["sizes"]),
        "Codecs": _counts(found["codecs"]),
        "Arrays": ", ".join(f"{name} {'×'.join(map(str, one['shape']))}" for name, one in found["arrays"].items()),
        "Warnings": "; ".join(found["warnings"]),
        "Digest": found["digest"],
    }
    rows = [(one["id"], "failed", one["reason"]) for one in failures] + [
        (one["id"], "note", one["note"]) for one in notes
    ]
    columns: list[tuple[str, Kind]] = [("video", "text"), ("what", "text"), ("why", "text")]
    told = [f"The first {MOST} of {len(rows)}."] * (len(rows) > MOST)
    table = Table(f"Failures and notes: {path.name}", columns, rows[:MOST], notes=told) if rows else None
    return Extraction(str(path), [(name, value) for name, value in facts.items() if value], table)


def _counts(counted: Mapping[str, int]) -> str:
    """ "25.0 (80), 30.0 (10)", the most frequent five."""
    often = sorted(counted.items(), key=lambda item: -item[1])
    text = ", ".join(f"{name} ({count})" for name, count in often[:5] if name)
    return text + (f" and {len(often) - 5} others" if len(often) > 5 else "")
