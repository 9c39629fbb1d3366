"""Shards of videos to shards of a store, all stages at once: decode, flow, resize and crop, networks, write.

A job is one shard: whole videos in the data set's order. Its bytes depend on the settings and its videos alone, so any
worker may do it, and an interrupted one is done anew.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from avr.core import Busy, Stages
from avr.datasets import Video
from avr.store import ShardWriter
from avr.video import Decoded, Decoders, VideoError, decode

from ._joined import compute_flows, groups
from .extractor import Batch, BatchMaker, Extractor, Gathered, Prepared, num_cores


@dataclass(frozen=True)
class Job:
    """One shard to be written: what a worker needs besides the settings and the store's path; it can be pickled."""

    number: int
    videos: tuple[Video, ...]


@dataclass
class Report:
    """What a worker did. `busy` counts seconds of each stage, over `seconds` of wall time."""

    done: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    busy: dict[str, Busy] = field(default_factory=dict)

    def shares(self) -> dict[str, float]:
        """Share of the time that each stage's threads were busy, 0…1."""
        return {name: busy.seconds / max(1e-9, self.seconds * busy.threads) for name, busy in self.busy.items()}


Key = tuple[int, int]  # shard, position in it


@dataclass(frozen=True)
class _Work:
    """One video on its way through the stages; a reason instead of a value once it has failed."""

    key: Key
    video: Video
    last: bool
    value: Any = None
    reason: str = ""

    def then(self, function: Callable[[Any], Any]) -> "_Work":
        if self.reason:
            return self
        try:
            return _Work(self.key, self.video, self.last, function(self.value))
        except VideoError as error:
            return _Work(self.key, self.video, self.last, reason=error.reason)


def write_shards(
    extractor: Extractor, store: Path, jobs: Iterable[Job | None], *, on_video: Callable[[str, str], None] | None = None
) -> Report:
    """Extract jobs and write their shards.

    Args:
        extractor: settings, networks, device.
        store: folder of a store whose plan is there (`avr.store.StoreWriter` makes it and holds its lock).
        jobs: taken one by one, a little ahead of their work; None: nothing at present, ask again.
        on_video: called with each finished video's id and its failure ("" when it went well).

    Raises:
        WorkError: the store cannot be written (a full disk); shards finished before stay.
    """
    report = Report()
    start = time.perf_counter()
    # On the way out: first the decoders are killed, so that no stage waits for them, then the stages end.
    settings, running = extractor.settings, extractor.running
    needs = settings.needs(colour_flow=extractor.colour_flow)
    decoders = Decoders(partial(decode, sampling=settings.sampling, needs=needs), time_limit=running.time_limit)
    with _OneThreadACall(extractor), closing(decoders), Stages() as stages, decoders:
        gathered: dict[Key, Gathered] = {}
        writers: dict[int, ShardWriter] = {}
        report.busy = stages.busy
        write = stages.busy.setdefault("write", Busy(1))
        for result in _results(extractor, stages, decoders, jobs, gathered):
            began = time.perf_counter()
            for work in _finished(result, gathered):
                number = work.key[0]
                shard = writers[number] = writers.get(number) or ShardWriter(store, number)
                _put(shard, work, report)
                if not shard.missing:
                    shard.finish()
                    del writers[number]
                if on_video:
                    on_video(work.video.id, work.reason)
            write.seconds += time.perf_counter() - began
    report.seconds = time.perf_counter() - start
    return report


def _results(
    extractor: Extractor,
    stages: Stages,
    decoders: Decoders[Decoded],
    jobs: Iterable[Job | None],
    gathered: dict[Key, Gathered],
) -> Iterator[tuple[Any, Any]]:
    """The stages, one behind the other; yields what the last one gives: (batch or failed work, outputs)."""
    cuda = extractor.device.type == "cuda"
    count = extractor.running.decoders or max(1, min(8, num_cores() // 2))

    def read(work: _Work) -> _Work:
        return work.then(lambda _: extractor.cached(work.video) or decoders(work.video))

    def flow(work: _Work) -> _Work:
        return work.then(lambda decoded: (decoded, extractor.compute_flow(decoded)))

    def flows(group: list[_Work]) -> list[_Work]:
        found = iter(compute_flows(extractor, [work.value for work in group if not work.reason]))
        return [work.then(lambda decoded: (decoded, next(found))) for work in group]

    def prepare(work: _Work) -> _Work:
        return work.then(lambda value: extractor.prepare(*value))

    def network(item: Any) -> tuple[Any, Any]:
        return item, extractor.forward(item) if isinstance(item, Batch) else None

    works = stages.map("decode", read, _works(jobs, stages), threads=count, ahead=2)
    if extractor.flow is None:
        works = (work.then(lambda decoded: (decoded, None)) for work in works)
    elif extractor.flow.on_device is not None:
        joined = groups(works, pairs=_num_pairs, last=lambda work: work.last)
        works = chain.from_iterable(stages.map("flow", flows, joined, ahead=1))
    else:
        works = stages.map("flow", flow, works, ahead=1)
    prepared = stages.map("resize", prepare, works, ahead=1)
    batches = _batches(prepared, extractor, gathered)
    # On a CPU a call runs on one thread, and calls run side by side: no thread ever waits for another inside a layer,
    # and the sums do not depend on the number of cores.
    threads = 1 if cuda else num_cores()
    return stages.map("network", network, batches, threads=threads, ahead=threads)


def _works(jobs: Iterable[Job | None], stages: Stages) -> Iterator[_Work]:
    for job in jobs:
        if job is None:
            stages.pause()
            continue
        for position, video in enumerate(job.videos):
            yield _Work((job.number, position), video, position == len(job.videos) - 1)


def _num_pairs(work: _Work) -> int:
    return 0 if work.reason else len(work.value.answers["flow"].pairs.firsts)


def _batches(prepared: Iterator[_Work], extractor: Extractor, gathered: dict[Key, Gathered]) -> Iterator[Any]:
    """Batches, and failed videos as they are, in the videos' order; at a shard's end those not full."""
    maker = BatchMaker(extractor)
    for work in prepared:
        if work.reason:
            yield work
        else:
            video: Prepared = work.value
            gathered[work.key] = Gathered(video, extractor.settings)
            label = _Work(work.key, work.video, work.last)
            yield from maker.add(label, video)
        if work.last:
            yield from maker.flush()


def _finished(result: tuple[Any, Any], gathered: dict[Key, Gathered]) -> Iterator[_Work]:
    """Videos that a result completes: failed ones, and those whose last rows have come."""
    item, outputs = result
    if isinstance(item, _Work):
        yield item
        return
    row = 0
    for work, first, count in item.parts:
        video = gathered[work.key]
        video.take(item.stream, first, count, outputs, row)
        row += count
        if not video.missing:
            del gathered[work.key]
            yield _Work(work.key, work.video, work.last, video)


def _put(shard: ShardWriter, work: _Work, report: Report) -> None:
    reason: str | None = work.reason
    if reason:
        shard.fail(work.video.id, reason)
    else:
        video: Gathered = work.value
        reason = shard.add(work.video.id, video.features(), frames=video.num_frames)
        if video.note:
            report.notes.append((work.video.id, video.note))
    if reason:
        report.failures.append((work.video.id, reason))
    else:
        report.done += 1


class _OneThreadACall:
    """On a CPU, torch's own threads are put to one for the time of the run."""

    def __init__(self, extractor: Extractor) -> None:
        self._change = extractor.device.type == "cpu"

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        if self._change:
            torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        if self._change:
            torch.set_num_threads(self._before)
