"""The plan: what is fixed before the first feature is written, and by what a shard is known to belong to it."""

import hashlib
import json
import math
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, changes
from avr.store.sealed import RESERVED, open_sealed, seal_of, write_sealed
from avr.store.tables import Tables, write_tables

PLAN_NAME = "plan.h5"
ARRAY_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
OUTSIDE, TRAIN, TEST = 0, 1, 2  # a video's part in a split
SHARD_BYTES = 1 << 26  # about what a shard should weigh; what a crash can cost, and what a writer holds in memory
SHARD_VIDEOS = 1024  # at most


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
        provenance: how the features were made; "settings" in it must be equal for a run to be continued.
        seal: SHA-256 of the plan's file, "" where it comes from elsewhere. Older shards name it as their plan.
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
    provenance: dict[str, Any] = field(default_factory=dict)
    seal: str = ""

    @property
    def num_shards(self) -> int:
        return -(-len(self.ids) // self.shard_videos)

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the arrays' streams, sorted."""
        return tuple(sorted({name.split("/")[0] for name in self.arrays}))

    @property
    def settings(self) -> dict[str, Any]:
        """What decides whether a run may be continued."""
        return dict(self.provenance.get("settings") or {})

    @cached_property
    def identity(self) -> str:
        """What a shard must have been made for: SHA-256 of settings, videos, arrays' shapes and shard size.

        Versions, commit and paths are notes: a shard made with others is as good.
        """
        fixed = [self.provenance.get("settings"), self.ids, sorted(self.arrays.items()), self.shard_videos]
        return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()

    def shard(self, number: int, *, but: Container[str] = ()) -> "Plan":
        """The plan of one shard's videos, but for some; of none for a number that there is not."""
        stop = min((number + 1) * self.shard_videos, len(self.ids))
        planned = range(max(0, number) * self.shard_videos, stop)
        return self.take(np.array([index for index in planned if self.ids[index] not in but], dtype=np.intp))

    def take(self, positions: NDArray[np.intp]) -> "Plan":
        """The plan of the videos at these positions."""
        if np.array_equal(positions, np.arange(len(self.ids))):
            return self
        return replace(
            self,
            ids=tuple(self.ids[index] for index in positions),
            paths=tuple(self.paths[index] for index in positions),
            groups=tuple(self.groups[index] for index in positions),
            labels=self.labels[positions],
            splits=self.splits[positions],
        )


def plan_of(
    dataset: Any,
    *,
    arrays: Mapping[str, Sequence[int]],
    provenance: Mapping[str, Any],
    shard_videos: int | None = None,
) -> Plan:
    """The plan of a data set's store; see `StoreWriter`. Raises UsageError for what cannot be one."""
    ids = tuple(str(video.id) for video in dataset.videos)
    labels = np.array([video.label for video in dataset.videos], dtype=np.int64)
    position = {video: index for index, video in enumerate(ids)}
    if len(position) != len(ids):
        repeated = [video for index, video in enumerate(ids) if position[video] != index]
        raise UsageError(f"{dataset.name}: {len(repeated)} ids repeat, first {', '.join(repeated[:3])}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(dataset.class_names)):
        raise UsageError(f"{dataset.name}: labels outside its {len(dataset.class_names)} classes")
    bad = [video for video in ids if not video or "\0" in video]
    if bad:
        raise UsageError(f"{dataset.name}: an id is empty or holds a zero byte: {bad[0]!r}")
    splits = np.zeros((len(ids), len(dataset.splits)), dtype=np.int8)
    for column, split in enumerate(dataset.splits.values()):
        for part, members in ((TRAIN, split.train), (TEST, split.test)):
            splits[[position[video] for video in members if video in position], column] = part
    for name, shape in arrays.items():
        check_array(name, shape)
    video_bytes = sum(2 * math.prod(shape) for shape in arrays.values())
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
        shard_videos=shard_videos or max(1, min(SHARD_VIDEOS, SHARD_BYTES // max(1, video_bytes))),
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


def plan_tables(plan: Plan) -> dict[str, Any]:
    """A plan's tables, as `write_tables` takes them."""
    about = {"dataset": plan.dataset, "shard_videos": plan.shard_videos, "compression": None}
    return {
        "index/videos/id": plan.ids,
        "index/videos/path": plan.paths,
        "index/videos/group": plan.groups,
        "index/videos/label": plan.labels.astype("<i8"),
        "index/splits": plan.splits.astype("i1"),
        "index/split_names": plan.split_names,
        "index/class_names": plan.class_names,
        "index/about": {**about, "arrays": {name: list(shape) for name, shape in plan.arrays.items()}},
        "index/provenance": plan.provenance,
    }


def read_plan(tables: Tables) -> Plan:
    """The plan that `plan_tables` gave. Raises whatever a wrong value raises: call it inside `open_sealed`."""
    about = tables.json("index/about")
    if about.get("compression"):
        raise UsageError(f"a store compressed with {about['compression']}, which avr reads no more: extract it again")
    ids, split_names = tables.text("index/videos/id"), tables.text("index/split_names")
    plan = Plan(
        dataset=str(about["dataset"]),
        class_names=tables.text("index/class_names"),
        split_names=split_names,
        ids=ids,
        paths=tables.text("index/videos/path"),
        labels=tables.numbers("index/videos/label", (len(ids),), "i8"),
        groups=tables.text("index/videos/group"),
        splits=tables.numbers("index/splits", (len(ids), len(split_names)), "i1"),
        arrays={str(name): tuple(int(side) for side in shape) for name, shape in about["arrays"].items()},
        shard_videos=int(about["shard_videos"]),
        provenance=tables.json("index/provenance"),
    )
    if not len(plan.ids) == len(plan.paths) == len(plan.groups) == len(set(plan.ids)):
        raise ValueError("columns of the video table differ in length, or ids repeat")
    if len(ids) and not (plan.labels.min() >= 0 and plan.labels.max() < len(plan.class_names)):
        raise ValueError("labels without a class name")
    if plan.shard_videos < 1 or not isinstance(plan.provenance, dict):
        raise ValueError("about or provenance holds nonsense")
    for name, shape in plan.arrays.items():
        check_array(name, shape)
    return plan


def write_plan(folder: Path, plan: Plan) -> Plan:
    """Write a store's plan; return it as it is read. Raises WorkError where it cannot be written."""
    write_sealed(folder / PLAN_NAME, "plan", lambda file: write_tables(file, plan_tables(plan)))
    return load_plan(folder)


def with_seal(plan: Plan) -> Plan:
    """A plan that comes from elsewhere with the `seal` that its file has, which depends on what is in it alone."""
    return replace(plan, seal=seal_of("plan", lambda file: write_tables(file, plan_tables(plan)))[0].sha256)


def load_plan(folder: Path) -> Plan:
    """A store's plan, from its own file. Raises as `open_sealed`."""
    with open_sealed(Path(folder) / PLAN_NAME, "plan") as (seal, tables):
        return replace(read_plan(tables), seal=seal.sha256)


def plan_changes(old: Plan, new: Plan, *, keep_shard_videos: bool = False) -> list[str]:
    """What keeps a run with plan `new` from continuing one with plan `old`, as "name old → new"."""
    lines = changes(old.provenance.get("settings", {}), new.provenance.get("settings", {}))
    names = ("dataset", "arrays", *(() if keep_shard_videos else ("shard_videos",)))
    lines += changes({name: getattr(old, name) for name in names}, {name: getattr(new, name) for name in names})
    return lines + video_changes(old, new)


def video_changes(old: Plan, new: Plan) -> list[str]:
    """In what the videos of two plans, their labels, groups and splits differ, as "name old → new"."""
    lines = []
    for name in ("class_names", "split_names", "ids", "groups", "labels", "splits"):
        before, after = (np.asarray(getattr(plan, name)).tolist() for plan in (old, new))
        if len(before) != len(after):
            lines.append(f"{name.replace('ids', 'videos')} ({len(before)} → {len(after)})")
        elif before != after:
            first = next(index for index, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1])
            lines.append(f"{name.replace('ids', 'videos')} (number {first}: {before[first]} → {after[first]})")
    return lines
