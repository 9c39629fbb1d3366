"""What differs between operating systems, each thing once: locks, reads at a place, handles for a child, memory.

Linux is what the suite runs on. On Windows: a file that another process has open can be neither replaced nor removed, a
folder with an open file not renamed, and nothing is synced by folder. Elsewhere than on Linux a child that hangs may
outlive its parent.
"""

import ctypes
import errno
import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing import connection
from pathlib import Path
from typing import Any

if sys.platform == "win32":
    import msvcrt
    import subprocess
    from ctypes import wintypes

    _kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    _ONLY_TRY, _EXCLUSIVE = 1, 2  # LOCKFILE_FAIL_IMMEDIATELY, LOCKFILE_EXCLUSIVE_LOCK
    _TAKEN = (33, 997)  # ERROR_LOCK_VIOLATION, ERROR_IO_PENDING

    class _Overlapped(ctypes.Structure):
        _fields_ = (
            ("internal", ctypes.c_size_t),
            ("internal_high", ctypes.c_size_t),
            ("offset", wintypes.DWORD),
            ("offset_high", wintypes.DWORD),
            ("event", wintypes.HANDLE),
        )

    class _Memory(ctypes.Structure):
        _fields_ = (
            ("length", wintypes.DWORD),
            ("load", wintypes.DWORD),
            *(
                (name, ctypes.c_uint64)
                for name in ("all", "free", "paged", "free_paged", "virtual", "free_virtual", "_")
            ),
        )

else:
    try:
        import fcntl
    except ImportError:
        fcntl = None  # type: ignore[assignment]

WINDOWS = os.name == "nt"
# Where the locked bytes lie: behind all that a file holds, for what is locked cannot be read on Windows.
_BYTES = 1 << 40
_one_read = threading.Lock()


def lock_bytes(handle: int, start: int, length: int = 1, *, shared: bool = False, wait: bool = False) -> None:
    """Lock numbered bytes of an open file, which stand for whatever is agreed on; they die with the process.

    Raises:
        BlockingIOError: another process has one of them.
        OSError: the file system, or the system, cannot lock.
    """
    if sys.platform == "win32":
        place, how = _place(start), (0 if shared else _EXCLUSIVE) | (0 if wait else _ONLY_TRY)
        if not _kernel.LockFileEx(_handle_of(handle), how, 0, length, 0, ctypes.byref(place)):
            code = ctypes.get_last_error()
            raise BlockingIOError(errno.EAGAIN, "locked") if code in _TAKEN else ctypes.WinError(code)
    elif fcntl is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    else:
        how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.lockf(handle, how, length, _BYTES + start)
        except PermissionError as error:  # what some systems say for it
            raise BlockingIOError(errno.EAGAIN, error.strerror) from error


def unlock_bytes(handle: int, start: int, length: int = 1) -> None:
    """Let go of bytes that `lock_bytes` locked, in the same piece."""
    if sys.platform == "win32":
        _kernel.UnlockFileEx(_handle_of(handle), 0, length, 0, ctypes.byref(_place(start)))
    elif fcntl is not None:
        fcntl.lockf(handle, fcntl.LOCK_UN, length, _BYTES + start)


if sys.platform == "win32":

    def _place(start: int) -> _Overlapped:
        low, high = (_BYTES + start) & 0xFFFFFFFF, (_BYTES + start) >> 32
        return _Overlapped(offset=low, offset_high=high)

    def _handle_of(file: int) -> wintypes.HANDLE:
        return wintypes.HANDLE(msvcrt.get_osfhandle(file))


def open_handle(path: Path | str, flags: int) -> int:
    """A file's handle, for bytes, which children do not inherit."""
    return os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)


def read_at(handle: int, target: memoryview, offset: int) -> int:
    """Fill `target`, or its beginning, from a place in a file; gives how many bytes came. Threads may do so at once."""
    if hasattr(os, "preadv"):
        return os.preadv(handle, [target], offset)
    with _one_read:
        os.lseek(handle, offset, os.SEEK_SET)
        found = os.read(handle, len(target))
    target[: len(found)] = found
    return len(found)


def write_at(handle: int, data: bytes, offset: int) -> None:
    """Write at a place in a file."""
    if hasattr(os, "pwrite"):
        os.pwrite(handle, data, offset)
        return
    with _one_read:
        os.lseek(handle, offset, os.SEEK_SET)
        os.write(handle, data)


def sync(path: Path) -> None:
    """Make a file, or a rename in a folder, survive a power cut."""
    if WINDOWS and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hand_down(pipe: Any, file: int) -> tuple[list[str], dict[str, Any]]:
    """What a child process gets of a pipe's end and of a file: two arguments for `taken_over`, and Popen's."""
    if sys.platform == "win32":
        handles = [pipe.fileno(), msvcrt.get_osfhandle(file)]
        for handle in handles:
            os.set_handle_inheritable(handle, True)
        return [str(one) for one in handles], {
            "startupinfo": subprocess.STARTUPINFO(lpAttributeList={"handle_list": handles})
        }
    handles = [pipe.fileno(), file]
    return [str(one) for one in handles], {"pass_fds": handles}


def taken_over(pipe: str, file: str) -> tuple[Any, int]:
    """The pipe and the file that `hand_down` gave this process."""
    if sys.platform == "win32":
        return connection.PipeConnection(int(pipe)), msvcrt.open_osfhandle(int(file), os.O_WRONLY)
    return connection.Connection(int(pipe)), int(file)


def die_with_parent() -> None:
    """Ask the kernel (Linux) to end this process with its parent; elsewhere the broken pipe does, unless it hangs."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def most_open_files() -> int:
    """Files that this process may have open at once."""
    if sys.platform != "win32":
        with suppress(ImportError):
            import resource

            return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 512  # what C's library has on Windows


def free_memory() -> int:
    """Memory that can be had, in bytes: what Linux and Windows call available, elsewhere half of all."""
    if sys.platform == "win32":
        told = _Memory(length=ctypes.sizeof(_Memory))
        _kernel.GlobalMemoryStatusEx(ctypes.byref(told))
        return int(told.free)
    if Path("/proc/meminfo").exists():
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
        if available:
            return available[0]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
