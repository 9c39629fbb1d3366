"""Shards of videos to features, all stages at once: decode, images (flow), resize and crop, networks, write.

From images to network, videos go in groups that fill a network call. A group never crosses a shard, and where it ends
depends on the shard's videos alone: so do the shard's bytes, whichever worker has it and however often it was begun.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from avr.core import Busy, Stages
from avr.datasets import Video
from avr.store import ShardWriter
from avr.video import Decoded, Decoder, VideoError, decode

from .extractor import Call, Extractor, Features, Group


@dataclass(frozen=True)
class Step:
    """How far a shard is: how many of its videos are done, how many of these failed, and whether it is written."""

    shard: int
    videos: int = 0
    failed: int = 0
    written: bool = False


OnStep = Callable[[Step], None]


@dataclass(frozen=True)
class _Work:
    """One video on its way: decoded, or a reason why not."""

    shard: ShardWriter
    video: Video
    decoded: Decoded | None = None
    reason: str = ""


_Part = tuple[list[_Work], Group]  # consecutive videos of a shard, failed ones among them, and the group of the others


def write_shards(
    extractor: Extractor, shards: Iterable[ShardWriter], videos: Mapping[str, Video], *, on_step: OnStep
) -> dict[str, Busy]:
    """Extract shards and write them.

    Args:
        extractor: settings, networks, device.
        shards: taken one by one, a little ahead of their work.
        videos: by id.
        on_step: called in this thread after every few videos and with each shard written.

    Returns:
        How long each stage was busy.

    Raises:
        WorkError: the store cannot be written (a full disk); shards written before stay.
    """
    work = partial(decode, sampling=extractor.settings.sampling, needs=extractor.needs)
    decoder = Decoder(work, time_limit=extractor.running.time_limit)
    # On the way out: first the decoding children are killed, so that no stage waits for them, then the stages end.
    with closing(decoder), Stages() as stages, decoder:
        failed: dict[int, int] = {}

        def write(item: tuple[_Part, Call | None, Features]) -> Step | None:
            (works, group), call, outputs = item
            if call is not None:
                group.take(call, outputs)
            if group.missing:
                return None
            shard = works[0].shard
            failed[shard.number] = failed.get(shard.number, 0) + _put(works, group)
            done = len(shard.video_ids) - len(shard.missing)
            if not shard.missing:
                shard.finish()
            return Step(shard.number, done, failed[shard.number], written=not shard.missing)

        results = _results(extractor, stages, decoder, _works(shards, videos))
        for step in stages.map("write", write, results):
            if step is not None:
                on_step(step)
    return stages.busy


def _results(
    extractor: Extractor, stages: Stages, decoder: Decoder[Decoded], works: Iterator[_Work]
) -> Iterator[tuple[_Part, Call | None, Features]]:
    """The stages, one behind the other; yields what the last one gives, a network call at a time."""

    def read(work: _Work) -> _Work:
        try:
            return replace(work, decoded=extractor.cached(work.video) or decoder(work.video))
        except VideoError as error:
            return replace(work, reason=error.reason)

    def images(works: list[_Work]) -> tuple[list[_Work], dict[str, list[Tensor]]]:
        return works, extractor.images(_decoded(works))

    def prepare(item: tuple[list[_Work], dict[str, list[Tensor]]]) -> _Part:
        works, images = item
        group = extractor.prepare(_decoded(works), images)
        # Frames have become crops: let go of them.
        return [replace(work, decoded=work.decoded and replace(work.decoded, answers={})) for work in works], group

    def network(item: tuple[_Part, Call | None]) -> tuple[_Part, Call | None, Features]:
        part, call = item
        return part, call, extractor.forward(part[1], call) if call else {}

    decoding = extractor.running.decoders or max(1, min(8, num_cores() // 2))
    groups = _groups(extractor, stages.map("decode", read, works, threads=decoding, ahead=2))
    parts = stages.map("resize", prepare, stages.map("images", images, groups, ahead=1), ahead=1)
    # On a CPU a call runs on one thread, and calls run side by side: no thread ever waits for another inside a layer,
    # and the sums do not depend on the number of cores.
    threads = 1 if extractor.device.type == "cuda" else num_cores()
    return stages.map("network", network, _calls(parts, extractor.batch_size), threads=threads, ahead=threads)


def _works(shards: Iterable[ShardWriter], videos: Mapping[str, Video]) -> Iterator[_Work]:
    for shard in shards:
        for video in shard.video_ids:
            yield _Work(shard, videos[video])


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


def _calls(parts: Iterable[_Part], batch_size: int) -> Iterator[tuple[_Part, Call | None]]:
    """The calls of each part; None of one whose videos all failed."""
    for part in parts:
        calls = part[1].calls(batch_size)
        yield part, next(calls, None)
        yield from ((part, call) for call in calls)


def _put(works: list[_Work], group: Group) -> int:
    """Hand videos to their shard; gives how many failed."""
    features, failed = iter(group.features()), 0
    for work in works:
        if work.decoded is None:
            work.shard.fail(work.video.id, work.reason)
            failed += 1
        else:
            frames, noted = work.decoded.steps.num_frames, work.decoded.note
            failed += work.shard.add(work.video.id, next(features), frames=frames, note=noted) is not None
    return failed


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
