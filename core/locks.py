"""Locks that die with their process, however it dies: of a folder, or of numbered pieces of work in it.

Record locks on the folder's `.lock` (`avr.core.system`) rather than flock: children do not inherit them, so a worker
that outlives its killed parent holds nothing, and NFS passes them on. Their trap: a process that closes any handle of
the file loses all its locks on it. So this module alone opens `.lock`, once a process.

Note [what lies where]: byte i is locked by who has claimed number i; byte TOGETHER, shared, by each process
that works in the folder with others; the whole file by one that must be alone. Slot 0 of its content names the last
process that came, slot i + 1 the one that claimed i: to say who is there, and to notice locks that do not lock.
"""

import errno
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from .errors import UsageError, WorkError
from .progress import warn
from .system import lock_bytes, open_handle, read_at, unlock_bytes, write_at

TOGETHER, TURN, ALL = 1 << 30, (1 << 30) + 1, 1 << 31  # bytes behind every number that can be claimed; their count
SLOT = 128  # bytes of content that name a process
UNABLE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)

_held: set[Path] = set()  # POSIX locks do not refuse the process that holds them: this does
_threads = threading.Lock()


def _forget() -> None:
    """In a forked child: the locks are the parent's."""
    global _threads
    _held.clear()
    _threads = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class FolderLock(AbstractContextManager["FolderLock"]):
    """A folder, held from construction to `release`; the kernel lets go when the process ends, SIGKILL included.

    Where the file system cannot lock (some network file systems), one line warns and the lock is taken to be held.
    Threads may share one; a forked child has none of it.

    Args:
        folder: exists.
        shared: hold it together with other processes that ask for the same, and share out work with `claim`; by
            default alone.
        doing: what the holder does, for the error: "another run {doing}".

    Raises:
        UsageError: another run holds it (says which process on which host), or this process does.
        WorkError: the folder cannot be written.
    """

    def __init__(self, folder: Path, *, shared: bool = False, doing: str = "works in this folder") -> None:
        self.folder, self.path = Path(folder), Path(folder).resolve() / ".lock"
        self.shared, self.works = shared, True
        self._pid, self._handle = os.getpid(), -1
        self._claimed: set[int] = set()
        self._one_thread, self._one_turn = threading.Lock(), threading.Lock()
        with _threads:
            if self.path in _held:
                raise UsageError(f"{folder}: this process already {doing}")
            try:
                self._handle = open_handle(self.path, os.O_RDWR | os.O_CREAT)
            except OSError as error:
                raise WorkError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from error
            try:
                self._take(doing, shared)
                self._check_place()
            except BaseException:
                os.close(self._handle)
                self._handle = -1
                raise
            _held.add(self.path)

    def _take(self, doing: str, shared: bool) -> None:
        if not (self._lock(TOGETHER, shared=True) if shared else self._lock(0, ALL)):
            raise UsageError(
                f"{self.folder}: another run {doing} ({_describe(self._slot(0))}): wait, or choose another --out"
            )
        if not shared:
            with suppress(OSError):
                os.ftruncate(self._handle, 0)
        self._name(0, shared=shared)

    def _check_place(self) -> None:
        """Raise UsageError where the folder was removed or renamed before it was locked: others lock another file."""
        try:
            there = os.path.samestat(os.fstat(self._handle), os.stat(self.path))
        except OSError:
            there = False
        if not there:
            raise UsageError(f"{self.folder}: another run removed this folder just now: start again")

    def claim(self, number: int) -> bool:
        """Take one piece of work, 0 … 2³⁰ − 1, for this process; False: it has been claimed here or elsewhere."""
        with self._one_thread:
            if number in self._claimed or (self.shared and not self._lock(number)):
                return False
            self._claimed.add(number)
            self._name(number + 1)
            return True

    def give_back(self, number: int) -> None:
        """Let go of a piece of work, done or not. Warns where another process has claimed it at the same time."""
        with self._one_thread:
            if number not in self._claimed or self._handle < 0:
                return
            self._claimed.discard(number)
            other = self._slot(number + 1)
            if self.works and other and other != _this_process():
                self._cannot(f"{_describe(other)} took the same work at the same time")
            self._unlock(number)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Inside, no other process that shares the folder is inside too; waits until it may."""
        with self._one_turn:
            if self.shared:
                self._lock(TURN, wait=True)
            try:
                yield
            finally:
                self._unlock(TURN)

    def release(self) -> None:
        """Give all of it back. The file stays: removing it would race with the next holder."""
        if self._handle >= 0 and self._pid == os.getpid():  # a fork's closing would end locks of its own
            with _threads:
                os.close(self._handle)
                self._handle = -1
                _held.discard(self.path)

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self.release()

    def _lock(self, start: int, length: int = 1, *, shared: bool = False, wait: bool = False) -> bool:
        """Lock bytes of the file; False: another process has one of them."""
        if not self.works:
            return True
        try:
            lock_bytes(self._handle, start, length, shared=shared, wait=wait)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in UNABLE:
                raise WorkError(f"{self.folder}: cannot be locked ({error.strerror})") from error
            self._cannot(error.strerror)
        return True

    def _unlock(self, start: int) -> None:
        if self.works and self.shared and self._handle >= 0:  # alone, every byte stays locked
            unlock_bytes(self._handle, start)

    def _cannot(self, why: str | None) -> None:
        self.works = False
        warn(f"{self.folder}: its file system does not lock files ({why}): start one run there at a time")

    def _name(self, slot: int, **more: bool) -> None:
        """Write this process into a slot. On a full disk the lock holds all the same; it just cannot say who has it."""
        with suppress(OSError):
            write_at(self._handle, _this_process(**more).ljust(SLOT), slot * SLOT)

    def _slot(self, slot: int) -> bytes:
        with suppress(OSError):
            slot_bytes = bytearray(SLOT)
            got = read_at(self._handle, memoryview(slot_bytes), slot * SLOT)
            return bytes(slot_bytes[:got]).rstrip(b"\0 ")
        return b""


def _this_process(**more: bool) -> bytes:
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname()[:64], **more}).encode()[:SLOT]


def _describe(holder: bytes) -> str:
    try:
        fields = json.loads(holder)
        others = ", or others with it" if fields.get("shared") else ""
        return f"process {int(fields['pid'])} on {str(fields['host'])[:100]}{others}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its process did not say who it is"
