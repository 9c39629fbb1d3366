"""The local engine with several devices: a process each, fed through a pipe by this one.

A worker is this interpreter started anew, never a fork, and needs no `__main__` guard in the user's script. It asks for
jobs, reports each finished video, and ends with its parent. One that dies is replaced, and its shards are done again.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

from avr.core import AvrError, UsageError, WorkError, warn
from avr.core.child import die_with_parent as _die_with_parent

from ._engines import ATTEMPTS, Dispatcher, OnVideo, Task, join_reports, work
from .pipeline import Job, Report


@dataclass
class _Worker:
    """A worker process, as its parent sees it."""

    number: int
    device: str
    cores: tuple[int, ...]  # those it may use; () is all
    process: subprocess.Popen
    pipe: Connection

    def end(self) -> None:
        """Kill it if it still runs, and clean up."""
        self.process.kill()
        self.process.wait()
        self.pipe.close()


def run_in_processes(task: Task, jobs: list[Job], devices: tuple[str, ...], *, on_video: OnVideo) -> Report:
    """Extract jobs with one worker process a device; see `run_jobs`."""
    _check(task, devices)
    start = time.perf_counter()
    dispatcher = Dispatcher(jobs)
    reports: list[Report] = []
    lives = [ATTEMPTS] * len(devices)
    places = list(zip(devices, _shares_of_cores(devices), strict=True))
    workers: dict[Connection, tuple[int, _Worker]] = {}
    count = 0
    try:
        for index in range(len(places)):
            worker = _start(count, task, *places[index])
            workers[worker.pipe], count = (index, worker), count + 1
        while workers:
            for pipe in wait(list(workers), timeout=0.5):
                index, worker = workers[pipe]  # type: ignore[index]
                ended = _hear(worker, dispatcher, reports)
                if ended is None:
                    continue
                del workers[worker.pipe]
                worker.end()
                if not ended:
                    continue
                lives[index] -= 1
                dispatcher.lost(worker.number, ended)
                if dispatcher.done():
                    continue
                if lives[index]:
                    warn(f"extract: the worker on {worker.device} was lost ({ended}); another takes its shards")
                    worker = _start(count, task, *places[index])
                    workers[worker.pipe], count = (index, worker), count + 1
                elif not workers:
                    raise WorkError(f"every worker was lost, the last one on {worker.device}: {ended}")
                else:
                    warn(f"extract: {worker.device} is given up after {ATTEMPTS} lost workers ({ended})")
            for video, reason in dispatcher.news():
                on_video(video, reason)
    finally:
        for _, worker in workers.values():
            worker.end()
    return join_reports(reports, dispatcher.results(), time.perf_counter() - start)


def _check(task: Task, devices: tuple[str, ...]) -> None:
    """Raise UsageError where a device is not there, before anything is started for it."""
    for name in devices:
        task.on(name).running.torch_device()


def _hear(worker: _Worker, dispatcher: Dispatcher, reports: list[Report]) -> str | None:
    """Take one message. None: go on; "": the worker has come to its end; else why it was lost.

    Raises:
        AvrError: what the worker says no other could do better.
    """
    try:
        kind, *rest = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.wait()
        code = worker.process.returncode
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    if kind == "next":
        with contextlib.suppress(OSError):  # a worker that died meanwhile is heard of next time
            worker.pipe.send(dispatcher.next(worker.number))
    elif kind == "video":
        dispatcher.video(worker.number, *rest)
    elif kind == "error":
        usage, message = rest
        raise (UsageError if usage else WorkError)(message)
    elif kind == "crash":
        return str(rest[0])
    else:
        reports.append(rest[0])
        return ""
    return None


def _start(number: int, task: Task, device: str, cores: tuple[int, ...]) -> _Worker:
    ours, theirs = socket.socketpair()
    code = "import sys; from avr.extract._processes import serve; serve(int(sys.argv[1]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(theirs.fileno())], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
    )
    theirs.close()
    pipe = Connection(ours.detach())
    with contextlib.suppress(OSError):  # one that dies at once is heard of by `_hear`
        pipe.send((task.on(device), cores))
    return _Worker(number, device, cores, process, pipe)


def _shares_of_cores(devices: tuple[str, ...]) -> list[tuple[int, ...]]:
    """The cores of each worker: workers on the CPU share them out, since each would else use them all."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    on_cpu = [index for index, device in enumerate(devices) if device == "cpu"]
    shares: list[tuple[int, ...]] = [()] * len(devices)
    for place, index in enumerate(on_cpu):
        shares[index] = tuple(cores[place :: len(on_cpu)])
    return shares


def serve(handle: int) -> None:
    """A worker's process: do what comes through the pipe."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to act on
    pipe, sending = Connection(handle), threading.Lock()

    def say(*message: Any) -> None:
        with sending:
            pipe.send(message)

    def take() -> Job | Literal["wait", "end"]:
        say("next")
        answer: Job | Literal["wait", "end"] = pipe.recv()
        return answer

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        task, cores = pipe.recv()
        if cores:
            os.sched_setaffinity(0, cores)
        try:
            report = work(task, take, lambda video, reason: say("video", video, reason))
        except AvrError as error:
            say("error", isinstance(error, UsageError), str(error))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
        except Exception as error:
            say("crash", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        else:
            say("report", report)
