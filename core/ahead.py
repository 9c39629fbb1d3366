"""Doing the next steps in a thread while the caller works on this one."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Step = TypeVar("Step")
Result = TypeVar("Result")


def ahead(load: Callable[[Step], Result], steps: Iterable[Step], *, depth: int) -> Iterator[Result]:
    """Yield `load(step)` for every step in order, up to `depth` of them loaded before they are asked for.

    An error in `load` is raised where its result would have come. A caller that stops early stops the thread.
    """
    if depth < 1:
        yield from map(load, steps)
        return
    ready: queue.Queue[tuple[Result | None, BaseException | None]] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def offer(item: tuple[Result | None, BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for step in steps:
                if not offer((load(step), None)):
                    return
            offer((None, StopIteration()))
        except BaseException as error:  # handed over, whatever it is
            offer((None, error))

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            result, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield result  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
