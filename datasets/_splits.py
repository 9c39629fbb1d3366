"""Splits: one by its name; and where there are no official ones, drawn by group or k folds, from a seed, balanced."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from avr.core import About, UsageError, note, warn

from ._files import first_of
from ._types import Dataset, Split, Video


@dataclass(frozen=True)
class Drawing:
    """How the splits of a data set are made that has none of its own, or whose own may be replaced by folds.

    A data set's file that allows it says so by `DRAWING = Drawing()`, whose values are the defaults of its options; its
    `index` gives the splits that lists or folders tell, if any.

    Attributes:
        folds: as many splits, named "1", "2", …: in each the videos of one fold test and all others train.
        test_share: share of the videos that test, about, in each class of a drawn split.
        num_splits: how many splits are drawn, named "1", "2", …, from seed, seed + 1, ….
        seed: of folds and draws.
    """

    folds: Annotated[int | None, About("splits 1 … K instead, each video tested in one, groups whole: folds=5")] = None
    test_share: Annotated[float, About("of each class in a drawn split: test_share=0.2")] = 0.3
    num_splits: Annotated[int, About("that are drawn: num_splits=3")] = 1
    seed: Annotated[int, About("of folds and drawn splits: seed=1")] = 0


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
        hint = "; try another test_share, or folds=2" if len(members) > 1 else ""
        raise UsageError(
            f"{len(videos)} videos in {len(members)} groups cannot be split by group: one side is empty{hint}"
        )
    return split


def split_of_groups(videos: Sequence[Video], name: str, test_groups: Container[str]) -> Split:
    """The split whose test videos are those of some groups; all others train."""
    return Split(
        name,
        train=tuple(video.id for video in videos if video.group not in test_groups),
        test=tuple(video.id for video in videos if video.group in test_groups),
    )


def make_splits(dataset: Dataset, drawing: Drawing, given: Collection[str] = ()) -> dict[str, Split]:
    """The splits of a data set: k folds where they are asked for, or else those that it has, or else drawn ones.

    Args:
        dataset: with the splits that its lists or folders tell, if they do.
        drawing: how.
        given: the options that the user gave.

    Raises:
        UsageError: options that do not go together, fewer groups than folds, or one side of a split came out empty.
    """
    unread = ("num_splits", "test_share", *(("seed",) if drawing.folds is None else ()))
    idle = ", ".join(option for option in unread if option in given)
    if drawing.folds is not None:
        if idle:
            raise UsageError(f"folds={drawing.folds} says all of the splits: leave {idle} out")
        _say_single(dataset)
        return fold_splits(dataset, folds=drawing.folds, seed=drawing.seed)
    if dataset.splits:
        if idle:
            raise UsageError(
                f"the splits of {dataset.name} are given, not drawn: leave {idle} out, or take folds=K instead"
            )
        _say_shared(dataset)
        return dataset.splits
    if drawing.num_splits < 1:
        raise UsageError(f"{drawing.num_splits} splits were asked for; at least one is needed")
    _say_single(dataset)
    names = {str(number + 1): drawing.seed + number for number in range(drawing.num_splits)}
    return {
        name: split_by_group(dataset.videos, name=name, test_share=drawing.test_share, seed=seed)
        for name, seed in names.items()
    }


def fold_splits(dataset: Dataset, *, folds: int, seed: int = 0) -> dict[str, Split]:
    """Splits "1" … as many as folds: each video tests in one and trains in the others, groups whole, classes even."""
    import numpy as np

    from avr.core import grouped_folds

    videos = dataset.videos
    groups = np.array([video.group for video in videos])
    count = len(set(groups.tolist()))
    if folds < 2 or count < folds:
        raise UsageError(
            f"{dataset.name}: folds={folds} is not possible: its {len(videos)} videos are of {count} "
            f"group{'s' * (count != 1)}; at least 2 folds, and a group for each"
        )
    fold_of = grouped_folds(np.array([video.label for video in videos]), groups=groups, folds=folds, seed=seed).tolist()
    ids = [[video.id for video, own in zip(videos, fold_of, strict=True) if own == fold] for fold in range(folds)]
    return splits_of_folds({str(fold + 1): members for fold, members in enumerate(ids)}, [video.id for video in videos])


def splits_of_folds(folds: Mapping[str, Collection[str]], ids: Iterable[str]) -> dict[str, Split]:
    """One split a fold, of its name: the fold's videos test, all others of the ids train."""
    order, members = list(ids), {name: set(videos) for name, videos in folds.items()}
    return {
        name: Split(name, tuple(i for i in order if i not in tested), tuple(i for i in order if i in tested))
        for name, tested in members.items()
    }


def _say_single(dataset: Dataset) -> None:
    """Warn of classes of one group: where it tests, nothing of the class trains."""
    groups: dict[int, set[str]] = {}
    for video in dataset.videos:
        groups.setdefault(video.label, set()).add(video.group)
    single = [dataset.class_names[label] for label, of_class in sorted(groups.items()) if len(of_class) == 1]
    if single:
        warn(
            f"{dataset.name}: all videos of {first_of(single)} are of one group, so where they test, nothing of their "
            "class trains"
        )


def _say_shared(dataset: Dataset) -> None:
    """Note where groups have videos on both sides of given splits, which makes their figures flatter."""
    group = {video.id: video.group for video in dataset.videos}
    for split in dataset.splits.values():
        both = sorted({group[video] for video in split.train} & {group[video] for video in split.test})
        if both:
            which = f", split {split.name}" if len(dataset.splits) > 1 else ""
            have = "group has" if len(both) == 1 else "groups have"
            note(f"{dataset.name}{which}: {len(both)} {have} videos in train and test, first {both[0]!r}")


def say_empty(dataset: Dataset) -> None:
    """Warn of splits that train on nothing, or test nothing."""
    for split in dataset.splits.values():
        if not split.train or not split.test:
            sides = f"{len(split.train)} videos train and {len(split.test)} test"
            warn(f"{dataset.name}, split {split.name}: {sides}; a list lacks, or its videos (folds=K splits all)")


def by_number(names: Iterable[str]) -> list[str]:
    """Names of splits in order, those that are numbers by their number: "2" before "10"."""
    return sorted(set(names), key=lambda name: (not name.isdecimal(), len(name) if name.isdecimal() else 0, name))


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
