"""Which video of one list is which of another, by id."""

import re
from collections import Counter
from collections.abc import Callable, Sequence

SUFFIXES = re.compile(r"\.(?:avi|mp4|mkv|webm|mov|mpg|mpeg|m4v|wmv|flv)$", re.IGNORECASE)


def without_suffix(video_id: str) -> str:
    return SUFFIXES.sub("", video_id)


def sanitised(video_id: str) -> str:
    """An id without its suffix, with everything but letters, digits and "/" as "_": what tools do to file names.

    Example: "push/Dodge_-_80_ft.!_push_1.avi" → "push/Dodge___80_ft___push_1".
    """
    return re.sub(r"[^A-Za-z0-9/]", "_", without_suffix(video_id))


def last_part(video_id: str) -> str:
    """The last part of an id so sanitised, without its folders."""
    return sanitised(video_id).rpartition("/")[2]


# From the strictest to the loosest; each is asked only about ids that the ones before left alone.
KEYS: tuple[Callable[[str], str], ...] = (
    lambda video_id: video_id,
    without_suffix,
    sanitised,
    last_part,
)


def match_ids(known: Sequence[str], others: Sequence[str]) -> dict[int, int]:
    """Which of `others` is which of `known`, by position; a key that two videos of a side share matches nothing.

    A looser key is only asked about videos that found no partner by a stricter one.
    """
    matched: dict[int, int] = {}
    left, right = set(range(len(known))), set(range(len(others)))
    for key in KEYS:
        # Alone among all ids of its side, met or not: "a!" is not "a?" because "a?" has met already.
        at_left, at_right = alone(known, key), alone(others, key)
        for text, there in at_right.items():
            if text in at_left and at_left[text] in left and there in right:
                matched[there] = at_left[text]
        left, right = left - set(matched.values()), right - set(matched)
        if not left or not right:
            break
    return matched


def alone(ids: Sequence[str], key: Callable[[str], str]) -> dict[str, int]:
    """Keys that one id alone has, and its position."""
    keys = [key(video_id) for video_id in ids]
    counts = Counter(keys)
    return {text: position for position, text in enumerate(keys) if counts[text] == 1}
