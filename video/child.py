"""Work on a video in a child process, so that one that hangs or crashes the decoder costs that video alone."""

import contextlib
import ctypes
import pickle
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

import numpy as np

from avr.core import Child, WorkError, one_line
from avr.datasets import Video

from .pictures import VideoError

Result = TypeVar("Result")
TIME_LIMIT = 120.0  # seconds
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_GONE = (EOFError, BrokenPipeError, ConnectionResetError)  # what a pipe says once the other end has ended


class Decoder(Generic[Result]):
    """Child processes that do one thing with one video at a time, as many as are asked at once.

    As a context manager it ends them all, and the calls under way, on leaving; entered again, it goes on with new ones.

    Args:
        work: what is done with a video there, such as `decode`; it is pickled. Arrays in what it returns are sent
            without a copy of them being made.
        time_limit: seconds a video may take.

    Example:
        with Decoder(decode) as decoder:
            decoded = decoder(video, {"rgb": Need()})
    """

    def __init__(self, work: Callable[..., Result], *, time_limit: float = TIME_LIMIT) -> None:
        self.work, self.time_limit = work, time_limit
        self._children: list[Child] = []
        self._fresh: list[Child] = []  # begun, and not yet waited for
        self._idle: list[Child] = []
        self._over = False

    def begin(self, count: int) -> None:
        """Have so many children start while something else is done; they end with the thread that calls this.

        Raises:
            WorkError: no process can be made.
        """
        self._fresh += [self._child() for _ in range(count)]

    def __call__(self, video: Video, *arguments: Any) -> Result:
        """Do the work on one video; further arguments are handed on.

        Raises:
            VideoError: it gives nothing, takes too long, or crashes the decoder; or all was stopped.
            WorkError: no child process starts; says why.
        """
        if self._over:
            raise VideoError("the run was stopped")
        child = self._take()
        try:
            child.pipe.send((self.work, video, *arguments))
            if not child.pipe.poll(self.time_limit):
                self._end(child)
                raise VideoError(f"decoding took more than {self.time_limit:g} s", video.path)
            answer = _receive(child.pipe)
        except _GONE:
            why = child.ended()
            self._end(child)
            raise VideoError(f"the decoder crashed on it ({why})", video.path) from None
        self._idle.append(child)
        if isinstance(answer, str):
            raise VideoError(answer, video.path)
        result: Result = answer[0]
        return result

    def _take(self) -> Child:
        """A child that waits for work, or a new one."""
        while self._idle:
            child = self._idle.pop()
            if child.process.poll() is None:
                return child
            self._end(child)  # it ended while it waited, as with the thread that started it: no video's fault
        try:
            child = self._fresh.pop()
        except IndexError:
            child = self._child()
        try:
            child.started()
        except WorkError:
            self._children.remove(child)
            raise
        if self._over:  # `close` may have missed it
            self._end(child)
            raise VideoError("the run was stopped")
        return child

    def _child(self) -> Child:
        child = Child("the decoding process", f"{__name__}:serve", quiet=True)
        self._children.append(child)
        return child

    def _end(self, child: Child) -> None:
        child.close()
        self._children.remove(child)

    @property
    def pids(self) -> list[int]:
        """Of the children there are."""
        return [child.process.pid for child in self._children]

    def __enter__(self) -> "Decoder[Result]":
        self._over = False
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all children; nothing is decoded any more."""
        self._over = True
        while self._fresh:
            with contextlib.suppress(IndexError):  # another thread took the last one
                self._end(self._fresh.pop())
        # Their pipes stay: another thread may wait for one, and is told that it has broken.
        for child in list(self._children):
            child.kill()
            child.process.wait()


def serve(pipe: Connection) -> None:
    """The child: answer requests until the parent goes away."""
    _keep_memory()
    with contextlib.suppress(*_GONE):
        while True:
            _answer(pipe, *pipe.recv())


def _keep_memory() -> None:
    """Have glibc keep what frames took for the next ones: given back, each page of it costs a fault again, a fifth of
    all time here."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            set_option = ctypes.CDLL(None).mallopt
            for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
                set_option(option, 1 << 30)


def _answer(pipe: Connection, work: Callable[..., object], *arguments: Any) -> None:
    try:
        answer: object = (work(*arguments),)
    except VideoError as error:
        answer = error.reason
    except Exception as error:  # a bug or a full memory costs this video, not the run
        answer = one_line(error)
    _send(pipe, answer)


def _send(pipe: Connection, answer: object) -> None:
    """The arrays follow the rest one by one: a pickle of them would copy twice."""
    buffers: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(answer, protocol=5, buffer_callback=buffers.append)
    pipe.send(([buffer.raw().nbytes for buffer in buffers], rest))
    for buffer in buffers:
        if buffer.raw().nbytes:
            pipe.send_bytes(buffer.raw())


def _receive(pipe: Any) -> Any:
    sizes, rest = pipe.recv()
    buffers = [np.empty(size, np.uint8) for size in sizes]
    for buffer in buffers:
        if buffer.size:
            pipe.recv_bytes_into(buffer)
    return pickle.loads(rest, buffers=buffers)
