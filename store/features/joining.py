"""The videos that several parts have in common, as one store's: their columns, and which rows of a part are theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, note

from .opening import Opened
from .plan import TEST, TRAIN, Plan

MOST = 3  # videos that a message names


@dataclass(frozen=True)
class Joined:
    """Columns of M videos, as `FeatureStore` has them, with R rows.

    Attributes:
        plan: ids, paths, labels, groups, splits of the videos that have features in every part, in the first one's
            order; its arrays and settings are the first part's alone.
        rows, frames: (M,) int32.
        facts: of the videos.
        failures, notes: (id, text).
        numbers: for each part (R,) int64, which of its rows each row is; None where they are the same.
    """

    plan: Plan
    rows: NDArray[np.int32]
    frames: NDArray[np.int32]
    facts: dict[str, NDArray]
    failures: tuple[tuple[str, str], ...]
    notes: tuple[tuple[str, str], ...]
    numbers: tuple[NDArray[np.int64] | None, ...]


def row_numbers(first_row: NDArray[np.int64], rows: NDArray[np.int32], chosen: NDArray[np.intp]) -> NDArray[np.int64]:
    """Row numbers of the videos at these positions, video after video, of first row and number of rows of each."""
    counts = rows[chosen].astype(np.int64)
    if counts.sum() == len(chosen):
        return first_row[chosen]
    ends = np.cumsum(counts)
    return np.arange(counts.sum()) + np.repeat(first_row[chosen] - (ends - counts), counts)


def join(parts: Sequence[Opened]) -> Joined:
    """Several parts as one, by the videos' ids.

    Raises:
        UsageError: they disagree on a video's class, group, part in a split or number of views, or share no video.
    """
    first = parts[0].catalog
    if len(parts) == 1:
        facts = dict(first.facts.videos)
        return Joined(first.plan, first.rows, first.frames, facts, first.failures, first.notes, (None,))
    places = _common(parts)
    plans = [part.catalog.plan.take(place) for part, place in zip(parts, places, strict=True)]
    for part, plan in zip(parts[1:], plans[1:], strict=True):
        _compare(parts[0], plans[0], part, plan)
    rows = [part.catalog.rows[place] for part, place in zip(parts, places, strict=True)]
    for part, counts in zip(parts[1:], rows[1:], strict=True):
        advice = "extract both with the same --views, --crops and --mirror, or read them apart"
        _refuse("number of views", plans[0].ids, (parts[0], rows[0]), (part, counts), advice)
    kept, notes = set(plans[0].ids), _told(parts, [dict(part.catalog.notes) for part in parts])
    known = {
        name: _first_known([part.catalog.facts.videos[name][place] for part, place in zip(parts, places, strict=True)])
        for name in first.facts.videos
    }
    return Joined(
        plan=_with_all(plans),
        rows=rows[0],
        frames=_first_known([part.catalog.frames[place] for part, place in zip(parts, places, strict=True)]),
        facts=known,
        failures=_failures(parts),
        notes=tuple((video, text) for video, text in notes if video in kept),
        numbers=tuple(_numbers(part, place) for part, place in zip(parts, places, strict=True)),
    )


def _common(parts: Sequence[Opened]) -> list[NDArray[np.intp]]:
    """Positions in each part of the videos that all have; notes the others."""
    if all(part.catalog.plan.ids == parts[0].catalog.plan.ids for part in parts):
        return [np.arange(len(parts[0].catalog.rows))] * len(parts)
    positions = [{video: place for place, video in enumerate(part.catalog.plan.ids)} for part in parts]
    in_all = set(positions[0]).intersection(*positions[1:])
    if not in_all and all(positions):
        firsts = ", ".join(f"{part.catalog.plan.ids[0]} in {part.label}" for part in parts)
        raise UsageError(f"no video is in all that should be read together: the first are {firsts}")
    everyone = dict.fromkeys(video for known in positions for video in known)
    kept = [video for video in positions[0] if video in in_all]
    lost = [video for video in everyone if video not in in_all]
    if lost:
        counts = [len(everyone) - len(known) for known in positions]
        lacking = [f"{count} not in {part.label}" for count, part in zip(counts, parts, strict=True) if count]
        note(
            f"{len(lost)} of {len(everyone)} videos are left out, {', '.join(lacking)}; first {', '.join(lost[:MOST])}"
        )
    return [np.array([known[video] for video in kept], dtype=np.intp) for known in positions]


def _compare(first: Opened, mine: Plan, other: Opened, theirs: Plan) -> None:
    """Raise UsageError where two plans of the same videos differ in what is known of these."""
    advice = "both must be made from the same data set and splits"
    classes = [np.array(plan.class_names, dtype=str)[plan.labels] for plan in (mine, theirs)]
    _refuse("class", mine.ids, (first, classes[0]), (other, classes[1]), advice)
    groups = [np.array(plan.groups, dtype=str) for plan in (mine, theirs)]
    _refuse("group", mine.ids, (first, groups[0]), (other, groups[1]), advice)
    for name in (name for name in mine.split_names if name in theirs.split_names):
        columns = [plan.splits[:, plan.split_names.index(name)] for plan in (mine, theirs)]
        shown = [np.select([column == TRAIN, column == TEST], ["training", "test"], "no part") for column in columns]
        _refuse(f"part in split {name}", mine.ids, (first, shown[0]), (other, shown[1]), advice)


def _refuse(
    what: str, ids: Sequence[str], mine: tuple[Opened, NDArray], theirs: tuple[Opened, NDArray], advice: str
) -> None:
    """Raise UsageError where two columns of the same videos differ, naming the first."""
    differing = np.flatnonzero(mine[1] != theirs[1])
    if len(differing):
        at = differing[0]
        raise UsageError(
            f"{mine[0].label} and {theirs[0].label} disagree on the {what} of {len(differing)} videos, first of "
            f"{ids[at]}: {mine[1][at]} and {theirs[1][at]}; {advice}"
        )


def _with_all(plans: Sequence[Plan]) -> Plan:
    """The first of several plans of the same videos, with the splits that all have and the paths that any knows."""
    first = plans[0]
    shared = [name for name in first.split_names if all(name in plan.split_names for plan in plans)]
    left_out = sorted({name for plan in plans for name in plan.split_names}.difference(shared))
    if left_out:
        note(f"splits left out, which not all that is read together has: {', '.join(left_out)}")
    return replace(
        first,
        split_names=tuple(shared),
        splits=first.splits[:, [first.split_names.index(name) for name in shared]],
        paths=tuple(_first_known([np.array(plan.paths, dtype=str) for plan in plans]).tolist()),
    )


def _first_known(columns: Sequence[NDArray]) -> NDArray:
    """Of each video the value of the first column that knows it: that is not 0 or empty."""
    known = columns[0]
    for column in columns[1:]:
        known = np.where(known != np.zeros_like(known), known, column)
    return known


def _failures(parts: Sequence[Opened]) -> tuple[tuple[str, str], ...]:
    """Every video that some part has no features of; those of shards that are missing still aside."""
    reasons = [dict(part.catalog.failures) for part in parts]
    everyone = dict.fromkeys(video for part in parts for video in part.catalog.plan.ids)
    everyone |= dict.fromkeys(video for failed in reasons for video in failed)
    for part, failed in zip(parts, reasons, strict=True):
        if not part.catalog.missing_shards:
            there = {*part.catalog.plan.ids, *failed}
            failed |= {video: f"not among the videos of {part.label}" for video in everyone if video not in there}
    return _told(parts, reasons)


def _told(parts: Sequence[Opened], texts: Sequence[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    """What is said of each video, by the streams of which it is said where that is not all of them alike."""
    found = []
    for video in dict.fromkeys(video for said in texts for video in said):
        said = [(part, text[video]) for part, text in zip(parts, texts, strict=True) if video in text]
        alike = len(said) == len(parts) and len({text for _, text in said}) == 1
        found.append((video, said[0][1] if alike else "; ".join(f"{', '.join(p.streams)}: {text}" for p, text in said)))
    return tuple(found)


def _numbers(part: Opened, places: NDArray[np.intp]) -> NDArray[np.int64] | None:
    """The rows of the videos at these places of a part, in their order; None where these are all of its rows."""
    if np.array_equal(places, np.arange(len(part.catalog.rows))):
        return None
    return row_numbers(part.catalog.first_row, part.catalog.rows, places)
