"""Imported scores beside those of another role in one file: of validation and of test videos."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from avr.core import UsageError
from avr.store.matching import match_ids

from .file import Scores, is_test, read_scores, reordered


def beside_others(path: Path, scores: Scores, *, overwrite: bool = False) -> tuple[Scores, str]:
    """Scores with those of the other role that a file holds, test or not, and a line that says so; it is not written.

    Args:
        path: the file, which need not be there.
        scores: of one role.
        overwrite: leave out what the file holds of this role.

    Raises:
        UsageError: it holds scores of this role, or others that do not go with these.
        WorkError: damaged.
    """
    if not path.exists():
        return scores, ""
    try:
        there = read_scores(path)
    except UsageError as error:
        raise UsageError(f"{path} is there and holds no scores of avr's: choose another --out") from error
    tests = is_test(scores.fold)
    other = is_test(there.fold) != tests[0]
    role, others = ("test", "validation") if tests[0] else ("validation or out-of-fold", "test")
    if not other.all() and not overwrite:
        raise UsageError(f"{path} is there already, with scores of {role} videos; --overwrite replaces them")
    if not other.any():
        return scores, f"replaced {len(other)} {role} videos"
    told = {
        "streams": (set(there.streams), set(scores.streams)),
        "classes": (sorted(there.class_names), sorted(scores.class_names)),
        "kind of numbers": (there.kind, scores.kind),
        "split": (there.split, scores.split),
    }
    for what, (one, two) in told.items():
        if one != two:
            mend = {"kind of numbers": "say --kind", "split": "say --split"}.get(what, "choose another --out")
            raise UsageError(f"{path} holds {others} videos of another {what} than these: {mend}")
    if there.class_names != scores.class_names:
        scores = reordered(scores, there.class_names)
    shared = match_ids(there.ids[other].tolist(), scores.ids.tolist())
    if shared:
        video = scores.ids[next(iter(shared))]
        raise UsageError(f"{path} holds {len(shared)} of these videos as {others} videos, first {video}")
    rows: dict[str, Any] = {
        name: np.concatenate([getattr(there, name)[other], getattr(scores, name)])
        for name in ("ids", "labels", "groups", "fold")
    }
    streams = {name: np.concatenate([there.streams[name][other], values]) for name, values in scores.streams.items()}
    # What came last tells of itself first, and of the other role beside.
    kept = there.provenance if other[-1] else there.provenance.get("beside", {})
    made = {**scores.provenance, "beside": {name: value for name, value in kept.items() if name != "beside"}}
    joined = replace(scores, streams=streams, provenance=made, dataset=there.dataset or scores.dataset, **rows)
    replaced = f" in place of {int((~other).sum())}" if not other.all() else ""
    return joined, f"{len(scores.ids)} {role} videos{replaced} beside {int(other.sum())} {others} videos that it held"
