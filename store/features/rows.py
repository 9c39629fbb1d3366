"""Feature rows from their files to memory, read past the HDF5 library.

Where a row lies and what it must hash to stands in the index, whose own hash was checked. So reads run in several
threads at once, and no damaged byte ever reaches the library.

Note [three ways to read]: a row's first read goes through `read_at` and its checksum, so that a damaged file or disk is
an error and not a signal. Where the whole array fits the memory allowed, the row is then kept, and later reads are
copies from memory: 25 times as fast for rows of 1 KB. Where it does not, later reads copy from a mapping of the file,
at 1.3 times the speed of `read_at`; before each, the file must still have its size, since touching a mapping behind a
file's end would kill the process.
"""

import functools
import math
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avr.core import WorkError, most_open_files, open_handle, read_at
from avr.store.tables import crc32_of

from .catalog import Catalog

DAMAGED = "damaged; `avr store verify` lists what is, `avr store repair` drops it so that `avr extract` redoes it"
PIECE_BYTES = 1 << 20  # read and checked at once: small enough that the check still finds the bytes in the cache
PARALLEL_BYTES = 1 << 19  # a thread's least share: below it, threads cost more than they bring
NUM_THREADS = min(4, os.cpu_count() or 1)


class _OpenFile:
    """A file's handle and, once asked for, its mapping; both closed when nobody refers to it any more."""

    handle = -1

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self.handle = open_handle(path, os.O_RDONLY)
        self._check_size()

    def _check_size(self) -> None:
        size = os.lseek(self.handle, 0, os.SEEK_END)  # half the price of fstat
        if size != self.size:
            raise WorkError(f"{self.path}: has {size} bytes, the index says {self.size}: {DAMAGED}")

    @functools.cached_property
    def _mapped(self) -> memoryview:
        return memoryview(mmap.mmap(self.handle, self.size, access=mmap.ACCESS_READ))

    def view(self) -> memoryview:
        """The file's bytes, mapped, which are all still there."""
        self._check_size()
        return self._mapped

    def read_into(self, target: memoryview, offset: int) -> None:
        """Fill `target` from `offset` on."""
        got = 0
        while got < len(target):
            more = read_at(self.handle, target[got:], offset + got)
            if not more:
                raise WorkError(f"{self.path}: cut short: {DAMAGED}")
            got += more

    def __del__(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)


