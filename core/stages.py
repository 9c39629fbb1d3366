"""Stages that run at once: each a pool of threads over an ordered stream, with bounded queues between them.

A stage maps a function over the items of the stage before it and yields the results in order. What is waiting is
bounded, so a fast stage cannot fill the memory. Each stage counts how long its function was busy.
"""

import functools
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_POLL = 0.2  # seconds until a waiting thread looks whether all is to stop


class _Stopped(Exception):
    """The stages are being torn down."""


@dataclass
class Busy:
    """How long one stage worked: seconds summed over its threads, and how many threads it has."""

    threads: int
    seconds: float = 0.0


class Stages:
    """Stages of one run. As a context manager it stops all threads on the way out, whatever happened.

    Example:
        with Stages() as stages:
            decoded = stages.map("decode", decode, videos, threads=2, ahead=4)
            for features in stages.map("network", forward, decoded):
                …
            stages.busy["decode"].seconds
    """

    def __init__(self) -> None:
        self.busy: dict[str, Busy] = {}
        self._stop = threading.Event()
        self._pools: list[ThreadPoolExecutor] = []
        self._feeders: list[threading.Thread] = []
        self._lock = threading.Lock()

    def __enter__(self) -> "Stages":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for feeder in self._feeders:
            feeder.join()
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)

    def map(
        self, name: str, function: Callable[[Item], Result], items: Iterable[Item], *, threads: int = 1, ahead: int = 2
    ) -> Iterator[Result]:
        """Run `function` over `items` in a stage of its own.

        Args:
            name: what `busy` calls it.
            function: called in the stage's threads. What it raises, the consumer gets.
            items: iterated in a thread of the stage's own.
            threads: calls at once.
            ahead: results that may be under way or waiting beyond `threads`.

        Returns:
            The results in the items' order.
        """
        busy = self.busy.setdefault(name, Busy(threads))
        pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        room = threading.Semaphore(threads + ahead)
        waiting: queue.SimpleQueue[Future | None] = queue.SimpleQueue()

        def timed(item: Item) -> Result:
            start = time.perf_counter()
            try:
                return function(item)
            finally:
                with self._lock:
                    busy.seconds += time.perf_counter() - start

        def feed() -> None:
            try:
                for item in items:
                    while not room.acquire(timeout=_POLL):
                        self._check()
                    self._check()
                    waiting.put(pool.submit(timed, item))
                waiting.put(None)
            except _Stopped:
                pass
            except BaseException as error:  # the consumer is to see it
                failed: Future = Future()
                failed.set_exception(error)
                waiting.put(failed)

        feeder = threading.Thread(target=feed, name=f"{name}-feeder", daemon=True)
        self._pools.append(pool)
        self._feeders.append(feeder)
        feeder.start()
        return self._results(waiting, room)

    def _results(self, waiting: "queue.SimpleQueue[Future | None]", room: threading.Semaphore) -> Iterator[Any]:
        while True:
            future = self._wait(lambda: waiting.get(timeout=_POLL), queue.Empty)
            if future is None:
                return
            result = self._wait(functools.partial(future.result, timeout=_POLL), TimeoutError, future)
            room.release()
            yield result

    def _wait(self, look: Callable[[], Any], nothing: type[Exception], future: Future | None = None) -> Any:
        while True:
            self._check()
            try:
                return look()
            except nothing:
                if future is not None and future.done():
                    return future.result()  # the function's own TimeoutError, not ours

    def pause(self) -> None:
        """Wait a little, inside the iterable of a stage that has nothing at present; ends it when all is to stop."""
        time.sleep(_POLL)
        self._check()

    def _check(self) -> None:
        if self._stop.is_set():
            raise _Stopped
