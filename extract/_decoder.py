"""Decoding in a child process, so that a video that hangs or crashes the decoder costs that video alone.

The child is this interpreter started anew (its own start, `serve`), never a fork: the parent has threads. It
reads requests from a pipe and answers each; on a time limit the parent kills it and starts another. It dies with its
parent.
"""

import contextlib
import ctypes
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from avr.core import WorkError
from avr.datasets import Video

from .decode import Decoded, VideoError, decode_video
from .settings import Settings

_READY = "ready"
_START_LIMIT = 120.0  # seconds a child may take to start; a video's own time does not count it
ARRAYS = ("rgb", "flow_frames", "flow_images")


class Decoder:
    """A child process that decodes one video at a time. Not safe to share between threads: one each.

    Args:
        settings: the plan.
        colour_flow: whether the flow method reads RGB.
        time_limit: seconds a video may take.
    """

    def __init__(self, settings: Settings, *, colour_flow: bool = False, time_limit: float = 120.0) -> None:
        self.settings, self.colour_flow, self.time_limit = settings, colour_flow, time_limit
        self._process: subprocess.Popen | None = None
        self._pipe: Connection | None = None

    def __call__(self, video: Video) -> Decoded:
        """Decode what the plan needs of one video.

        Raises:
            VideoError: it gives nothing, takes too long, or crashes the decoder.
        """
        if self._process is None:
            self._start()
        assert self._pipe is not None
        try:
            self._pipe.send(video)
            if not self._pipe.poll(self.time_limit):
                self.close()
                raise VideoError(f"decoding took more than {self.time_limit:g} s", video.path)
            answer = self._pipe.recv()
            if isinstance(answer, str):
                raise VideoError(answer, video.path)
            return self._receive(answer)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise VideoError(f"the decoder crashed on it ({self._cause()})", video.path) from None

    def _cause(self) -> str:
        """How the child ended, once its pipe is closed."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        code = self._process.returncode
        self.close()
        return signal.Signals(-code).name if code and code < 0 else f"exit code {code}"

    def _receive(self, decoded: Decoded) -> Decoded:
        """The arrays follow the record one by one, in place of their shapes: a pickle of them would copy twice."""
        assert self._pipe is not None
        values: dict[str, Any] = {}
        for name in ARRAYS:
            shape = getattr(decoded, name)
            if shape is not None:
                values[name] = np.empty(shape, np.uint8)
                if values[name].size:
                    self._pipe.recv_bytes_into(values[name].reshape(-1))
        return replace(decoded, **values)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        code = "import sys; from avr.extract._decoder import serve; serve(int(sys.argv[1]))"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        self._pipe = Connection(ours.detach())
        self._pipe.send((self.settings, self.colour_flow))
        if not self._pipe.poll(_START_LIMIT) or self._pipe.recv() != _READY:
            self.close()
            raise WorkError(f"the decoding process does not start within {_START_LIMIT:g} s")

    def kill(self) -> None:
        """End the child from another thread; a call under way then fails."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the child and its pipe. The next call starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


def serve(handle: int) -> None:
    """The child: answer requests until the parent goes away."""
    _die_with_parent()
    pipe = Connection(handle)
    with contextlib.suppress(EOFError, ConnectionResetError, BrokenPipeError):
        settings, colour_flow = pipe.recv()
        pipe.send(_READY)
        while True:
            video: Video = pipe.recv()
            try:
                decoded = decode_video(video, settings, colour_flow=colour_flow)
            except VideoError as error:
                pipe.send(error.reason)
            except Exception as error:  # a bug or a full memory costs this video, not the run
                pipe.send(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
            else:
                _answer(pipe, decoded)


def _answer(pipe: Connection, decoded: Decoded) -> None:
    arrays = {name: getattr(decoded, name) for name in ARRAYS}
    shapes: dict[str, Any] = {name: None if array is None else array.shape for name, array in arrays.items()}
    pipe.send(replace(decoded, **shapes))
    for array in arrays.values():
        if array is not None and array.size:
            pipe.send_bytes(np.ascontiguousarray(array).reshape(-1).data)


def _die_with_parent() -> None:
    """Ask the kernel (Linux) to end this process with its parent: a hung decoder must not outlive a killed run."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
