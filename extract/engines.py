"""Workers in children of this process, one a device; and the crew that they, or those of a cluster, are.

A shard's bytes depend on the settings and its videos alone, so the store is the same whoever did which shard.
"""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterable
from multiprocessing.connection import Connection, wait
from typing import Any

from avr.core import AvrError, Busy, Child, UsageError, WorkError, go_to, one_line, quiet, warn

from .task import OnStep, Step, Task
from .worker import work

ATTEMPTS = 3  # workers that a shard, or a device, may lose before it is given up


class Crew:
    """The workers of a run as they fare: which shards each is at, and how often one was lost.

    Args:
        task: what they do.
        names: what to call each to a person, by its number.
        on_step: told of their steps.
        lives: how often each may be lost before it is given up.
    """

    def __init__(self, task: Task, names: Iterable[str], on_step: OnStep, *, lives: float = ATTEMPTS) -> None:
        self.task, self.names, self.on_step = task, list(names), on_step
        self.lives = dict.fromkeys(range(len(self.names)), lives)  # of those that have not come to their end
        self.held: dict[int, set[int]] = {worker: set() for worker in self.lives}
        self.lost_on: Counter[int] = Counter()  # workers, of each shard
        self.busy: list[dict[str, Busy]] = []

    def step(self, worker: int, step: Step) -> None:
        (self.held[worker].discard if step.written else self.held[worker].add)(step.shard)
        self.on_step(step)

    def end(self, worker: int, busy: dict[str, Busy]) -> None:
        self.busy.append(busy)
        del self.lives[worker]

    def lost(self, worker: int, why: str) -> bool:
        """A worker was lost, whose shards are for whoever comes to them next; gives whether another takes its place.

        Raises:
            WorkError: too many were lost.
        """
        for shard in sorted(self.held[worker]):
            self.lost_on[shard] += 1
            if self.lost_on[shard] >= ATTEMPTS:
                named = self.task.named(shard)
                raise WorkError(f"{ATTEMPTS} workers were lost on {named}, the last one: {why}; run again to go on")
        self.held[worker].clear()
        self.lives[worker] -= 1
        name = self.names[worker]
        if self.lives[worker]:
            warn(f"extract: the worker on {name} was lost ({why}); another takes its shards")
            return True
        del self.lives[worker]
        if not self.lives:
            raise WorkError(f"every worker was lost, the last one on {name}: {why}; run again to go on")
        warn(f"extract: {name} is given up after {ATTEMPTS} lost workers ({why})")
        return False


def run_children(task: Task, devices: tuple[str, ...], *, on_step: OnStep) -> list[dict[str, Busy]]:
    """Extract with a child a device, watched; one that dies is replaced. Gives how long each one's stages were busy.

    Raises:
        UsageError, WorkError: as a worker's; or workers were lost again and again on the same shard.
    """
    crew, cores = Crew(task, devices, on_step), shares_of_cores(devices)
    children: dict[int, Child] = {}

    def make(worker: int) -> None:
        children[worker] = Child(f"the worker on {devices[worker]}", "avr.extract.engines:serve")

    def start(worker: int) -> None:
        children[worker].started()
        with contextlib.suppress(OSError):  # one that died since is heard of below
            children[worker].pipe.send((task.on(devices[worker]), cores[worker]))

    try:
        for worker in crew.lives:
            make(worker)
        for worker in crew.lives:
            start(worker)
        while crew.lives:
            for pipe in wait([children[worker].pipe for worker in crew.lives]):
                worker = next(one for one, child in children.items() if child.pipe is pipe)
                kind, said = _hear(children[worker])
                if kind == "step":
                    crew.step(worker, said)
                    continue
                children[worker].close()
                if kind == "end":
                    crew.end(worker, said)
                elif crew.lost(worker, said):
                    make(worker)
                    start(worker)
    finally:
        for child in children.values():
            child.close()
    return crew.busy


def _hear(child: Child) -> tuple[str, Any]:
    """One message of a child; "crash" and why where it is gone.

    Raises:
        AvrError: what the worker says no other could do better.
    """
    try:
        kind, said = child.pipe.recv()
    except (EOFError, OSError):
        return "crash", child.ended()
    if isinstance(said, AvrError):
        raise said
    return kind, said


def serve(pipe: Connection) -> None:
    """A child's side: what to do comes through the pipe; back go its steps and how it ends."""

    def say(kind: str, said: Any) -> None:
        try:
            pipe.send((kind, said))
        except (BrokenPipeError, ConnectionResetError):  # the parent is gone
            os._exit(1)

    try:
        task, cores = pipe.recv()
    except (EOFError, ConnectionResetError):
        return
    try:
        if cores and sys.platform == "linux":
            os.sched_setaffinity(0, cores)
        go_to(task.folder)
        with quiet():
            busy = work(task, on_step=lambda step: say("step", step))
    except AvrError as error:
        say("error", (UsageError if isinstance(error, UsageError) else WorkError)(str(error)))
    except Exception as error:
        say("crash", one_line(error))
    else:
        say("end", busy)


def shares_of_cores(devices: tuple[str, ...]) -> list[tuple[int, ...]]:
    """The cores of each worker, () for all: workers on the CPU share them out, since each would else use them all.

    With more workers than cores, some share one.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    on_cpu = [index for index, device in enumerate(devices) if device == "cpu"]
    shares: list[tuple[int, ...]] = [()] * len(devices)
    for place, index in enumerate(on_cpu if cores else []):
        shares[index] = tuple(cores[place % len(cores) :: len(on_cpu)])
    return shares
