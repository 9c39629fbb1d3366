"""Engines: who does the shards of an extraction. One worker in this process, several on this machine, or Ray's.

Shards are given out one at a time by a `Dispatcher`; a worker takes the next while it still works on the last, so that
its stages stay full. What a lost worker held goes back to the front of the queue. A shard's bytes depend on the
settings and its videos alone, so the store is the same whoever did which shard.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from avr.core import Busy, UsageError, WorkError, load_item

from .backbones import Networks, load_networks
from .extractor import Extractor, Running
from .pipeline import Job, Report, write_shards
from .settings import Settings

ATTEMPTS = 3  # workers that a shard may lose before the run gives up
OnVideo = Callable[[str, str], None]


@dataclass(frozen=True)
class Engine:
    """Where an extraction runs; nothing here changes a feature (on devices of one kind).

    Attributes:
        name: "local": this machine; "ray": a Ray cluster (`pip install 'avr[ray]'`).
        devices: of "local", one worker each: ("0", "1") or ("cuda:0", "cuda:1"), ("cpu", "cpu"); empty: one worker, in
            this process, on `Running.device`.
        workers: of "ray", how many; 0: one a GPU of the cluster, or one where it has none.
        address: of "ray": a running cluster's ("auto", "ray://host:10001"); empty: Ray is started on this machine.
    """

    name: Literal["local", "ray"] = "local"
    devices: tuple[str, ...] = ()
    workers: int = 0
    address: str = ""

    def __post_init__(self) -> None:
        if self.name not in ("local", "ray"):
            raise UsageError(f"unknown engine '{self.name}'; known: local, ray")
        if self.workers < 0:
            raise UsageError("workers must be at least 0")
        if self.name == "local" and (self.workers or self.address):
            raise UsageError("--workers and --address are of --engine ray; of --engine local give --devices")
        if self.name == "ray" and self.devices:
            raise UsageError("--devices is of --engine local; of --engine ray give --workers")
        named = (f"cuda:{device}" if device.isdigit() else device for device in self.devices)
        object.__setattr__(self, "devices", tuple(named))

    @property
    def alone(self) -> bool:
        """Whether this process does all the work."""
        return self.name == "local" and not self.devices

    def on_cuda(self, running: Running) -> bool:
        """Whether the workers run on CUDA, which decides the precision "auto": on this machine or elsewhere."""
        if self.devices:
            return any(replace(running, device=device).torch_device().type == "cuda" for device in self.devices)
        if self.name == "ray" and not running.device.startswith("cpu"):
            from ._ray import num_gpus

            return num_gpus(self.address) > 0
        return self.name == "local" and running.torch_device().type == "cuda"

    def where(self, running: Running) -> str:
        """What to call it to a person."""
        if self.name == "ray":
            return f"Ray at {self.address}" if self.address else "Ray on this machine"
        return ", ".join(self.devices) or str(running.torch_device())


@dataclass(frozen=True)
class Task:
    """What every worker of a run is told; it can be pickled.

    Attributes:
        settings: as the user gave them, with the paths of weights files.
        resolved: as the store holds them: a worker that resolves them otherwise (other weights) must not go on.
        running: device and sizes.
        store: absolute path of a store whose plan is there.
        folder: working directory, against which relative paths of videos and weights are meant.
    """

    settings: Settings
    resolved: Settings
    running: Running
    store: Path
    folder: Path

    def on(self, device: str) -> "Task":
        """The same on a device."""
        return replace(self, running=replace(self.running, device=device))


def prepare(settings: Settings, running: Running, engine: Engine) -> tuple[Extractor | None, Networks]:
    """What this process needs before a store is begun: the extractor if it works alone, and the networks.

    Raises:
        UsageError, WorkError: settings that no worker could meet.
    """
    if engine.alone:
        extractor = Extractor(settings, running=running)
        return extractor, extractor.networks
    if "flow" in settings.streams:
        load_item("avr.extract.flow", settings.flow.partition("=")[0], "flow method")
    return None, load_networks(settings, cuda=engine.on_cuda(running))


def run_jobs(extractor: Extractor | None, task: Task, jobs: list[Job], engine: Engine, *, on_video: OnVideo) -> Report:
    """Extract jobs by an engine.

    Args:
        extractor: this process's own, if it works alone.
        task: what other workers are told.
        jobs: shards to be done.
        engine: who does them.
        on_video: called in this thread with each finished video's id and its failure ("" when it went well).

    Raises:
        WorkError: the store cannot be written; or workers were lost again and again on the same shard.
    """
    if extractor is not None:
        return write_shards(extractor, task.store, jobs, on_video=on_video)
    if engine.name == "ray":
        from ._ray import run_on_ray

        report = run_on_ray(task, jobs, engine, on_video=on_video)
    else:
        from ._processes import run_in_processes

        report = run_in_processes(task, jobs, engine.devices, on_video=on_video)
    for left in task.store.glob(".shard-*.tmp"):  # half a shard of a worker that was lost while it wrote
        left.unlink(missing_ok=True)
    return report


class Dispatcher:
    """Gives out jobs, takes back those of lost workers, and collects what workers report. Threads may share it."""

    def __init__(self, jobs: list[Job]) -> None:
        self._waiting = deque(jobs)
        self._held: dict[int, dict[int, tuple[Job, set[str]]]] = {}  # worker: shard: the job, videos not done
        self._lost: dict[int, int] = {}  # shard: workers lost on it
        self._said: dict[str, str] = {}  # videos reported, so that one done twice counts once
        self._news: deque[tuple[str, str]] = deque()
        self._lock = threading.Lock()

    def next(self, worker: int) -> Job | Literal["wait", "end"]:
        """The next job; "wait" when none is left but others' may come back; "end" when all are done."""
        with self._lock:
            if self._waiting:
                job = self._waiting.popleft()
                self._held.setdefault(worker, {})[job.number] = (job, {video.id for video in job.videos})
                return job
            return "wait" if any(self._held.values()) else "end"

    def video(self, worker: int, video: str, reason: str) -> None:
        """A worker has finished a video; with a shard's last one, the shard is written."""
        with self._lock:
            for number, (_, missing) in list(self._held.get(worker, {}).items()):
                missing.discard(video)
                if not missing:
                    del self._held[worker][number]
            if video not in self._said:
                self._said[video] = reason
                self._news.append((video, reason))

    def lost(self, worker: int, why: str) -> None:
        """A worker is gone: what it held is given out anew.

        Raises:
            WorkError: on one of its shards, `ATTEMPTS` workers have been lost.
        """
        with self._lock:
            held = self._held.pop(worker, {})
            for number, (job, _) in sorted(held.items(), reverse=True):
                self._lost[number] = self._lost.get(number, 0) + 1
                if self._lost[number] >= ATTEMPTS:
                    named = f"shard {number} ({job.videos[0].id} …)"
                    raise WorkError(f"{ATTEMPTS} workers were lost on {named}, the last one: {why}; run again to go on")
                self._waiting.appendleft(job)

    def news(self) -> list[tuple[str, str]]:
        """Videos finished since the last call, id and failure."""
        with self._lock:
            news = list(self._news)
            self._news.clear()
            return news

    def results(self) -> dict[str, str]:
        """Every finished video's failure, "" when it went well."""
        with self._lock:
            return dict(self._said)

    def done(self) -> bool:
        """Whether every job is done."""
        with self._lock:
            return not self._waiting and not any(self._held.values())


