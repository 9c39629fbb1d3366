"""The queue: the parts of a store, one a stream, that are written together, a shard of each at one claim."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from avr.core import Busy, UsageError
from avr.datasets import Dataset
from avr.store import FeatureStore, ShardWriter, StoreWriter, check_part, describe_parts

from .extractor import Extractor
from .networks import Networks
from .settings import Settings
from .task import OnStep, Step, Task

LOOK = 0.5  # seconds between two looks for a shard that another worker has left

Shards = dict[str, ShardWriter]  # stream -> its shard of the same number


class Queue(AbstractContextManager["Queue"]):
    """The parts of a store that hold some streams, begun or joined. Left, it writes the index of those that are whole.

    Args:
        store: the store's folder.
        dataset: whose videos.
        about: stream -> arrays, and provenance with the settings, as `avr.store.StoreWriter` takes them.
        shard_videos: videos a shard, the same of every part.

    Raises:
        UsageError: a part was begun with other settings or another data set; says which differ.
        WorkError: the folder cannot be written.
    """

    def __init__(
        self, store: Path, dataset: Dataset, about: Mapping[str, Mapping[str, Any]], *, shard_videos: int
    ) -> None:
        with ExitStack() as stack:
            self.parts = {
                name: stack.enter_context(StoreWriter(store / name, dataset, shard_videos=shard_videos, **own))
                for name, own in about.items()
            }
            self._closing = stack.pop_all()

    def __exit__(self, *raised: Any) -> None:
        self._closing.__exit__(*raised)

    def missing(self) -> list[int]:
        """Numbers of the shards that some part lacks."""
        return sorted({number for part in self.parts.values() for number in part.missing()})

    def claim_next(self) -> Shards | None:
        """The first shards of one number that parts lack and that nobody is at work on; None: there is none now."""
        lacking = {name: {*part.missing()} for name, part in self.parts.items()}
        for number in sorted(set().union(*lacking.values())):
            claimed: Shards = {}
            for name, part in self.parts.items():
                if number in lacking[name] and (shard := part.claim(number)) is not None:
                    claimed[name] = shard
            if claimed:
                return claimed
        return None


def about(extractor: Extractor) -> dict[str, dict[str, Any]]:
    """What a store keeps of how an extractor makes each stream: for `open_queue`; it can be pickled."""
    shapes, files = extractor.networks.shapes, extractor.networks.files
    told = {}
    for name, settings in extractor.settings.items():
        own = {stream: file for stream, file in files.items() if stream == name}
        told[name] = {"arrays": shapes[name], "provenance": {"settings": settings.to_dict(), "weights_files": own}}
    return told


def open_queue(task: Task, about: Mapping[str, Mapping[str, Any]]) -> Queue:
    """The queue of a task, begun or joined, of `about(extractor)`. Raises as `Queue`."""
    parts = {}
    for name, own in about.items():
        provenance = {**own["provenance"], **task.made_with}
        if provenance["settings"].get("runtime") == "openvino":
            provenance["versions"] = provenance["versions"] | {"openvino": version("openvino")}
        parts[name] = {"arrays": own["arrays"], "provenance": provenance}
    return Queue(task.store, task.dataset, parts, shard_videos=task.running.shard_videos)


def empty_queue(
    queue: Queue, write: Callable[[Iterator[Shards]], dict[str, Busy]], *, on_step: OnStep
) -> dict[str, Busy]:
    """Claim and write shards until all are there; where others hold the last ones, wait for them or for their death.

    `write` takes claimed shards one by one, and gives how long each stage was busy.
    """

    def claims() -> Iterator[Shards]:
        while (shards := queue.claim_next()) is not None:
            on_step(Step(number_of(shards)))
            yield shards

    busy: dict[str, Busy] = {}
    while queue.missing():
        claimed = claims()
        first = next(claimed, None)
        if first is None:
            time.sleep(LOOK)
        else:
            for name, more in write(chain([first], claimed)).items():
                busy.setdefault(name, Busy(more.threads)).seconds += more.seconds
    return busy


def number_of(shards: Shards) -> int:
    """The number that all of them have."""
    return next(iter(shards.values())).number


def release(shards: Iterable[ShardWriter]) -> None:
    """Give shards up, written or not."""
    for shard in shards:
        shard.release()


def join_parts(out: Path, dataset: Dataset, networks: Networks, shard_videos: int) -> dict[str, int]:
    """Hold new streams against those that the store has; gives videos a shard of each.

    Raises:
        UsageError: the store holds other videos, or its streams have other views.
    """
    there = {stream: plan for plan in describe_parts(out).values() if plan for stream in plan.streams}
    for name, settings in networks.settings.items():
        check_part(out, name, dataset)
        for other, plan in there.items():
            rows = _rows_of(out, other, plan.settings) if other != name else ""
            if rows and rows != settings.rows:
                raise UsageError(
                    f"{out}: its stream {other} has {rows} a video, {name} would have {settings.rows}: heads read "
                    "streams view by view, so ask for the same views and crops, or choose another --out"
                )
    begun = {name: there[name].shard_videos for name in networks.settings if name in there}
    size = shard_videos or next(iter(begun.values()), 0) or choose_shard_videos(networks)
    return {name: shard_videos or begun.get(name, size) for name in networks.settings}


def _rows_of(out: Path, stream: str, kept: Mapping[str, Any]) -> str:
    """Which rows a video has in a part that is there: by its settings, or, where avr did not make it, as it is."""
    try:
        return Settings.from_dict(kept, stream).rows
    except UsageError:
        with FeatureStore(out, streams=[stream]) as store:
            counts = sorted({*store.views.tolist()})
        return f"{' to '.join(map(str, counts))} view{'s' * (counts != [1])}" if counts else ""


def expected_bytes(networks: Networks, num_videos: int) -> int:
    """Bytes of features that a store of so many videos will hold; of plan clips, at most."""
    total = 0
    for name, settings in networks.settings.items():
        row = sum(2 * math.prod(shape) for shape in networks.shapes[name].values())
        total += row * settings.views * settings.crops_a_view * num_videos
    return total


def choose_shard_videos(networks: Networks) -> int:
    """Videos a shard, so that it weighs about 64 MB: 1 to 64. It is what a crash costs, and what workers share out."""
    return max(1, min(64, (1 << 26) // max(1, expected_bytes(networks, 1))))
