"""Groups read out of video ids: by the names that a data set gives its clips, or by a pattern that the user gives."""

import re
from collections.abc import Sequence

from avr.core import UsageError, item_names, load_item, note


def groups_by_name(ids: Sequence[str]) -> tuple[list[str], str]:
    """Groups of ids of a data set that is not named, and how they were told, in words.

    The data sets whose names tell where a clip comes from say so by a function `group_of(id)`, None for a name unlike
    theirs; the one that knows most ids, and more than half of them, is taken, so that the groups are those of its own
    index. An id that it does not know is its own group, and so is every id where no data set is found.
    """
    told: dict[str, list[str | None]] = {}
    for name in item_names("avr.datasets"):
        group_of = getattr(load_item("avr.datasets", name, "data set"), "group_of", None)
        if group_of is not None:
            told[name] = [group_of(video_id) for video_id in ids]
    known = {name: sum(group is not None for group in groups) for name, groups in told.items()}
    best = max(known, key=lambda name: known[name])
    if known[best] <= len(ids) / 2:
        return list(ids), "(each video its own: no known pattern in the names)"
    return [group or video_id for video_id, group in zip(ids, told[best], strict=True)], f"from the names of {best}"


def groups_by_pattern(ids: Sequence[str], pattern: str | None) -> list[str]:
    """Group of each id: the pattern's first capture (or whole match); the id itself where it does not match.

    Raises:
        UsageError: the pattern does not compile, or matches none of the ids.
    """
    if pattern is None:
        return list(ids)
    try:
        matches = [re.search(pattern, video_id) for video_id in ids]
    except re.error as error:
        raise UsageError(f"the group pattern {pattern!r} is no regular expression: {error}") from error
    missed = [video_id for video_id, match in zip(ids, matches, strict=True) if match is None]
    if len(missed) == len(ids):
        raise UsageError(f"the group pattern {pattern!r} matches no video, such as {ids[0]!r}")
    if missed:
        note(f"the group pattern misses {len(missed)} of {len(ids)} videos, each its own group: first {missed[0]!r}")
    return [
        video_id if match is None else (match.group(1) if match.re.groups else match.group()) or video_id
        for video_id, match in zip(ids, matches, strict=True)
    ]
