"""A worker: it claims a shard of each stream, makes them, writes them and takes the next. The store is the queue.

A claim is a lock that the worker's death frees, so a lost worker's shard is taken by another, and any number of workers
may come and go: in this process, in children of it, or in other runs on the same store. Whoever sees every shard there
builds the index.

All stages of the work run at once: decode, images (flow, resized and cropped), networks, write. Behind the decoder
videos go in groups that fill a network call. A group never crosses a shard, and where it ends depends on the shard's
videos alone: so do the shard's bytes, whichever worker has it and however often it was begun.
"""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from avr.core import Busy, Stages
from avr.datasets import Dataset, Video
from avr.video import Answer, Decoded, Decoder, VideoError, decode

from .extractor import Call, Extractor, Features, Group
from .queue import Shards, about, empty_queue, number_of, open_queue
from .running import Running, num_cores
from .task import OnStep, Step, Task


def begin_decoder(running: Running) -> Decoder[Decoded]:
    """A worker's decoder, whose processes start while networks are loaded."""
    decoder = Decoder(decode, time_limit=running.time_limit)
    decoder.begin(0 if running.cache else num_decoders(running))
    return decoder


def work(
    task: Task, extractor: Extractor | None = None, decoder: Decoder[Decoded] | None = None, *, on_step: OnStep
) -> dict[str, Busy]:
    """A worker's whole life: until every shard is there, whoever wrote it; gives how long each stage was busy.

    Args:
        task: the work.
        extractor: of its streams; None loads one.
        decoder: of `begin_decoder`; None begins one.
        on_step: told of each step.

    Raises:
        UsageError: settings that this worker cannot meet, or a store begun with others.
        WorkError: what no other worker would do better: a full disk, weights that are not there.
    """
    decoder = decoder or begin_decoder(task.running)
    extractor = extractor or Extractor(task.streams, running=task.running)
    write = partial(write_shards, extractor, decoder, task.dataset, on_step=on_step)
    with open_queue(task, about(extractor)) as queue:
        return empty_queue(queue, write, on_step=on_step)


class _Work(NamedTuple):
    """One video on its way: decoded for the streams whose shards it goes to, or a reason why not."""

    shards: Shards
    video: Video
    last: bool  # of its shard
    decoded: Decoded | None = None
    reason: str = ""


@dataclass(frozen=True)
class _Part:
    """Consecutive videos of a shard, failed ones among them, the group of the others, and what its calls gave."""

    works: list[_Work]
    crops: Mapping[str, int]  # of a view, by stream
    group: Group
    calls: list[Call | None]  # of videos that all failed, None alone
    outputs: list[Features] = field(default_factory=list)

    def put(self) -> int:
        """Hand the videos to their shards; gives how many failed in one stream or all."""
        features, failed = iter(self.group.features(self.outputs)), 0
        for work in self.works:
            if work.decoded is None:
                for shard in work.shards.values():
                    shard.fail(work.video.id, work.reason)
                failed += 1
                continue
            own, known = next(features), asdict(work.decoded.facts)
            about = {"frames": known.pop("frames"), "note": work.decoded.note, "facts": known}
            reasons = [
                shard.add(
                    work.video.id,
                    {array: rows for array, rows in own.items() if array.startswith(f"{name}/")},
                    shown=self._shown(name, work.decoded.answers[name]),
                    **about,
                )
                for name, shard in work.shards.items()
            ]
            failed += any(reason is not None for reason in reasons)
        return failed

    def _shown(self, stream: str, answer: Answer) -> tuple[NDArray, NDArray]:
        """Frames and seconds of each row."""
        frames, seconds = (np.repeat(shown, self.crops[stream], axis=0) for shown in (answer.numbers, answer.seconds))
        return frames, seconds


def write_shards(
    extractor: Extractor, decoder: Decoder[Decoded], dataset: Dataset, shards: Iterable[Shards], *, on_step: OnStep
) -> dict[str, Busy]:
    """Extract shards, taken a little ahead of their work, and write them; gives how long each stage was busy.

    The decoder's processes are ended on the way out.

    Raises:
        WorkError: the store cannot be written (a full disk); shards written before stay.
    """
    works = (
        _Work(own, dataset.videos[number], last=number == stop - 1)
        for own in shards
        for start, stop in [_places(dataset, own)]
        for number in range(start, stop)
    )
    done: Counter[int] = Counter()
    failed: Counter[int] = Counter()

    def write(item: tuple[_Part, Features]) -> Step | None:
        part, outputs = item
        part.outputs.append(outputs)
        if len(part.outputs) < len(part.calls):
            return None
        own, number = part.works[0].shards, number_of(part.works[0].shards)
        failed[number] += part.put()
        done[number] += len(part.works)
        if part.works[-1].last:
            for shard in own.values():
                shard.finish()
        return Step(number, done[number], failed[number], written=part.works[-1].last)

    # On the way out: first the decoding children are killed, so that no stage waits for them, then the stages end.
    with _one_thread_a_call(extractor), Stages() as stages, decoder:
        for step in stages.map("write", write, _results(extractor, stages, decoder, works)):
            if step is not None:
                on_step(step)
    return stages.busy


def _places(dataset: Dataset, shards: Shards) -> tuple[int, int]:
    """From which video to which shards go."""
    shard = next(iter(shards.values()))
    start = shard.number * shard.plan.shard_videos
    return start, min(start + shard.plan.shard_videos, len(dataset.videos))


def _results(
    extractor: Extractor, stages: Stages, decoder: Decoder[Decoded], works: Iterator[_Work]
) -> Iterator[tuple[_Part, Features]]:
    """The stages, one behind the other; yields what the last one gives, a network call at a time."""

    def read(work: _Work) -> _Work:
        needs = {name: extractor.needs[name] for name in work.shards}
        try:
            return work._replace(decoded=extractor.cached(work.video, needs) or decoder(work.video, needs))
        except VideoError as error:
            return work._replace(reason=error.reason)

    def images(works: list[_Work]) -> _Part:
        group = extractor.prepare(_decoded(works))
        return _Part([_light(work) for work in works], crops, group, [*extractor.calls(group)] or [None])

    def network(item: tuple[_Part, Call | None]) -> tuple[_Part, Features]:
        part, call = item
        return part, extractor.forward(part.group, call) if call else {}

    crops = {name: settings.crops_a_view for name, settings in extractor.settings.items()}
    on_cuda = extractor.device.type == "cuda"
    cores, decoding = num_cores(), num_decoders(extractor.running)
    groups = _groups(extractor, stages.map("decode", read, works, threads=decoding, ahead=2))
    # On a CPU one group is resized and cropped, on one core, while the next one's flow is computed.
    parts = stages.map("images", images, groups, threads=1 if on_cuda else 2, ahead=1)
    calls = ((part, call) for part in parts for call in part.calls)
    # On a CPU a call runs on one thread, and calls run side by side: no thread ever waits for another inside a layer,
    # and the sums do not depend on the number of cores.
    threads = 1 if on_cuda else cores
    return stages.map("network", network, calls, threads=threads, ahead=threads)


def num_decoders(running: Running) -> int:
    """Decoding processes."""
    return running.decoders or max(1, min(8, num_cores() // 2))


def _light(work: _Work) -> _Work:
    """Without frames: they have become crops."""
    if work.decoded is None:
        return work
    bare = np.zeros((0, 0, 0), np.uint8)
    answers = {name: replace(answer, images=bare, ready=None) for name, answer in work.decoded.answers.items()}
    return work._replace(decoded=replace(work.decoded, answers=answers))


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
        if work.last:
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
