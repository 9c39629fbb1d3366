"""Work done ahead of whoever asks for it: an ordered map in threads, with a bounded number of results ready.

`ahead` is one such map; `Stages` are several, one behind the other, each with its own threads, and count how long each
was busy. What is ready and not yet taken is bounded, so a fast stage cannot fill the memory.

A stage takes its input in a thread of its own (what comes between two stages, such as putting batches together, then
runs beside both) and its function runs in a pool. All of them wait on one condition: whatever happens, whoever waits
for it goes on at once, and so does everybody when all is to stop.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(load: Callable[[Item], Result], steps: Iterable[Item], *, depth: int) -> Iterator[Result]:
    """Yield `load(step)` for every step in order, up to `depth` of them loaded before they are asked for.

    An error in `load` is raised where its result would have come. A caller that stops early stops the threads.
    """
    if depth < 1:
        yield from map(load, steps)
        return
    with Stages() as stages:
        yield from stages.map("ahead", load, steps, ahead=depth - 1)


class _Stopped(Exception):
    """The stages are being torn down."""


@dataclass
class Busy:
    """How long one stage worked: seconds summed over its threads, and how many threads it has."""

    threads: int
    seconds: float = 0.0


@dataclass
class _Line:
    """What a stage has under way or ready, in order; the last once its input has ended."""

    futures: deque[Future] = field(default_factory=deque)
    ended: bool = False


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
        self._changed = threading.Condition()
        self._over = False
        self._pools: list[ThreadPoolExecutor] = []
        self._feeders: list[threading.Thread] = []

    def __enter__(self) -> "Stages":
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()
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
        line = _Line()

        def timed(item: Item) -> Result:
            start = time.perf_counter()
            try:
                return function(item)
            finally:
                with self._changed:
                    busy.seconds += time.perf_counter() - start

        def feed() -> None:
            try:
                for item in items:
                    self._wait(lambda: len(line.futures) < threads + ahead)
                    self._append(line, pool.submit(timed, item))
                self._append(line, None)
            except _Stopped:
                pass
            except BaseException as error:  # the consumer is to see it
                failed: Future = Future()
                failed.set_exception(error)
                self._append(line, failed)

        feeder = threading.Thread(target=feed, name=f"{name}-feeder", daemon=True)
        self._pools.append(pool)
        self._feeders.append(feeder)
        feeder.start()
        return self._results(line)

    def _results(self, line: _Line) -> Iterator[Any]:
        while True:
            self._wait(lambda: line.futures[0].done() if line.futures else line.ended)
            if not line.futures:
                return
            result = line.futures[0].result()
            with self._changed:
                line.futures.popleft()
                self._changed.notify_all()
            yield result

    def _append(self, line: _Line, future: Future | None) -> None:
        """Put a call at a line's end, or end it (None)."""
        with self._changed:
            line.ended = future is None
            if future is not None:
                line.futures.append(future)
            self._changed.notify_all()
        if future is not None:
            future.add_done_callback(self._tell)

    def _tell(self, _: Future) -> None:
        with self._changed:
            self._changed.notify_all()

    def _wait(self, ready: Callable[[], bool]) -> None:
        """Until `ready()`.

        Raises:
            _Stopped: all is to stop.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._over or ready())
            if self._over:
                raise _Stopped
