"""Work done ahead of whoever asks for it: an ordered map in threads, with a bounded number of results ready.

`ahead` is one such map; `Stages` are several, one behind the other, each with its own threads, and count how long each
was busy. Who takes the last stage's results drives them all: as long as what it waits for is not done, each stage is
given as much of the one before as it may hold. So all are at work while it waits, and no thread waits for another.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(load: Callable[[Item], Result], steps: Iterable[Item], *, depth: int) -> Iterator[Result]:
    """Yield `load(step)` for every step in order, up to `depth` of them loaded before they are asked for.

    An error in `load` is raised where its result would have come. A caller that stops early stops the threads.
    """
    with Stages() as stages:
        yield from stages.map("ahead", load, steps, ahead=depth - 1)


@dataclass
class Busy:
    """How long one stage worked: seconds summed over its threads, and how many threads it has."""

    threads: int
    seconds: float = 0.0


class Stages(AbstractContextManager["Stages"]):
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
        self._counting = threading.Lock()
        self._pools: list[ThreadPoolExecutor] = []

    def __exit__(self, *_: object) -> None:
        for wait in (False, True):  # first all are told
            for pool in self._pools:
                pool.shutdown(wait=wait, cancel_futures=True)

    def map(
        self, name: str, function: Callable[[Item], Result], items: Iterable[Item], *, threads: int = 1, ahead: int = 2
    ) -> Iterator[Result]:
        """Run `function` over `items` in a stage of its own.

        Args:
            name: what `busy` calls it.
            function: called in the stage's threads. What it raises, the consumer gets.
            items: iterated in the consumer's thread: what lies between two stages should be quick.
            threads: calls at once.
            ahead: results that may be under way or waiting beyond `threads`.

        Returns:
            The results in the items' order.
        """
        busy = self.busy.setdefault(name, Busy(threads))
        pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._pools.append(pool)

        def timed(item: Item) -> Result:
            start = time.perf_counter()
            try:
                return function(item)
            finally:
                with self._counting:
                    busy.seconds += time.perf_counter() - start

        def results() -> Iterator[Result]:
            line: deque[Future[Result]] = deque()
            source, failure = iter(items), None
            while True:
                try:
                    line.append(pool.submit(timed, next(source)))
                except StopIteration:
                    break
                except Exception as error:  # such as a stage's before this one: what came before it is given first
                    failure = error
                    break
                if line[0].done() or len(line) > threads + ahead:  # one in, one out: what is slowest stays busy
                    yield line.popleft().result()
            while line:
                yield line.popleft().result()
            if failure is not None:
                raise failure

        return results()
