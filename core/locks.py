"""One run a store: a lock that a living process holds, and that dies with it however it dies."""

import errno
import fcntl
import json
import os
import socket
from pathlib import Path

from .errors import UsageError, WorkError

_held: set[Path] = set()  # POSIX locks do not refuse the process that holds them: this does


class StoreLock:
    """Held from construction to `release`. The kernel drops it when the process ends, SIGKILL included.

    A POSIX record lock rather than flock: children do not inherit it, so a worker that outlives its killed
    coordinator does not keep the store locked, and NFS passes it on.

    Raises:
        UsageError: another run holds it; says which process on which host.
        WorkError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._handle = -1
        self.path = folder.resolve() / ".lock"
        if self.path in _held:
            raise UsageError(f"{folder}: this process already writes to this store")
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise WorkError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from error
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(handle, 1000, 0).decode(errors="replace")
            os.close(handle)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise UsageError(
                    f"{folder}: another run writes to this store ({_describe(holder)}): wait, or choose another --out"
                ) from error
            raise WorkError(f"{folder}: its file system cannot lock files ({error.strerror})") from error
        self._handle = handle
        _held.add(self.path)
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        except OSError:
            return  # a full disk: the lock holds, it just cannot say who has it

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would race with the next holder."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
            _held.discard(self.path)

    def __del__(self) -> None:
        self.release()


def _describe(holder: str) -> str:
    try:
        fields = json.loads(holder)
        return f"process {int(fields['pid'])} on {str(fields['host'])[:100]}"
    except (ValueError, KeyError, TypeError):
        return "its process did not say who it is"
