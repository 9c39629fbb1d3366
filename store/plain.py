"""Plain files for tools that know neither avr nor HDF5: csv, lines of text, npy. None that is there is written over."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from avr.core import UsageError, WorkError, write_whole


@contextmanager
def export_folder(out: Path) -> Iterator[None]:
    """Make the folder; inside the block, what cannot be written is a WorkError that names it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise WorkError(f"{out}: cannot be written ({error.strerror})") from error


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, whole or not at all. Raises UsageError when it is there already."""
    if path.exists():
        raise UsageError(f"{path}: is there already; choose another folder")
    with write_whole(path) as temporary, open(temporary, "wb") as file:
        yield file


def write_table(path: Path, columns: Mapping[str, Any]) -> Path:
    """Columns of equal length as csv, their names first."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True))
    with new_file(path) as file:
        file.write(text.getvalue().encode())
    return path


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    """A line each."""
    with new_file(path) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
    return path
