"""What a store knows beside its numbers: the videos, classes and splits, the settings, the arrays' shapes."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError
from avr.store.directory import Tables, utf8

RESERVED = "index"  # the group that holds all tables; no stream may be called so
ARRAY_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
OUTSIDE, TRAIN, TEST = 0, 1, 2  # a video's part in a split


class VideoLike(Protocol):
    """What the store needs of a video (`avr.datasets.Video` has it)."""

    @property
    def id(self) -> str: ...
    @property
    def path(self) -> Any: ...
    @property
    def label(self) -> int: ...
    @property
    def group(self) -> str: ...


class SplitLike(Protocol):
    """Ids of a split's two parts."""

    @property
    def train(self) -> Collection[str]: ...
    @property
    def test(self) -> Collection[str]: ...


class DatasetLike(Protocol):
    """What the store needs of a data set (`avr.datasets.Dataset` has it)."""

    @property
    def name(self) -> str: ...
    @property
    def class_names(self) -> Sequence[str]: ...
    @property
    def videos(self) -> Sequence[Any]: ...
    @property
    def splits(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Plan:
    """All that is fixed before the first feature is written.

    Attributes:
        dataset: the data set's name.
        class_names: K names; a label is a position in them.
        split_names: names of the splits.
        ids: M videos, in the order that the shards follow.
        paths: where each video was found.
        labels: (M,) int64.
        groups: (M,) str.
        splits: (M, splits) int8: 0 outside, 1 train, 2 test.
        arrays: "stream/layer" to the shape of one view, such as {"rgb/pooled": (7, 2048)}.
        shard_videos: videos a shard; shard i holds videos i·n … (i+1)·n − 1.
        compression: None, or the name of an HDF5 filter.
        provenance: how the features were made; "settings" in it must be equal for a run to be continued.
    """

    dataset: str
    class_names: tuple[str, ...]
    split_names: tuple[str, ...]
    ids: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    groups: tuple[str, ...]
    splits: NDArray[np.int8]
    arrays: dict[str, tuple[int, ...]]
    shard_videos: int
    compression: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def num_shards(self) -> int:
        return -(-len(self.ids) // self.shard_videos)

    def shard_slice(self, number: int) -> slice:
        """Positions of the videos of one shard."""
        return slice(number * self.shard_videos, min((number + 1) * self.shard_videos, len(self.ids)))


def plan_of(
    dataset: DatasetLike,
    *,
    arrays: Mapping[str, Sequence[int]],
    provenance: Mapping[str, Any],
    shard_videos: int,
    compression: str | None = None,
) -> Plan:
    """The plan of a data set's store.

    Raises:
        UsageError: ids that repeat, labels without a class, a bad array name or shape.
    """
    ids = tuple(str(video.id) for video in dataset.videos)
    labels = np.array([video.label for video in dataset.videos], dtype=np.int64)
    position = {video: index for index, video in enumerate(ids)}
    if len(position) != len(ids):
        repeated = [video for index, video in enumerate(ids) if position[video] != index]
        raise UsageError(f"{dataset.name}: {len(repeated)} ids repeat, first {', '.join(repeated[:3])}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(dataset.class_names)):
        raise UsageError(f"{dataset.name}: labels outside its {len(dataset.class_names)} classes")
    splits = np.zeros((len(ids), len(dataset.splits)), dtype=np.int8)
    for column, split in enumerate(dataset.splits.values()):
        for part, members in ((TRAIN, split.train), (TEST, split.test)):
            splits[[position[video] for video in members if video in position], column] = part
    for name, shape in arrays.items():
        check_array(name, shape)
    bad = [video for video in ids if not video or "\0" in video]
    if bad:
        raise UsageError(f"{dataset.name}: an id is empty or holds a zero byte: {bad[0]!r}")
    return Plan(
        dataset=dataset.name,
        class_names=tuple(dataset.class_names),
        split_names=tuple(dataset.splits),
        ids=ids,
        paths=tuple(str(video.path) for video in dataset.videos),
        labels=labels,
        groups=tuple(str(video.group) for video in dataset.videos),
        splits=splits,
        arrays={name: tuple(int(side) for side in shape) for name, shape in sorted(arrays.items())},
        shard_videos=shard_videos,
        compression=compression,
        provenance=json.loads(json.dumps(dict(provenance), sort_keys=True, default=str)),
    )


def check_array(name: str, shape: Sequence[int]) -> None:
    """Raise UsageError unless `name` is "stream/layer" and `shape` the shape of one view."""
    if not ARRAY_NAME.fullmatch(name) or len(name) > 200 or name.startswith(f"{RESERVED}/"):
        raise UsageError(
            f"array name {name!r}: write 'stream/layer' in letters, digits, '_', '-', '.'; no stream '{RESERVED}'"
        )
    if not shape or any(int(side) < 1 for side in shape):
        raise UsageError(f"array {name}: shape {tuple(shape)} of a view is not positive")


def write_plan(file: h5py.File, plan: Plan, keep: NDArray[np.intp] | None = None) -> h5py.Group:
    """Write a plan's tables to `/index`, all videos or those at the positions `keep`; return the group."""
    group = file.create_group(RESERVED)
    chosen = np.arange(len(plan.ids)) if keep is None else keep
    videos = group.create_group("videos")
    for name, column in (("id", plan.ids), ("path", plan.paths), ("group", plan.groups)):
        videos.create_dataset(name, **utf8([column[index] for index in chosen]), track_times=False)
    videos.create_dataset("label", data=plan.labels[chosen].astype("<i8"), track_times=False)
    group.create_dataset("splits", data=plan.splits[chosen].astype("i1"), track_times=False)
    group.create_dataset("split_names", **utf8(plan.split_names), track_times=False)
    group.create_dataset("class_names", **utf8(plan.class_names), track_times=False)
    about = {"dataset": plan.dataset, "shard_videos": plan.shard_videos, "compression": plan.compression}
    about["arrays"] = {name: list(shape) for name, shape in plan.arrays.items()}
    write_json(group, "about", about)
    write_json(group, "provenance", plan.provenance)
    return group


def read_plan(tables: Tables) -> Plan:
    """Read what `write_plan` wrote. Raises whatever a wrong value raises: call it under `file_errors`."""
    about = tables.json("index/about")
    ids = tables.text("index/videos/id")
    plan = Plan(
        dataset=str(about["dataset"]),
        class_names=tables.text("index/class_names"),
        split_names=tables.text("index/split_names"),
        ids=ids,
        paths=tables.text("index/videos/path"),
        labels=tables.numbers("index/videos/label", (len(ids),), "i8"),
        groups=tables.text("index/videos/group"),
        splits=tables.numbers("index/splits", None, "i1"),
        arrays={str(name): tuple(int(side) for side in shape) for name, shape in about["arrays"].items()},
        shard_videos=int(about["shard_videos"]),
        compression=about["compression"],
        provenance=tables.json("index/provenance"),
    )
    if not len(plan.ids) == len(plan.paths) == len(plan.groups) == len(set(plan.ids)):
        raise ValueError("columns of the video table differ in length, or ids repeat")
    if plan.splits.shape != (len(ids), len(plan.split_names)):
        raise ValueError(f"splits has shape {plan.splits.shape}")
    if len(ids) and not (plan.labels.min() >= 0 and plan.labels.max() < len(plan.class_names)):
        raise ValueError("labels without a class name")
    if plan.shard_videos < 1 or not isinstance(plan.provenance, dict):
        raise ValueError("about or provenance holds nonsense")
    for name, shape in plan.arrays.items():
        check_array(name, shape)
    return plan


def write_json(group: h5py.Group, name: str, value: Any) -> None:
    """A value as one JSON text."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
    value = np.array(text, dtype=h5py.string_dtype("utf-8", max(1, len(text))))
    group.create_dataset(name, data=value, track_times=False)
