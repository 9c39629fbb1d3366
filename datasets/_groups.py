"""Groups read out of video ids by a pattern that the user gives."""

import re
from collections.abc import Sequence

from avr.core import UsageError, note


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
