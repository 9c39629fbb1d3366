"""The Ray engine: the same dispatcher and the same workers as actors of a Ray cluster.

Every machine needs avr, the videos and the store at the same paths (shared storage). Each worker writes its own shards;
the driver alone holds the store's lock and builds the index.
"""

import contextlib
import os
import time
from typing import Any, Literal

from avr.core import AvrError, UsageError, WorkError, note, warn

from ._engines import ATTEMPTS, Dispatcher, Engine, OnVideo, Task, join_reports, work
from .pipeline import Job, Report

_LOOK = 0.5  # seconds between two looks at the workers
STARTS = 3  # attempts to start Ray on this machine
_LAST_REPORTS = 30.0  # seconds that workers may take to end once all is done


def run_on_ray(task: Task, jobs: list[Job], engine: Engine, *, on_video: OnVideo) -> Report:
    """Extract jobs with one worker a GPU of a Ray cluster; see `run_jobs`.

    Raises:
        UsageError: Ray is not installed, or there is no cluster at the address.
    """
    ray = _connected(engine.address)
    try:
        with _Run(ray, task, jobs, engine) as run:
            return run(on_video)
    except ray.exceptions.RayError as error:
        raise WorkError(f"Ray lost what gives out the shards ({_first_line(error)}); run again to go on") from error


def num_gpus(address: str) -> int:
    """GPUs of the cluster at an address; see `run_on_ray`."""
    return int(_connected(address).cluster_resources().get("GPU", 0))


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


class _Run:
    """The workers of one run and the actor that feeds them."""

    def __init__(self, ray: Any, task: Task, jobs: list[Job], engine: Engine) -> None:
        self.ray, self.jobs = ray, jobs
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0)) if not task.running.device.startswith("cpu") else 0
        self.num_workers = max(1, min(engine.workers or gpus or 1, len(jobs)))
        if gpus and self.num_workers > gpus:
            raise UsageError(f"{self.num_workers} workers need a GPU each; the cluster has {gpus}")
        cores = max(1, int(resources.get("CPU", 1)) // self.num_workers)
        self.options: dict[str, Any] = {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_cpus": cores}
        # Ray shows a worker its own GPU alone; it is number 0 there.
        self.task = task.on("cuda" if gpus else "cpu")
        self.lives = ATTEMPTS * self.num_workers
        self.count = 0
        self.working: dict[Any, tuple[int, Any]] = {}

    def __enter__(self) -> "_Run":
        self.board: Any = self.ray.remote(num_cpus=0)(Dispatcher).remote(self.jobs)
        note(f"extract: {self.num_workers} Ray workers, {'a GPU' if 'num_gpus' in self.options else 'CPU'} each")
        for _ in range(self.num_workers):
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        for _number, actor in self.working.values():
            self.ray.kill(actor)
        self.ray.kill(self.board)

    def _start(self) -> None:
        actor: Any = self.ray.remote(**self.options)(ExtractionWorker).remote()
        self.working[actor.run.remote(self.count, self.board, self.task)] = self.count, actor
        self.count += 1

    def __call__(self, on_video: OnVideo) -> Report:
        """Wait for the workers, replacing lost ones, until every job is done."""
        start = time.perf_counter()
        reports: list[Report] = []
        ended = float("inf")
        while self.working and time.perf_counter() < ended:
            finished, _ = self.ray.wait(list(self.working), num_returns=1, timeout=_LOOK)
            for future in finished:
                self._hear(future, reports)
            for video, reason in self.ray.get(self.board.news.remote()):
                on_video(video, reason)
            if ended == float("inf") and self.ray.get(self.board.done.remote()):
                ended = time.perf_counter() + _LAST_REPORTS  # a worker that no machine has room for never reports
        if not self.ray.get(self.board.done.remote()):
            raise WorkError("every Ray worker was lost; see Ray's logs, and run again to go on")
        return join_reports(reports, self.ray.get(self.board.results.remote()), time.perf_counter() - start)

    def _hear(self, future: Any, reports: list[Report]) -> None:
        number, actor = self.working.pop(future)
        try:
            kind, value = self.ray.get(future)
        except self.ray.exceptions.RayError as error:
            kind, value = "lost", _first_line(error)
        if kind == "report":
            reports.append(value)
        elif kind == "usage":
            raise UsageError(value)
        elif kind == "work":
            raise WorkError(value)
        else:
            with contextlib.suppress(Exception):  # it is most likely dead already
                self.ray.kill(actor)
            self._lost(number, value)

    def _lost(self, number: int, why: str) -> None:
        self.lives -= 1
        try:
            self.ray.get(self.board.lost.remote(number, why))
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, WorkError):
                raise WorkError(str(error.cause)) from None
            raise
        if self.lives > 0 and not self.ray.get(self.board.done.remote()):
            warn(f"extract: Ray worker {number} was lost ({why}); its shards are done elsewhere")
            self._start()


class ExtractionWorker:
    """A worker as a Ray actor: its whole life is one call."""

    def run(self, number: int, board: Any, task: Task) -> tuple[str, Any]:
        """Take jobs from the dispatcher's actor until the end.

        Returns:
            ("report", Report), or ("usage" | "work" | "lost", message) of what went wrong.
        """
        import ray

        def take() -> Job | Literal["wait", "end"]:
            answer: Job | Literal["wait", "end"] = ray.get(board.next.remote(number))
            return answer

        try:
            return "report", work(task, take, lambda video, reason: ray.get(board.video.remote(number, video, reason)))
        except UsageError as error:
            return "usage", str(error)
        except AvrError as error:
            return "work", str(error)
        except Exception as error:
            return "lost", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
