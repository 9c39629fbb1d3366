"""Engines: where workers run. One in this process, one a device in children of it, or one a GPU of a Ray cluster.

A shard's bytes depend on the settings and its videos alone, so the store is the same whoever did which shard.
"""

import contextlib
import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from avr.core import AvrError, Busy, Child, UsageError, WorkError, quiet, warn

from .extractor import Extractor
from .settings import Engine
from .worker import OnStep, Step, Task, work

ATTEMPTS = 3  # workers that a shard, or a device, may lose before it is given up


def run_workers(engine: Engine, task: Task, extractor: Extractor | None, on_step: OnStep) -> list[dict[str, Busy]]:
    """Start the workers and wait for them; gives how long each one's stages were busy (a lost one's time is lost).

    Args:
        engine: where.
        task: what every worker is told.
        extractor: of a worker in this process.
        on_step: called with how far each shard is.

    Raises:
        UsageError, WorkError: as a worker's; or workers were lost again and again on the same shard.
    """
    if engine.alone:
        return [work(task, extractor, on_step=on_step)]
    if engine.name == "ray":
        from .cluster import run_on_ray

        return run_on_ray(task, engine.workers, engine.address, on_step=on_step)
    return _Children(task, on_step).run(engine.devices)


@dataclass
class _Worker:
    """One device and the child that works there; `held` are the shards it is at."""

    device: str
    cores: tuple[int, ...]  # those it may use; () is all
    child: Child
    lives: int = ATTEMPTS
    held: set[int] = field(default_factory=set)


class _Children:
    """A child a device, watched; one that dies is replaced, and whoever comes to its shards next does them again."""

    def __init__(self, task: Task, on_step: OnStep) -> None:
        self.task, self.on_step = task, on_step
        self.lost: Counter[int] = Counter()  # workers, of each shard
        self.busy: list[dict[str, Busy]] = []
        self.workers: list[_Worker] = []

    def run(self, devices: tuple[str, ...]) -> list[dict[str, Busy]]:
        """Until every worker has come to its end."""
        try:
            for device, cores in zip(devices, shares_of_cores(devices), strict=True):
                self.workers.append(_Worker(device, cores, _child(device)))
            for worker in self.workers:
                self._start(worker)
            while self.workers:
                by_pipe: dict[Any, _Worker] = {worker.child.pipe: worker for worker in self.workers}
                for pipe in wait(list(by_pipe)):
                    self._hear(by_pipe[pipe])
        finally:
            for worker in self.workers:
                worker.child.close()
        return self.busy

    def _start(self, worker: _Worker) -> None:
        worker.child.started()
        with contextlib.suppress(OSError):  # one that died since is heard of by `_hear`
            worker.child.pipe.send((self.task.on(worker.device), worker.cores))

    def _hear(self, worker: _Worker) -> None:
        """Take one message.

        Raises:
            AvrError: what the worker says no other could do better.
        """
        try:
            kind, *rest = worker.child.pipe.recv()
        except (EOFError, OSError):
            kind, rest = "crash", [worker.child.ended()]
        if kind == "step":
            step: Step = rest[0]
            (worker.held.discard if step.written else worker.held.add)(step.shard)
            self.on_step(step)
        elif kind == "error":
            raise (UsageError if rest[0] else WorkError)(rest[1])
        elif kind == "crash":
            self._lost(worker, rest[0])
        else:
            self.busy.append(rest[0])
            worker.child.close()
            self.workers.remove(worker)

    def _lost(self, worker: _Worker, why: str) -> None:
        """Put another in a lost worker's place.

        Raises:
            WorkError: too many were lost.
        """
        worker.child.close()
        for shard in sorted(worker.held):
            self.lost[shard] += 1
            if self.lost[shard] >= ATTEMPTS:
                named = self.task.named(shard)
                raise WorkError(f"{ATTEMPTS} workers were lost on {named}, the last one: {why}; run again to go on")
        worker.held.clear()
        worker.lives -= 1
        if worker.lives:
            warn(f"extract: the worker on {worker.device} was lost ({why}); another takes its shards")
            worker.child = _child(worker.device)
            self._start(worker)
            return
        self.workers.remove(worker)
        if not self.workers:
            raise WorkError(f"every worker was lost, the last one on {worker.device}: {why}; run again to go on")
        warn(f"extract: {worker.device} is given up after {ATTEMPTS} lost workers ({why})")


def _child(device: str) -> Child:
    return Child(f"the worker on {device}", "avr.extract.engines:serve")


def serve(pipe: Connection) -> None:
    """A child's side: what to do comes through the pipe; back go its steps and how it ends."""
    one_thread = threading.Lock()

    def say(*message: Any) -> None:
        try:
            with one_thread:
                pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):  # the parent is gone
            os._exit(1)

    try:
        task, cores = pipe.recv()
    except (EOFError, ConnectionResetError):
        return
    try:
        if cores:
            os.sched_setaffinity(0, cores)
        task.go_there()
        with quiet():
            busy = work(task, on_step=lambda step: say("step", step))
    except AvrError as error:
        say("error", isinstance(error, UsageError), str(error))
    except Exception as error:
        say("crash", one_line(error))
    else:
        say("end", busy)


def one_line(error: BaseException) -> str:
    """An error that is not avr's own."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def shares_of_cores(devices: tuple[str, ...]) -> list[tuple[int, ...]]:
    """The cores of each worker, () for all: workers on the CPU share them out, since each would else use them all.

    With more workers than cores, some share one.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    on_cpu = [index for index, device in enumerate(devices) if device == "cpu"]
    shares: list[tuple[int, ...]] = [()] * len(devices)
    if not cores:
        return shares
    for place, index in enumerate(on_cpu):
        shares[index] = tuple(cores[place % len(cores) :: len(on_cpu)])
    return shares
