"""SIGTERM, as batch systems send it before they kill, ends a command as Ctrl-C does: in order, and within seconds.

It is raised in the main thread, so that every `with` and `finally` on the way out is run: children are ended, temporary
files removed, locks given back. What is finished lies on disk already, and the same command goes on with it.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MOST_SECONDS = 20.0  # that the way out may take before the process ends all the same

_depth = 0  # of blocks that are not to be broken
_waiting: "Stopped | None" = None
_watch = threading.Timer(0, lambda: None)  # of the way out


class Stopped(KeyboardInterrupt):
    """SIGTERM came. A KeyboardInterrupt, so that libraries let it through as they do Ctrl-C."""

    exit_code = 128 + signal.SIGTERM


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, SIGTERM raises `Stopped` in the main thread, once; outside of the main thread nothing changes.

    Where `Stopped` leaves the block, the process ends within `MOST_SECONDS` of the signal, whatever it does.
    """
    global _waiting
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, stopped = signal.getsignal(signal.SIGTERM), False
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        stopped = _waiting is not None
        if _waiting is None or isinstance(error, Stopped):
            raise
        raise _waiting from error  # a library has made something else of it: Ray a plain Ctrl-C, torch a failed write
    finally:
        _waiting = None
        if not stopped:  # else the interpreter has yet to join its threads, and one may be busy without end
            _watch.cancel()
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _stop(*_: Any) -> None:
    global _waiting, _watch
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not break the way out
    _waiting = Stopped()
    _watch.cancel()
    _watch = threading.Timer(MOST_SECONDS, os._exit, [Stopped.exit_code])  # children end with it
    _watch.daemon = True
    _watch.start()
    if not _depth:
        raise _waiting


@contextmanager
def unbroken() -> Iterator[None]:
    """A block of seconds that is done to its end before SIGTERM is heeded; of the main thread."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
    if _waiting is not None and not _depth:
        raise _waiting
