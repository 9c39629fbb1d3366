"""Joining scores of several files by video id, sanitised names included, and saying what found no partner."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from avr.core import UsageError

from .file import Scores, check_scores

SUFFIXES = re.compile(r"\.(?:avi|mp4|mkv|webm|mov|mpg|mpeg|m4v|wmv|flv)$", re.IGNORECASE)


@dataclass(frozen=True)
class JoinReport:
    """What a join did.

    Attributes:
        videos: how many are in all files.
        sanitised: how many of them met only after their names were sanitised.
        unmatched: file's name to the ids of its videos that are not in all files.
        notes: lines worth telling the user.
    """

    videos: int
    sanitised: int
    unmatched: dict[str, list[str]]
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The report in words: one line a fact."""
        said = [f"{self.videos} videos joined" + (f", {self.sanitised} by sanitised names" if self.sanitised else "")]
        for name, ids in self.unmatched.items():
            if ids:
                more = ", …" if len(ids) > 10 else ""
                said.append(f"{name}: {len(ids)} videos without partner: {', '.join(ids[:10])}{more}")
        return said + self.notes


def sanitised(video_id: str) -> str:
    """An id without its suffix, with everything but letters, digits and "/" as "_": what tools do to file names.

    Example: "push/Dodge_-_80_ft.!_push_1.avi" → "push/Dodge___80_ft___push_1".
    """
    return re.sub(r"[^A-Za-z0-9/]", "_", SUFFIXES.sub("", video_id))


# From the strictest to the loosest; each is asked only about ids that the ones before left alone.
KEYS: tuple[Callable[[str], str], ...] = (
    lambda video_id: video_id,
    lambda video_id: SUFFIXES.sub("", video_id),
    sanitised,
    lambda video_id: sanitised(video_id).rpartition("/")[2],
)


def match_ids(known: Sequence[str], others: Sequence[str]) -> dict[int, int]:
    """Which of `others` is which of `known`, by position; a key that two videos of a side share matches nothing.

    A looser key is only asked about videos that found no partner by a stricter one.
    """
    matched: dict[int, int] = {}
    left, right = set(range(len(known))), set(range(len(others)))
    for key in KEYS:
        at_left, at_right = _unique(known, left, key), _unique(others, right, key)
        # A key must also be alone among all ids of its side: "a!" is not "a?" because "a?" has met already.
        all_left, all_right = _counts(known, key), _counts(others, key)
        for text in at_left.keys() & at_right.keys():
            if key is KEYS[0] or (all_left[text] == 1 and all_right[text] == 1):
                matched[at_right[text]] = at_left[text]
        left, right = left - set(matched.values()), right - set(matched)
        if not left or not right:
            break
    return matched


def _unique(ids: Sequence[str], chosen: set[int], key: Callable[[str], str]) -> dict[str, int]:
    positions: dict[str, list[int]] = defaultdict(list)
    for index in chosen:
        positions[key(ids[index])].append(index)
    return {text: found[0] for text, found in positions.items() if len(found) == 1}


