"""The Ray engine: a worker is a task of Ray's, one a GPU, and takes its shards from a desk that the driver fills.

Every machine needs avr, the videos and the store at the same paths (shared storage). The driver alone claims shards and
builds the index, so no lock has to work across machines.
"""

import math
import os
import sys
import traceback
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch

from avr.core import AvrError, Busy, UsageError, WorkError, connect_ray, first_line, go_to, note, one_line
from avr.store import ShardWriter

from .engines import ATTEMPTS, Crew
from .extractor import Extractor
from .queue import LOOK, Shards, about, empty_queue, number_of, open_queue, release
from .running import Running
from .settings import Settings
from .task import OnStep, Step, Task
from .worker import begin_decoder, write_shards

Claim = tuple[int, tuple[str, ...]]  # a shard's number, and the streams that lack it


def run_on_ray(task: Task, workers: int, address: str, *, on_step: OnStep) -> list[dict[str, Busy]]:
    """Extract with one worker a GPU of a Ray cluster; gives how long each one's stages were busy.

    Raises:
        UsageError: Ray is not installed, or there is no cluster at the address.
    """
    ray = connect_ray(address)
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0)) if not task.running.device.startswith("cpu") else 0
    count = max(1, min(workers or gpus or 1, -(-len(task.dataset.videos) // task.running.shard_videos)))
    if gpus and count > gpus:
        raise UsageError(f"{count} workers need a GPU each; the cluster has {gpus}")
    # A process may take one task after another, with the networks that it has (`max_calls`).
    cpus = min(resources.get("CPU", 1) // count, max(node["Resources"].get("CPU", 1) for node in ray.nodes()))
    options: dict[str, Any] = {"num_cpus": 1 if gpus else max(1, int(cpus))}  # no task spans machines
    options |= {"num_gpus": 1 if gpus else 0, "max_calls": 0, "max_retries": 0}
    note(f"extract: {count} Ray workers, {'a GPU' if gpus else 'CPU'} each")
    # Ray shows a worker its own GPU alone; it is number 0 there.
    told = ray.put(task.on("cuda" if gpus else "cpu"))
    busy: list[dict[str, Busy]] = []

    def write(claims: Iterator[Shards]) -> dict[str, Busy]:
        claimed = list(claims)
        # Machines come and go: only a shard that workers are lost on ends the run.
        crew = Crew(task, [f"Ray, number {number}" for number in range(count)], on_step, lives=math.inf)
        _watch(
            ray,
            ray.remote(**options)(extract_shards),
            told,
            crew,
            [(number_of(shards), tuple(shards)) for shards in claimed],
        )
        release(shard for shards in claimed for shard in shards.values())
        busy.extend(crew.busy)
        return {}

    try:
        kept = ray.get(ray.remote(**options | {"max_retries": ATTEMPTS - 1})(describe).remote(told))
        with open_queue(task, kept) as queue:
            empty_queue(queue, write, on_step=on_step)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        kind = UsageError if isinstance(cause, UsageError) else WorkError
        raise kind(str(cause) if isinstance(cause, AvrError) else one_line(cause)) from error
    except ray.exceptions.RayError as error:
        raise WorkError(f"Ray lost its workers ({first_line(error)}); run again to go on") from error
    return busy


def _watch(ray: Any, work: Any, told: Any, crew: Crew, claimed: list[Claim]) -> None:
    """Have shards written by tasks `work`, one a worker; one that is lost is replaced, on whatever machine."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # On the driver's machine, which the run ends with anyway.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    desk = ray.remote(num_cpus=0, scheduling_strategy=here)(Desk).remote(claimed)
    tasks = {work.remote(told, desk, worker): worker for worker in crew.lives}
    try:
        while tasks:
            ended, _ = ray.wait(list(tasks), timeout=LOOK)
            for worker, step in ray.get(desk.hear.remote()):
                crew.step(worker, step)
            for one in ended:
                worker = tasks.pop(one)
                held = sorted(crew.held[worker])
                try:
                    crew.end(worker, ray.get(one))
                except ray.exceptions.RayTaskError:  # what no other could do better
                    raise
                except ray.exceptions.RayError as error:
                    again = crew.lost(worker, first_line(error))
                    ray.get(desk.take_back.remote(held))
                    if again:
                        tasks[work.remote(told, desk, worker)] = worker
    finally:
        for one in tasks:
            ray.cancel(one, force=True)
        ray.kill(desk)


class Desk:
    """Where workers take shards, a number and the streams that lack it, and say how far they are: an actor."""

    def __init__(self, claimed: list[Claim]) -> None:
        self.streams = dict(claimed)
        self.numbers = deque(self.streams)
        self.said: list[tuple[int, Step]] = []

    def take(self, worker: int) -> Claim | None:
        """The next shard; None: there is none."""
        if not self.numbers:
            return None
        number = self.numbers.popleft()
        self.said.append((worker, Step(number)))
        return number, self.streams[number]

    def take_back(self, numbers: list[int]) -> None:
        """Shards whose worker was lost: they come next."""
        self.numbers.extendleft(reversed(numbers))

    def say(self, worker: int, step: Step) -> None:
        self.said.append((worker, step))

    def hear(self) -> list[tuple[int, Step]]:
        said, self.said = self.said, []
        return said


@lru_cache(1)
def _extractor(streams: tuple[tuple[str, Settings], ...], running: Running) -> Extractor:
    return Extractor(dict(streams), running=running)


def describe(task: Task) -> dict[str, Any]:
    """What the store is to keep of how workers make features, as one of them sees it."""
    go_to(task.folder)
    return about(_extractor(tuple(task.streams.items()), task.running))


def extract_shards(task: Task, desk: Any, worker: int) -> dict[str, Busy]:
    """A worker's whole life, as a task of Ray's: until the desk has no more shards.

    Raises:
        WorkError: it would extract with other settings than the store was begun with.
    """
    import ray

    def shards() -> Iterator[Shards]:
        while (claim := ray.get(desk.take.remote(worker))) is not None:
            number, streams = claim
            own = {name: ShardWriter(task.store / name, number) for name in streams}
            for name, shard in own.items():
                kept, mine = shard.plan.provenance["settings"], extractor.settings[name].to_dict()
                names = ", ".join(one for one, value in kept.items() if mine.get(one) != value)
                if names:
                    raise WorkError(
                        f"a worker would extract {name} with other settings ({names}): share weights, mix no devices"
                    )
            yield own

    try:
        go_to(task.folder)
        decoder = begin_decoder(task.running)
        extractor = _extractor(tuple(task.streams.items()), task.running)
        return write_shards(
            extractor, decoder, task.dataset, shards(), on_step=lambda step: ray.get(desk.say.remote(worker, step))
        )
    except AvrError:
        raise
    except BaseException:  # such as a CUDA error, after which nothing works here: another process takes its place
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    finally:
        _extractor.cache_clear()
        torch.cuda.empty_cache()
