"""Files and folders that are there whole or not at all, whoever is killed or whatever disk is full.

What is not whole yet lies beside its place under a name that says whose it is: `.<name>.<host>-<process>-<random>.tmp`.
A writer that fails removes it; what a killed one left the next writer of the same place removes.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import UsageError, WorkError, message_of
from .progress import note
from .remarks import as_size
from .system import sync

LONGEST_NAME = 150  # bytes of a name that are repeated in the temporary one: a name has 255 at most
DAY = 86400.0  # seconds without a change, after which a writer on another host, which cannot be asked, counts as dead


@contextmanager
def write_whole(path: Path, *, needed: int = 0) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it to `path`, on failure remove it.

    A reader therefore never sees a half-written file: present means complete. The file gets the permissions that the
    process's umask leaves, whatever the library that writes it sets (safetensors: the owner alone).

    Args:
        path: the file; its folder is made.
        needed: about how many bytes it will have, where that is known: so many must be free.

    Raises:
        UsageError, WorkError: the folder cannot be made, or the file not be written (a full disk, missing rights).
    """
    make_folder(path.parent)
    remove_leftovers(path)
    temporary = _beside(path)
    try:
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        if needed > shutil.disk_usage(path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield temporary
        with open(temporary, "rb+") as file:
            if os.fstat(file.fileno()).st_mode != mode and hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException as error:
        with suppress(OSError):  # a folder where the file should be, that somebody removed, …
            temporary.unlink(missing_ok=True)
        if _of_writing(error, temporary):
            raise cannot_write(path, error, needed=needed) from error
        raise


@contextmanager
def write_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; what is put in it is found in `path` when the block ends without an error.

    A folder that is not there comes with all its files at once; into one that is there they are moved one by one, over
    those of the same names.

    Raises:
        UsageError, WorkError: as `write_whole`.
    """
    make_folder(path.parent)
    for place in (path, path / path.name):
        remove_leftovers(place)
    temporary = _beside(path / path.name if path.is_dir() else path)
    try:
        temporary.mkdir()
        yield temporary
        files = [one for one in temporary.rglob("*") if one.is_file()]
        for file in files:
            sync(file)
        if path.is_dir():
            for file in files:
                place = path / file.relative_to(temporary)
                make_folder(place.parent)
                os.replace(file, place)
            sync(path)
        else:
            os.replace(temporary, path)
            sync(path.parent)
    except OSError as error:
        if _of_writing(error, temporary, path):
            raise cannot_write(path, error) from error
        raise
    except WorkError as error:
        raise WorkError(str(error).replace(str(temporary), str(path))) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _of_writing(error: BaseException, *places: Path) -> bool:
    """Whether the system, also by the mouth of a library in Rust such as safetensors, says that it cannot write there
    or below.
    """
    if isinstance(error, OSError):
        return error.filename is None or any(Path(str(error.filename)).is_relative_to(place) for place in places)
    return "(os error " in str(error)


def cannot_write(path: Path, error: BaseException, *, needed: int = 0) -> WorkError:
    """What to tell of a file that cannot be written: of the error that a library or the system gives, and its size."""
    why = getattr(error, "strerror", None) or message_of(error)
    if numbered := re.search(r"\(os error (\d+)\)", why):
        why = os.strerror(int(numbered[1]))
    size = f", {as_size(needed)} needed" if needed else ""
    return WorkError(f"{path}: cannot be written ({why}{size}); nothing written before is lost")


def _beside(path: Path) -> Path:
    # Process numbers repeat among machines and containers that share a folder: the random part does not.
    return path.with_name(f"{_prefix(path)}{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _prefix(path: Path) -> str:
    name = os.fsencode(path.name)
    return f".{path.name if len(name) <= LONGEST_NAME else hashlib.sha256(name).hexdigest()[:32]}."


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())[:32]


def remove_leftovers(path: Path, *, alone: bool = False) -> None:
    """Remove what killed writers of `path` left, and say how many bytes; what a living one is at stays.

    Args:
        path: the file or folder.
        alone: nobody else can be writing it now, as the caller's lock says: all that is there was left.
    """
    prefix, freed, count = _prefix(path), 0, 0
    try:
        with os.scandir(path.parent) as entries:
            left = [Path(one.path) for one in entries if one.name.startswith(prefix) and one.name.endswith(".tmp")]
    except OSError:  # no folder, or one that cannot be read: there is nothing to remove
        return
    for one in left:
        if alone or _is_dead(one, one.name[len(prefix) : -len(".tmp")]):
            size = size_of(one)
            if one.is_dir() and not one.is_symlink():
                shutil.rmtree(one, ignore_errors=True)
            else:
                with suppress(OSError):
                    one.unlink()
            if not os.path.lexists(one):
                freed, count = freed + size, count + 1
    if count:
        writers = "a killed writer" if count == 1 else f"{count} killed writers"
        note(f"{path}: removed what {writers} left of it ({as_size(freed)})")


def is_leftover(path: Path) -> bool:
    """Whether a name is one of those that files and folders have until they are whole."""
    return re.fullmatch(r"\..*-\d+-[0-9a-f]{8}\.tmp", path.name) is not None


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; what is gone meanwhile counts nothing."""
    total = 0
    for one in [path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())]:
        with suppress(OSError):
            total += one.lstat().st_size if not one.is_dir() else 0
    return total


def _is_dead(left: Path, writer: str) -> bool:
    """Whether the writer of a temporary file, "<host>-<process>-<random>", is gone."""
    found = re.fullmatch(r"(\w+)-(\d+)-[0-9a-f]{8}", writer)
    if found and found[1] == _host() and os.name == "posix":
        return not _lives(int(found[2]))
    with suppress(OSError):
        return time.time() - left.lstat().st_mtime > DAY
    return False


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True


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