def _counts(ids: Sequence[str], key: Callable[[str], str]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for video_id in ids:
        counts[key(video_id)] += 1
    return counts


def join_scores(
    parts: Sequence[Scores],
    *,
    names: Sequence[str] | None = None,
    reorder: bool = False,
    keep_fused: bool = False,
) -> tuple[Scores, JoinReport]:
    """Put the streams of several score files side by side, for the videos that all of them have.

    Ids, order, groups and classes are the first file's. Streams of the same name get their file's name before them
    (`file:stream`). Probabilities meet logits as their logarithm, which is logits of the same probabilities.

    Args:
        parts: two or more scores; one alone is checked and returned.
        names: what to call the files; by default "1", "2", ….
        reorder: put classes of the same names but another order into the first file's order.
        keep_fused: also take the streams that are a head's own combined prediction. By default only where a file
            holds no other.

    Returns:
        the joined scores, and what found no partner.

    Raises:
        UsageError: no file; other classes, or another order without `reorder`; ids that repeat; NaN or infinite
            scores; labels that disagree on a video, or what is training and what test; another split; no video in
            common.
    """
    if not parts:
        raise UsageError("no scores to join")
    called = [str(name) for name in (names or range(1, len(parts) + 1))]
    if len(set(called)) < len(called):
        called = [f"{name}#{number}" for number, name in enumerate(called, 1)]
    for name, part in zip(called, parts, strict=True):
        try:
            check_scores(part)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error
    first = parts[0]
    notes: list[str] = []
    aligned = [
        _same_classes(first, part, called[0], name, reorder, notes) for name, part in zip(called, parts, strict=True)
    ]
    matches = [match_ids(first.ids.tolist(), part.ids.tolist()) for part in aligned]
    partner = [{mine: theirs for theirs, mine in match.items()} for match in matches]
    common = np.array([index for index in range(len(first.ids)) if all(index in found for found in partner)], np.intp)
    unmatched = {
        name: [
            str(part.ids[index]) for index in range(len(part.ids)) if match.get(index, -1) not in set(common.tolist())
        ]
        for name, part, match in zip(called, aligned, matches, strict=True)
    }
    if not len(common):
        shown = "; ".join(f"{name}: {', '.join(ids[:10])}" for name, ids in unmatched.items())
        raise UsageError(f"the score files share no video ({shown})")
    rows = [np.array([found[index] for index in common.tolist()], np.intp) for found in partner]
    _agree(aligned, rows, called, notes)
    streams, fused = _side_by_side(aligned, rows, called, keep_fused)
    joined = Scores(
        ids=first.ids[rows[0]],
        labels=first.labels[rows[0]],
        groups=first.groups[rows[0]],
        class_names=first.class_names,
        streams=streams,
        kind=first.kind if len({part.kind for part in parts}) == 1 else "logits",
        split=first.split,
        fold=first.fold[rows[0]],
        head="+".join(dict.fromkeys(part.head for part in parts if part.head)),
        dataset=first.dataset,
        provenance={"joined": [{"name": name, **part.provenance} for name, part in zip(called, parts, strict=True)]}
        if len(parts) > 1
        else first.provenance,
        fused=fused,
    )
    loose = {
        index
        for part, row in zip(aligned, rows, strict=True)
        for index, there in enumerate(row.tolist())
        if part.ids[there] != joined.ids[index]
    }
    return joined, JoinReport(len(common), len(loose), unmatched, notes)


def _same_classes(first: Scores, part: Scores, called: str, name: str, reorder: bool, notes: list[str]) -> Scores:
    """`part` with its classes in the order of `first`."""
    if part.class_names == first.class_names:
        return part
    if set(part.class_names) != set(first.class_names):
        only = sorted(set(part.class_names) ^ set(first.class_names))[:10]
        raise UsageError(
            f"{name}: {len(part.class_names)} classes, {called} has {len(first.class_names)}; "
            f"not in both: {', '.join(only)}"
        )
    if not reorder:
        raise UsageError(f"{name}: the classes of {called} in another order; --reorder puts them in its order")
    notes.append(f"{name}: classes put into the order of {called}")
    return reordered(part, first.class_names)


def reordered(scores: Scores, class_names: tuple[str, ...]) -> Scores:
    """Scores with their classes, the same set, in another order."""
    columns = np.array([scores.class_names.index(name) for name in class_names], np.intp)
    number = np.argsort(columns)  # old class number → new
    values: dict[str, Any] = {**vars(scores), "class_names": class_names, "labels": number[scores.labels]}
    values["streams"] = {name: stream[:, columns] for name, stream in scores.streams.items()}
    return Scores(**values)


def _agree(parts: Sequence[Scores], rows: Sequence[Any], called: Sequence[str], notes: list[str]) -> None:
    """Raise UsageError where files contradict the first one on a video they share."""
    first = parts[0]
    ids = first.ids[rows[0]]
    for name, part, row in zip(called, parts, rows, strict=True):
        if part.split and first.split and part.split != first.split:
            raise UsageError(f"{name}: scores of split {part.split}, {called[0]} has split {first.split}")
        for what, mine, theirs in (
            ("labels", first.labels[rows[0]], part.labels[row]),
            ("parts (training, test)", first.fold[rows[0]] >= 0, part.fold[row] >= 0),
        ):
            differing = np.flatnonzero(mine != theirs)
            if len(differing):
                at = differing[0]
                raise UsageError(
                    f"{name}: {what} that differ from {called[0]} for {len(differing)} videos, first {ids[at]} "
                    f"({mine[at]} and {theirs[at]})"
                )
        if (first.fold[rows[0]] != part.fold[row]).any():
            notes.append(f"{name}: its out-of-fold scores come from other folds than those of {called[0]}")


def _side_by_side(
    parts: Sequence[Scores], rows: Sequence[Any], called: Sequence[str], keep_fused: bool
) -> tuple[dict[str, Any], str | None]:
    """All streams of all files, renamed where names meet; and the fused one if there is exactly one file."""
    mixed = len({part.kind for part in parts}) > 1
    # A head's own combination is no stream of its own beside its parts.
    taken = [
        [stream for stream in part.streams if keep_fused or len(parts) == 1 or stream != part.fused] or [*part.streams]
        for part in parts
    ]
    counts: dict[str, int] = defaultdict(int)
    for stream in (stream for chosen in taken for stream in chosen):
        counts[stream] += 1
    streams: dict[str, Any] = {}
    for name, part, row, chosen_streams in zip(called, parts, rows, taken, strict=True):
        for stream in chosen_streams:
            values = part.streams[stream]
            chosen = values[row].astype(np.float32)
            if mixed and part.kind == "probabilities":
                chosen = np.log(np.maximum(chosen, np.finfo(np.float32).tiny))
            streams[stream if counts[stream] == 1 else f"{name}:{stream}"] = chosen
    return streams, parts[0].fused if len(parts) == 1 else None