def work(task: Task, take: Callable[[], Job | Literal["wait", "end"]], on_video: OnVideo) -> Report:
    """A worker's whole life: load the networks, take jobs until the end, write their shards.

    Args:
        task: what to do.
        take: asks for the next job; called in a thread of its own.
        on_video: told each finished video.

    Raises:
        AvrError: what no other worker would do better: a full disk, weights that are not there.
    """
    if Path.cwd() != task.folder:
        try:
            os.chdir(task.folder)
        except OSError as error:
            raise WorkError(f"{task.folder}: not on this machine; workers need the run's folder shared") from error
    extractor = Extractor(task.settings, running=task.running)
    if extractor.settings != task.resolved:
        mine, wanted = extractor.settings.to_dict(), task.resolved.to_dict()
        names = ", ".join(name for name, value in wanted.items() if mine[name] != value)
        raise WorkError(f"a worker would extract with other settings ({names}): share weights files, mix no devices")
    if not (task.store / "plan.h5").exists():
        raise WorkError(f"{task.store}: the store is not there on a worker's machine; it must be on shared storage")

    def jobs() -> Iterator[Job | None]:
        while (job := take()) != "end":
            yield job if isinstance(job, Job) else None

    return write_shards(extractor, task.store, jobs(), on_video=on_video)


def join_reports(reports: list[Report], results: dict[str, str], seconds: float) -> Report:
    """One report of several workers.

    Args:
        reports: of the workers that came to the end; a lost one's times and notes are lost with it.
        results: every finished video's failure, "" when it went well.
        seconds: wall time.
    """
    joined = Report(seconds=seconds)
    joined.failures = [(video, reason) for video, reason in results.items() if reason]
    joined.done = len(results) - len(joined.failures)
    for report in reports:
        joined.notes += report.notes
        for name, busy in report.busy.items():
            there = joined.busy.setdefault(name, Busy(0))
            there.threads += busy.threads
            there.seconds += busy.seconds
    return joined
