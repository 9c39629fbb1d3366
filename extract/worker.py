"""A worker: it claims a shard of the store, makes it, writes it and takes the next. The store is the queue.

A claim is a lock that the worker's death frees, so a lost worker's shard is taken by another, and any number of workers
may come and go: in this process, in children of it, or in other runs on the same store. Whoever sees every shard there
builds the index.

All stages of the work run at once: decode, images (flow, resized and cropped), networks, write. Behind the decoder
videos go in groups that fill a network call. A group never crosses a shard, and where it ends depends on the shard's
videos alone: so do the shard's bytes, whichever worker has it and however often it was begun.
"""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from avr.core import Busy, Stages, WorkError
from avr.datasets import Dataset, Video
from avr.store import ShardWriter, StoreWriter
from avr.video import Decoded, Decoder, VideoError, decode

from .extractor import Call, Extractor, Features, Group
from .settings import Running, Settings

LOOK = 0.5  # seconds between two looks for a shard that another worker has left


@dataclass(frozen=True)
class Task:
    """What every worker of a run is told; it can be pickled.

    Attributes:
        dataset: whose videos.
        store: absolute path of the store's folder.
        settings: as the user gave them, with the paths of weights files.
        running: device and sizes; videos a shard filled in.
        made_with: versions and commit, kept in the store.
        folder: working directory, against which relative paths of videos and weights are meant.
    """

    dataset: Dataset
    store: Path
    settings: Settings
    running: Running
    made_with: dict[str, Any]
    folder: Path

    def on(self, device: str) -> "Task":
        """The same on a device."""
        return replace(self, running=replace(self.running, device=device))

    def named(self, shard: int) -> str:
        """A shard as a person can find it."""
        return f"shard {shard} ({self.dataset.videos[shard * self.running.shard_videos].id} …)"

    def go_there(self) -> None:
        """Work in the run's folder.

        Raises:
            WorkError: it is not on this machine.
        """
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise WorkError(f"{self.folder}: not on this machine; workers need the run's folder shared") from error


class Step(NamedTuple):
    """How far a shard is: how many of its videos are done, how many of these failed, and whether it is written."""

    shard: int
    videos: int = 0
    failed: int = 0
    written: bool = False


OnStep = Callable[[Step], None]


def work(task: Task, extractor: Extractor | None = None, *, on_step: OnStep) -> dict[str, Busy]:
    """A worker's whole life: until every shard is there, whoever wrote it; gives how long each stage was busy.

    Raises:
        UsageError: settings that this worker cannot meet, or a store begun with others.
        WorkError: what no other worker would do better: a full disk, weights that are not there.
    """
    extractor = extractor or Extractor(task.settings, running=task.running)
    write = partial(write_shards, extractor, task.dataset, on_step=on_step)
    with open_store(task, about(extractor)) as store:
        return empty_queue(store, write, on_step=on_step)


def about(extractor: Extractor) -> dict[str, Any]:
    """What a store keeps of how an extractor makes features: for `open_store`; it can be pickled."""
    files = extractor.networks.files
    return {"arrays": extractor.networks.shapes, "settings": extractor.settings.to_dict(), "weights_files": files}


def open_store(task: Task, about: Mapping[str, Any]) -> StoreWriter:
    """The store of a task, begun or joined, of `about(extractor)`.

    Raises:
        UsageError: it was begun with other settings or another data set; says which differ.
        WorkError: the folder cannot be written.
    """
    provenance = {"settings": about["settings"], "weights_files": about["weights_files"], **task.made_with}
    size = task.running.shard_videos
    return StoreWriter(task.store, task.dataset, arrays=about["arrays"], provenance=provenance, shard_videos=size)


def empty_queue(
    store: StoreWriter, write: Callable[[Iterator[ShardWriter]], dict[str, Busy]], *, on_step: OnStep
) -> dict[str, Busy]:
    """Claim and write shards until all are there; where others hold the last ones, wait for them or for their death.

    `write` takes claimed shards one by one, and gives how long each stage was busy.
    """

    def claims() -> Iterator[ShardWriter]:
        while (shard := store.claim_next()) is not None:
            on_step(Step(shard.number))
            yield shard

    busy: dict[str, Busy] = {}
    while store.missing():
        claimed = claims()
        first = next(claimed, None)
        if first is None:
            time.sleep(LOOK)
        else:
            for name, more in write(chain([first], claimed)).items():
                busy.setdefault(name, Busy(more.threads)).seconds += more.seconds
    return busy


class _Work(NamedTuple):
    """One video on its way: decoded, or a reason why not."""

    shard: ShardWriter
    video: Video
    decoded: Decoded | None = None
    reason: str = ""


