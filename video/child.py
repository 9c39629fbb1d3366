"""Work on a video in a child process, so that one that hangs or crashes the decoder costs that video alone."""

import contextlib
import pickle
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

import numpy as np

from avr.core import Child, WorkError
from avr.datasets import Video

from .opening import VideoError

Result = TypeVar("Result")
TIME_LIMIT = 120.0  # seconds
_GONE = (EOFError, BrokenPipeError, ConnectionResetError)  # what a pipe says once the other end has ended


class Decoder(Generic[Result]):
    """A child process that does one thing with one video at a time. Not safe to share between threads: one each.

    Args:
        work: what is done with a video there, such as a `partial` of `decode`; it is pickled. Arrays in what it
            returns are sent without a copy of them being made.
        time_limit: seconds a video may take.

    Example:
        decoder = Decoder(partial(decode, sampling=Sampling(), needs={"rgb": Need()}))
        decoded = decoder(video)
    """

    def __init__(self, work: Callable[[Video], Result], *, time_limit: float = TIME_LIMIT) -> None:
        self.work, self.time_limit = work, time_limit
        self._child: Child | None = None

    def __call__(self, video: Video) -> Result:
        """Do the work on one video.

        Raises:
            VideoError: it gives nothing, takes too long, or crashes the decoder.
            WorkError: no child process starts; says why.
        """
        child = self._child or self._start()
        try:
            child.pipe.send((self.work, video))
            if not child.pipe.poll(self.time_limit):
                self.close()
                raise VideoError(f"decoding took more than {self.time_limit:g} s", video.path)
            answer = _receive(child.pipe)
        except _GONE:
            self._child = None
            raise VideoError(f"the decoder crashed on it ({child.ended()})", video.path) from None
        if isinstance(answer, str):
            raise VideoError(answer, video.path)
        result: Result = answer[0]
        return result

    def _start(self) -> Child:
        self._child = child = Child("the decoding process", f"{__name__}:serve", quiet=True)
        try:
            child.started()
        except WorkError:
            self._child = None
            raise
        return child

    @property
    def pid(self) -> int | None:
        """Of the child, when there is one."""
        return self._child.process.pid if self._child else None

    def kill(self) -> None:
        """End the child from another thread; a call under way then fails."""
        child = self._child
        if child is not None:
            child.kill()

    def close(self) -> None:
        """End the child. The next call starts another."""
        if self._child is not None:
            self._child.close()
            self._child = None


class Decoders(Generic[Result]):
    """A decoder for each thread that asks. As a context manager it ends them all, and the calls under way, on leaving.

    Args:
        work, time_limit: see `Decoder`.
    """

    def __init__(self, work: Callable[[Video], Result], *, time_limit: float = TIME_LIMIT) -> None:
        self._work, self._time_limit = work, time_limit
        self._local = threading.local()
        self._all: list[Decoder[Result]] = []
        self._over = False

    def __call__(self, video: Video) -> Result:
        """Do the work in this thread's child; see `Decoder`.

        Raises:
            VideoError: the video gives nothing, or all was stopped.
        """
        if self._over:
            raise VideoError("the run was stopped")
        if not hasattr(self._local, "decoder"):
            self._local.decoder = Decoder(self._work, time_limit=self._time_limit)
            self._all.append(self._local.decoder)
        decoder: Decoder[Result] = self._local.decoder
        return decoder(video)

    def __enter__(self) -> "Decoders[Result]":
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        for decoder in self._all:
            decoder.kill()

    def close(self) -> None:
        """Clean up, once the threads that asked have ended."""
        for decoder in self._all:
            decoder.close()


def serve(pipe: Connection) -> None:
    """The child: answer requests until the parent goes away."""
    with contextlib.suppress(*_GONE):
        while True:
            _answer(pipe, *pipe.recv())


def _answer(pipe: Connection, work: Callable[[Video], object], video: Video) -> None:
    try:
        answer: object = (work(video),)
    except VideoError as error:
        answer = error.reason
    except Exception as error:  # a bug or a full memory costs this video, not the run
        answer = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    _send(pipe, answer)


def _send(pipe: Connection, answer: object) -> None:
    """The arrays follow the rest one by one: a pickle of them would copy twice."""
    buffers: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(answer, protocol=5, buffer_callback=buffers.append)
    pipe.send(([buffer.raw().nbytes for buffer in buffers], rest))
    for buffer in buffers:
        if buffer.raw().nbytes:
            pipe.send_bytes(buffer.raw())


def _receive(pipe: Connection) -> Any:
    sizes, rest = pipe.recv()
    buffers = [np.empty(size, np.uint8) for size in sizes]
    for buffer in buffers:
        if buffer.size:
            pipe.recv_bytes_into(buffer)
    return pickle.loads(rest, buffers=buffers)
