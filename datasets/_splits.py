"""Splits: one by its name; and where there are no official ones, by group, repeatable from a seed, balanced."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Container, Sequence

from avr.core import UsageError

from ._types import Dataset, Split, Video


def split_by_group(videos: Sequence[Video], *, name: str = "1", test_share: float = 0.3, seed: int = 0) -> Split:
    """Part the videos so that no group is on both sides and each class has about `test_share` of its videos in test.

    Groups are taken in an order that depends on the seed and their names alone (so that a video more or less moves few
    others), and each goes to test where that brings the classes' test counts closer to their shares.

    Raises:
        UsageError: the share is not between 0 and 1, or one side came out empty.
    """
    if not 0 < test_share < 1:
        raise UsageError(f"the test share is {test_share}; it must lie between 0 and 1")
    sizes = Counter(video.label for video in videos)
    members: dict[str, Counter[int]] = defaultdict(Counter)
    for video in videos:
        members[video.group][video.label] += 1
    lacking = {label: test_share * size for label, size in sizes.items()}
    test_groups = set()
    for group in sorted(members, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest()):
        # Change of the summed squared error, each class weighted by 1 / size, if the group went to test.
        gain = sum(count * (2 * lacking[label] - count) / sizes[label] for label, count in members[group].items())
        if gain > 0:
            test_groups.add(group)
            for label, count in members[group].items():
                lacking[label] -= count
    split = split_of_groups(videos, name, test_groups)
    if not split.train or not split.test:
        raise UsageError(f"{len(videos)} videos in {len(members)} groups cannot be split by group: one side is empty")
    return split


def split_of_groups(videos: Sequence[Video], name: str, test_groups: Container[str]) -> Split:
    """The split whose test videos are those of some groups; all others train."""
    return Split(
        name,
        train=tuple(video.id for video in videos if video.group not in test_groups),
        test=tuple(video.id for video in videos if video.group in test_groups),
    )


def drawn_splits(videos: Sequence[Video], *, num_splits: int, test_share: float, seed: int) -> dict[str, Split]:
    """`num_splits` draws of `split_by_group`, named "1", "2", …, from seed, seed + 1, …."""
    if num_splits < 1:
        raise UsageError(f"{num_splits} splits were asked for; at least one is needed")
    return {
        str(number + 1): split_by_group(videos, name=str(number + 1), test_share=test_share, seed=seed + number)
        for number in range(num_splits)
    }


def leave_one_group_out(videos: Sequence[Video]) -> dict[str, Split]:
    """One split a group, named after it: the group's videos test, all others train."""
    return {group: split_of_groups(videos, group, {group}) for group in sorted({video.group for video in videos})}


def choose_split(dataset: Dataset, name: str = "") -> Split:
    """A data set's split by name; the first for "".

    Raises:
        UsageError: no such split; the known ones are listed.
    """
    if not dataset.splits:
        raise UsageError(f"{dataset.name} has no splits, and so no training part")
    if name and name not in dataset.splits:
        raise UsageError(f"{dataset.name} has no split '{name}'; it has {', '.join(dataset.splits)}")
    return dataset.splits[name or next(iter(dataset.splits))]