@dataclass(frozen=True)
class _Part:
    """Consecutive videos of a shard, failed ones among them, the group of the others, and what its calls gave."""

    works: list[_Work]
    crops: int  # of a view
    group: Group
    calls: list[Call | None]  # of videos that all failed, None alone
    outputs: list[Features] = field(default_factory=list)

    def put(self) -> int:
        """Hand the videos to their shard; gives how many failed."""
        features, failed = iter(self.group.features(self.outputs)), 0
        for shard, video, decoded, why_not in self.works:
            if decoded is None:
                shard.fail(video.id, why_not)
                failed += 1
            else:
                shown = np.repeat(decoded.numbers, self.crops, axis=0), np.repeat(decoded.seconds, self.crops, axis=0)
                known = asdict(decoded.facts)
                frames, own = known.pop("frames"), next(features)
                reason = shard.add(video.id, own, frames=frames, note=decoded.note, facts=known, shown=shown)
                failed += reason is not None
        return failed


def write_shards(
    extractor: Extractor, dataset: Dataset, shards: Iterable[ShardWriter], *, on_step: OnStep
) -> dict[str, Busy]:
    """Extract shards, taken a little ahead of their work, and write them; gives how long each stage was busy.

    Raises:
        WorkError: the store cannot be written (a full disk); shards written before stay.
    """
    videos = {video.id: video for video in dataset.videos}
    works = (_Work(shard, videos[video]) for shard in shards for video in shard.video_ids)
    decoder = Decoder(
        partial(decode, sampling=extractor.settings.sampling, needs=extractor.needs),
        time_limit=extractor.running.time_limit,
    )
    failed: Counter[int] = Counter()

    def write(item: tuple[_Part, Features]) -> Step | None:
        part, outputs = item
        part.outputs.append(outputs)
        if len(part.outputs) < len(part.calls):
            return None
        shard = part.works[0].shard
        failed[shard.number] += part.put()
        done = len(shard.video_ids) - len(shard.missing)
        if not shard.missing:
            shard.finish()
        return Step(shard.number, done, failed[shard.number], written=not shard.missing)

    # On the way out: first the decoding children are killed, so that no stage waits for them, then the stages end.
    with _one_thread_a_call(extractor), Stages() as stages, decoder:
        for step in stages.map("write", write, _results(extractor, stages, decoder, works)):
            if step is not None:
                on_step(step)
    return stages.busy


def _results(
    extractor: Extractor, stages: Stages, decoder: Decoder[Decoded], works: Iterator[_Work]
) -> Iterator[tuple[_Part, Features]]:
    """The stages, one behind the other; yields what the last one gives, a network call at a time."""

    def read(work: _Work) -> _Work:
        try:
            return work._replace(decoded=extractor.cached(work.video) or decoder(work.video))
        except VideoError as error:
            return work._replace(reason=error.reason)

    def images(works: list[_Work]) -> _Part:
        group = extractor.prepare(_decoded(works))
        # Frames have become crops: let go of them.
        works = [work._replace(decoded=work.decoded and replace(work.decoded, answers={})) for work in works]
        return _Part(works, extractor.settings.crops_a_view, group, [*group.calls(extractor.batch_size)] or [None])

    def network(item: tuple[_Part, Call | None]) -> tuple[_Part, Features]:
        part, call = item
        return part, extractor.forward(part.group, call) if call else {}

    on_cuda = extractor.device.type == "cuda"
    cores = num_cores()
    decoding = extractor.running.decoders or max(1, min(8, cores // 2))
    groups = _groups(extractor, stages.map("decode", read, works, threads=decoding, ahead=2))
    # On a CPU one group is resized and cropped, on one core, while the next one's flow is computed.
    parts = stages.map("images", images, groups, threads=1 if on_cuda else 2, ahead=1)
    calls = ((part, call) for part in parts for call in part.calls)
    # On a CPU a call runs on one thread, and calls run side by side: no thread ever waits for another inside a layer,
    # and the sums do not depend on the number of cores.
    threads = 1 if on_cuda else cores
    return stages.map("network", network, calls, threads=threads, ahead=threads)


def _decoded(works: list[_Work]) -> list[Decoded]:
    return [work.decoded for work in works if work.decoded is not None]


def _groups(extractor: Extractor, works: Iterable[_Work]) -> Iterator[list[_Work]]:
    """Videos joined as long as they fit (`Extractor.fits`), to the end of their shard."""
    group: list[_Work] = []
    for work in works:
        if work.decoded is not None and _decoded(group) and not extractor.fits(_decoded([*group, work])):
            yield group
            group = []
        group.append(work)
        if work.video.id == work.shard.video_ids[-1]:
            yield group
            group = []


@contextlib.contextmanager
def _one_thread_a_call(extractor: Extractor) -> Iterator[None]:
    """On a CPU, torch's own threads are put to one inside the block."""
    before = torch.get_num_threads()
    if extractor.device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
