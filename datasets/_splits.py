"""Splits: one by its name; and where there are no official ones, drawn by group or k folds, from a seed, balanced.

Or drawn by video, as some papers do (`by=video`).
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from avr.core import About, PositiveInt, Range, UsageError, first_few, note, warn

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
        by: "group" keeps groups whole. "video" draws videos alone, class by class, in splits named "video-1", …, and in
            place of given ones too: clips of one scene are then on both sides, and figures higher than on new scenes.
        seed: of folds and draws.
    """

    folds: Annotated[int | None, About("splits 1 … K instead, each video tested in one, groups whole: folds=5")] = None
    test_share: Annotated[float, Range(above=0, below=1), About("of each class in a drawn split: test_share=0.2")] = 0.3
    num_splits: Annotated[PositiveInt, About("that are drawn: num_splits=3")] = 1
    by: Annotated[Literal["group", "video"], About("what is drawn; video puts clips of one scene on both sides")] = (
        "group"
    )
    seed: Annotated[int, About("of folds and drawn splits: seed=1")] = 0


def group_splits(videos: Sequence[Video], tests: Mapping[str, Container[str]]) -> dict[str, Split]:
    """Splits by name whose test videos are those of some groups; all others train."""
    tested = {name: {video.id for video in videos if video.group in groups} for name, groups in tests.items()}
    return {name: _split(name, videos, test) for name, test in tested.items()}


def _split(name: str, videos: Sequence[Video], test: Container[str]) -> Split:
    """The split whose test videos are those of some ids."""
    ids = [video.id for video in videos]
    return Split(name, tuple(one for one in ids if one not in test), tuple(one for one in ids if one in test))


def draw_groups(videos: Sequence[Video], *, test_share: float, seed: int) -> set[str]:
    """Groups that test, so that each class has about `test_share` of its videos in test.

    Groups are taken in an order that depends on the seed and their names alone (so that a video more or less moves few
    others), and each goes to test where that brings the classes' test counts closer to their shares.

    Raises:
        UsageError: one side came out empty.
    """
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
    if len(test_groups) in (0, len(members)):
        hint = "; try another test_share, or folds=2" if len(members) > 1 else ""
        raise UsageError(
            f"{len(videos)} videos in {len(members)} groups cannot be split by group: one side is empty{hint}"
        )
    return test_groups


def draw_videos(videos: Sequence[Video], *, test_share: float, seed: int) -> set[str]:
    """Ids of the videos that test: of each class `test_share`, rounded, in an order of the seed and their ids alone.

    Raises:
        UsageError: one side came out empty.
    """
    by_class: dict[int, list[str]] = defaultdict(list)
    for video in videos:
        by_class[video.label].append(video.id)
    test = set[str]()
    for ids in by_class.values():
        ids.sort(key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
        test.update(ids[: round(test_share * len(ids))])
    if len(test) in (0, len(videos)):
        raise UsageError(f"{len(videos)} videos cannot be split: one side is empty; try another test_share")
    return test


def fold_groups(dataset: Dataset, *, folds: int, seed: int) -> list[set[str]]:
    """The groups that test in each fold: every group in one, classes even."""
    import numpy as np

    from avr.core import grouped_folds

    videos = dataset.videos
    groups = [video.group for video in videos]
    count = len(set(groups))
    if folds < 2 or count < folds:
        raise UsageError(
            f"{dataset.name}: folds={folds} is not possible: its {len(videos)} videos are of {count} "
            f"group{'s' * (count != 1)}; at least 2 folds, and a group for each"
        )
    labels = np.array([video.label for video in videos])
    fold_of = grouped_folds(labels, groups=np.array(groups), folds=folds, seed=seed).tolist()
    return [{group for group, own in zip(groups, fold_of, strict=True) if own == fold} for fold in range(folds)]


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
    if drawing.by == "video":
        if drawing.folds is not None:
            raise UsageError(f"folds={drawing.folds} keeps groups whole: leave by=video out, or folds")
        draws: dict[str, Split] = {}
        for number in range(drawing.num_splits):
            name, seed = f"video-{number + 1}", drawing.seed + number
            test = draw_videos(dataset.videos, test_share=drawing.test_share, seed=seed)
            draws[name] = _split(name, dataset.videos, test)
        _say_shared(replace(dataset, splits=draws))
        return draws
    if drawing.folds is not None:
        if idle:
            raise UsageError(f"folds={drawing.folds} says all of the splits: leave {idle} out")
        _say_single(dataset)
        tests = fold_groups(dataset, folds=drawing.folds, seed=drawing.seed)
        return group_splits(dataset.videos, {str(number): groups for number, groups in enumerate(tests, 1)})
    if dataset.splits:
        if idle:
            raise UsageError(
                f"the splits of {dataset.name} are given, not drawn: leave {idle} out, or take folds=K instead"
            )
        _say_shared(dataset)
        return dataset.splits
    _say_single(dataset)
    drawn = {
        str(number + 1): draw_groups(dataset.videos, test_share=drawing.test_share, seed=drawing.seed + number)
        for number in range(drawing.num_splits)
    }
    return group_splits(dataset.videos, drawn)


def _say_single(dataset: Dataset) -> None:
    """Warn of classes of one group: where it tests, nothing of the class trains."""
    groups: dict[int, set[str]] = {}
    for video in dataset.videos:
        groups.setdefault(video.label, set()).add(video.group)
    single = [dataset.class_names[label] for label, of_class in sorted(groups.items()) if len(of_class) == 1]
    if single:
        warn(
            f"{dataset.name}: all videos of {first_few(single)} are of one group, so where they test, nothing of their "
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