class RowReader:
    """Reads rows of a store's parts by array name and row number. Several threads may use one at once.

    Rows are kept in memory up to `cache_bytes`, all arrays together; an array is kept if it fits whole.

    Args:
        parts: of each its tables, and its folder or the packed file. No two have an array of one name.
    """

    def __init__(self, *parts: tuple[Catalog, Path], cache_bytes: int = 0) -> None:
        files: list[tuple[Path, int]] = []
        self._arrays: dict[str, tuple[int, ...]] = {}
        self._places: dict[str, NDArray] = {}
        self._file_of_row: dict[str, NDArray[np.int32]] = {}
        self._first_row: list[int] = []  # of each file, among its part's
        for catalog, path in parts:
            counts = np.diff(catalog.file_first_row)
            numbers = np.arange(len(files), len(files) + len(counts), dtype=np.int32)
            self._file_of_row |= dict.fromkeys(catalog.places, np.repeat(numbers, counts))
            self._arrays |= catalog.plan.arrays
            self._places |= catalog.places
            self._first_row += catalog.file_first_row[:-1].tolist()
            folder = path.is_dir()
            files += [(path / name if folder else path, size) for name, size, _ in catalog.files]
        most_open = max(8, most_open_files() // 4)  # a mapping takes one more
        self._files, self._file = files, functools.lru_cache(most_open)(lambda number: _OpenFile(*files[number]))
        self._unchecked = {name: np.ones(len(place), dtype=bool) for name, place in self._places.items()}
        self._cache_bytes = cache_bytes
        self._kept: dict[str, tuple[NDArray[np.float16], NDArray[np.bool_]] | None] = {}  # rows; which are absent
        self._keeping = threading.Lock()

    def read(self, name: str, rows: NDArray[np.int64], *, keep: bool = True) -> NDArray[np.float16]:
        """Rows of the array "stream/layer" by number, float16 (rows, *shape).

        Without `keep` they are not kept in memory: for a caller who keeps the result itself.

        Raises:
            WorkError: damaged or gone, naming file, array and row.
        """
        kept = self._memory_for(name) if keep else None
        if kept is None:
            out = np.empty((len(rows), *self._arrays[name]), dtype="<f2")
            self._load(name, rows, out, np.arange(len(rows)))
            return out
        memory, absent = kept
        with self._keeping:
            if absent[rows].any():
                needed = np.unique(rows[absent[rows]])
                self._load(name, needed, memory, needed)
                absent[needed] = False
        return memory[rows]

    def batches(self, name: str) -> Iterator[NDArray[np.float16]]:
        """All rows of one array in order, a few at a time."""
        numbers = np.arange(len(self._places[name]))
        for start in range(0, len(numbers), 64):
            yield self.read(name, numbers[start : start + 64], keep=False)

    def _memory_for(self, name: str) -> tuple[NDArray[np.float16], NDArray[np.bool_]] | None:
        """Where an array's rows are kept (memory is taken only as they are written), and which are not there yet.

        None where it does not fit.
        """
        with self._keeping:
            if name not in self._kept:
                shape = (len(self._places[name]), *self._arrays[name])
                used = sum(kept[0].nbytes for kept in self._kept.values() if kept is not None)
                fits = used + 2 * math.prod(shape) <= self._cache_bytes
                self._kept[name] = (np.empty(shape, dtype="<f2"), np.ones(shape[0], dtype=bool)) if fits else None
            return self._kept[name]

    def _load(self, name: str, rows: NDArray[np.int64], out: NDArray[np.float16], places: NDArray[np.int64]) -> None:
        """Read `rows` from their files to `out[places]`, checking those not checked yet."""
        if not len(rows):
            return
        step = 2 * math.prod(self._arrays[name])
        files, offsets = self._file_of_row[name][rows], self._places[name]["offset"][rows].astype(np.int64)
        edges = _run_edges(files, offsets, places, step)
        starts = edges[:-1]
        found = files[starts].tolist(), offsets[starts].tolist(), places[starts].tolist()
        runs = list(zip(starts, edges[1:], *found, strict=True))
        flat = out.data.cast("B")
        expected = self._places[name]["crc32"][rows].tolist() if self._unchecked[name][rows].any() else None

        def load(first: int, last: int) -> None:
            for start, stop, number, offset, place in runs[first:last]:
                target = flat[place * step : (place + stop - start) * step]
                try:
                    file = self._file(number)
                    if expected is None:
                        target[:] = file.view()[offset : offset + len(target)]
                        continue
                    file.read_into(target, offset)
                except OSError as error:
                    path = self._files[number][0]
                    raise WorkError(f"{path}: cannot be opened or read ({error.strerror}): {DAMAGED}") from error
                for index in range(start, stop):
                    at = (index - start) * step
                    if crc32_of(target[at : at + step]) != expected[index]:
                        row = int(rows[index]) - self._first_row[number]
                        raise WorkError(f"{file.path}: row {row} of {name} is {DAMAGED}")

        _in_parallel(load, len(runs), len(rows) * step)
        if expected is not None:
            self._unchecked[name][rows] = False


def _in_parallel(load: Callable[[int, int], None], num_runs: int, total: int) -> None:
    parts = min(NUM_THREADS, num_runs, total // PARALLEL_BYTES)
    if parts < 2:
        load(0, num_runs)
        return
    edges = [num_runs * part // parts for part in range(parts + 1)]
    for future in [_threads(os.getpid()).submit(load, first, last) for first, last in pairwise(edges)]:
        future.result()


@functools.cache
def _threads(_process: int) -> ThreadPoolExecutor:
    """A process's own: a parent's threads do not live on in its forks."""
    return ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="store")


def _run_edges(files: NDArray, offsets: NDArray, places: NDArray, step: int) -> list[int]:
    """Where runs begin, and the end: a run is rows that follow one another in their file and in memory.

    Runs are cut to about PIECE_BYTES.
    """
    breaks = (files[1:] != files[:-1]) | (offsets[1:] - offsets[:-1] != step) | (places[1:] - places[:-1] != 1)
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(files)]
    longest = max(1, PIECE_BYTES // step)
    if len(edges) - 1 == len(files):
        return edges
    return [edge for start, stop in pairwise(edges) for edge in range(start, stop, longest)] + [len(files)]
