"""Reading and writing whole files, with every failure as one of avr's errors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from avr.core import AvrError, UsageError, WorkError, sync_folder


def read_exactly(handle: int, start: int, count: int, path: Path) -> bytes:
    """`count` bytes of an open file from `start`.

    Raises:
        WorkError: the file is shorter, or the disk fails.
    """
    parts = []
    try:
        while count:
            part = os.pread(handle, min(count, 1 << 30), start)
            if not part:
                raise WorkError(f"{path}: cut short at byte {start}; `avr store repair` drops damaged shards")
            parts.append(part)
            start, count = start + len(part), count - len(part)
    except OSError as error:
        raise WorkError(f"{path}: cannot be read ({error.strerror})") from error
    return b"".join(parts)


@contextmanager
def open_handle(path: Path) -> Iterator[int]:
    """A file's descriptor, for reading. Raises UsageError when it cannot be opened."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"{path}: cannot be opened ({error.strerror})") from error
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Inside the block, whatever is wrong with the file at `path` is a WorkError naming it."""
    try:
        yield
    except AvrError:
        raise
    except MemoryError as error:
        raise WorkError(f"{path}: not enough memory to read it ({error})") from error
    except Exception as error:  # h5py raises nearly every built-in error on a damaged file
        place = f" at key {error.args[0]!r}" if isinstance(error, KeyError) and error.args else ""
        raise WorkError(f"{path}: damaged{place} ({type(error).__name__}: {_one_line(error)})") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def write_file(path: Path, image: memoryview, *, writer: str = "") -> None:
    """Write a whole file under a temporary name, sync it, and rename it: present means complete.

    Args:
        path: where it shall be; its folder exists.
        image: its bytes.
        writer: something unique to this writer among all that may write the same file at once.

    Raises:
        WorkError: disk full, read-only, or not allowed; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{writer or os.getpid()}.tmp")
    try:
        with open(temporary, "wb", buffering=0) as file:
            view = image
            while view:
                view = view[file.write(view) :]
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):  # the first error says more
            temporary.unlink(missing_ok=True)
        raise WorkError(
            f"{path}: cannot be written, {len(image)} bytes needed ({error.strerror}); nothing written before is "
            "lost: make room or choose another --out, then run the same command again to continue"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
