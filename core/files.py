"""Files that are there whole or not at all."""

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import UsageError, WorkError


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it to `path`, on failure remove it.

    A reader therefore never sees a half-written file: present means complete. The file gets the permissions that the
    process's umask leaves, whatever the library that writes it sets (safetensors: the owner alone).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        with open(temporary, "rb+") as file:
            if os.fstat(file.fileno()).st_mode != mode:
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _beside(path: Path) -> Path:
    # Process numbers repeat among machines and containers that share a folder: the random part does not.
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")


def try_place(path: Path) -> None:
    """Make the folder of a file that long work will end with, and try whether `write_whole` can write there.

    Raises:
        UsageError, WorkError: it cannot.
    """
    make_folder(path.parent)
    temporary = _beside(path)
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise WorkError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    temporary.unlink()


def remove_leftovers(path: Path) -> None:
    """Remove what killed writers of `path` left; for who alone may write it now."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        left.unlink(missing_ok=True)


def make_folder(folder: Path) -> Path:
    """Make a folder, with those above it, where it is not there.

    Raises:
        UsageError: a file stands where it, or one above it, should be.
        WorkError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{folder}: is a file, or lies below one; choose another folder") from error
    except OSError as error:
        raise WorkError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from error
    return folder


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_file(path: Path) -> BinaryIO:
    """A file, open to be read. A folder, a device or a FIFO, which would be waited for, is refused.

    Raises:
        UsageError: it is not there, is no regular file, or cannot be opened.
    """
    flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
    try:
        handle = os.open(path, flags)
    except OSError as error:
        raise UsageError(f"{path}: cannot be opened ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UsageError(f"{path}: not a regular file")
    return os.fdopen(handle, "rb")


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
