"""The Ray engine: a shard is a task of Ray's, an actor a GPU does it. Ray hands out, balances and retries.

Every machine needs avr, the videos and the store at the same paths (shared storage). The driver alone claims shards and
builds the index, so no lock has to work across machines.
"""

import os
import queue
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from avr.core import AvrError, Busy, UsageError, WorkError, note
from avr.store import ShardWriter

from .engines import ATTEMPTS, one_line
from .extractor import Extractor
from .worker import OnStep, Step, Task, about, empty_queue, open_store, write_shards

STARTS = 3  # attempts to start Ray on this machine
_AT_ONCE = 2  # tasks an actor has: while it works on one shard, the next one's videos are decoded
_NEXT = 1.0  # seconds that an actor's stages wait for the next shard before they come to rest
_LAST = 30.0  # seconds that actors may take to say how busy they were


def run_on_ray(task: Task, workers: int, address: str, *, on_step: OnStep) -> list[dict[str, Busy]]:
    """Extract with one worker a GPU of a Ray cluster; see `run_workers`.

    Raises:
        UsageError: Ray is not installed, or there is no cluster at the address.
    """
    ray = _connected(address)
    try:
        with _Actors(ray, task, workers) as actors, open_store(task, actors.about()) as store:
            empty_queue(store, lambda shards: actors.write(shards, on_step), on_step=on_step)
            return actors.busy()
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        kind = UsageError if isinstance(cause, UsageError) else WorkError
        raise kind(str(cause) if isinstance(cause, AvrError) else one_line(cause)) from error
    except ray.exceptions.RayError as error:
        raise WorkError(f"Ray lost its workers ({_first_line(error)}); run again to go on") from error


def _connected(address: str) -> Any:
    """The module `ray`, connected; the connection lasts as long as this process."""
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray: pip install 'avr[ray]'") from error
    if not ray.is_initialized():
        _connect(ray, address)
    return ray


def _connect(ray: Any, address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the coming behaviour, and no warning of it
    options: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
    for attempt in range(STARTS):
        try:
            ray.init(**options, log_to_driver=False, logging_level="ERROR")
            return
        except Exception as error:
            ray.shutdown()
            if not address and attempt < STARTS - 1:  # Ray gives its own processes 30 s; a busy machine may need more
                continue
            where = f"connect to Ray at {address}" if address else "start Ray on this machine"
            raise UsageError(f"cannot {where}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class _Actors:
    """The actors of one run; Ray starts one that died again, elsewhere if need be, and does its tasks once more."""

    def __init__(self, ray: Any, task: Task, workers: int) -> None:
        self.ray, self.task = ray, task
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0)) if not task.running.device.startswith("cpu") else 0
        count = max(1, min(workers or gpus or 1, -(-len(task.dataset.videos) // task.running.shard_videos)))
        if gpus and count > gpus:
            raise UsageError(f"{count} workers need a GPU each; the cluster has {gpus}")
        cores = max(1, int(resources.get("CPU", 1)) // count)
        options: dict[str, Any] = {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_cpus": cores}
        options |= {"max_restarts": -1, "max_task_retries": ATTEMPTS - 1, "max_concurrency": _AT_ONCE}
        # Ray shows a worker its own GPU alone; it is number 0 there.
        task = task.on("cuda" if gpus else "cpu")
        note(f"extract: {count} Ray workers, {'a GPU' if gpus else 'CPU'} each")
        self.actors: list[Any] = [ray.remote(**options)(ExtractionWorker).remote(task) for _ in range(count)]

    def __enter__(self) -> "_Actors":
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self.actors:
            self.ray.kill(actor)

    def about(self) -> dict[str, Any]:
        """What the store is to keep, as one of the actors sees it."""
        found: dict[str, Any] = self.ray.get(self.actors[0].about.remote())
        return found

    def write(self, shards: Iterator[ShardWriter], on_step: OnStep) -> dict[str, Busy]:
        """Have claimed shards written.

        Raises:
            WorkError: a shard ended every worker that had it.
        """
        from ray.util import ActorPool

        tasks: dict[Any, int] = {}

        def submit(actor: Any, number: int) -> Any:
            task = actor.write.remote(number)
            tasks[task] = number
            return task

        pool = ActorPool(self.actors * _AT_ONCE)
        try:
            for step in pool.map_unordered(submit, [shard.number for shard in shards]):
                on_step(step)
        except self.ray.exceptions.RayActorError as error:
            lost = next((number for task, number in tasks.items() if self._died(task)), 0)
            named = self.task.named(lost)
            raise WorkError(
                f"{ATTEMPTS} workers were lost on {named}; Ray's logs say why ({_first_line(error)})"
            ) from error
        return {}

    def _died(self, task: Any) -> bool:
        ready, _ = self.ray.wait([task], timeout=0)
        try:
            self.ray.get(ready)
        except self.ray.exceptions.RayActorError:
            return True
        return False

    def busy(self) -> list[dict[str, Busy]]:
        """How long the stages of each actor were busy, of those that still say."""
        asked = [actor.end.remote() for actor in self.actors]
        ready, _ = self.ray.wait(asked, num_returns=len(asked), timeout=_LAST)
        return list(self.ray.get(ready))


class ExtractionWorker:
    """A worker as a Ray actor: its stages run in a thread of their own, and a call waits there for one shard."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._starting = threading.Lock()
        self._extractor: Extractor | None = None
        self._shards: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._calls: dict[int, Future[Step]] = {}
        self._busy: dict[str, Busy] = {}
        self._thread = threading.Thread(target=self._work, name="shards", daemon=True)

    def about(self) -> dict[str, Any]:
        """What a store keeps of how this worker makes features."""
        return about(self._started())

    def write(self, number: int) -> Step:
        """Write a shard of the store."""
        self._started()
        call = self._calls[number] = Future()
        self._shards.put(number)
        return call.result()

    def end(self) -> dict[str, Busy]:
        """How long each stage was busy; nothing is written any more."""
        self._shards.put(None)
        if self._thread.is_alive():
            self._thread.join()
        return self._busy

    def _started(self) -> Extractor:
        with self._starting:
            if self._extractor is None:
                self.task.go_there()
                self._extractor = Extractor(self.task.settings, running=self.task.running)
                self._thread.start()
            return self._extractor

    def _work(self) -> None:
        extractor, dataset = self._started(), self.task.dataset
        while (first := self._shards.get()) is not None:
            try:
                busy = write_shards(extractor, dataset, self._taken(first), on_step=self._on_step)
            except AvrError as error:
                while self._calls:
                    self._calls.popitem()[1].set_exception(error)
            except BaseException:  # such as a CUDA error, after which nothing works here: Ray starts another
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            else:
                for name, more in busy.items():
                    self._busy.setdefault(name, Busy(more.threads)).seconds += more.seconds

    def _taken(self, number: int | None) -> Iterator[ShardWriter]:
        while number is not None:
            shard = ShardWriter(self.task.store, number)
            self._check(shard.plan.provenance["settings"])
            yield shard
            try:
                number = self._shards.get(timeout=_NEXT)
            except queue.Empty:
                return
        self._shards.put(None)  # for `_work` to see

    def _check(self, kept: dict[str, Any]) -> None:
        """Raise WorkError unless this worker extracts with the settings that the store was begun with."""
        mine = self._started().settings.to_dict()
        names = ", ".join(name for name, value in kept.items() if mine.get(name) != value)
        if names:
            raise WorkError(f"a worker would extract with other settings ({names}): share weights, mix no devices")

    def _on_step(self, step: Step) -> None:
        if step.written:
            self._calls.pop(step.shard).set_result(step)
