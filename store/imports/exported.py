"""What `avr store export` wrote, taken back: videos.csv, classes.txt and the arrays beside them, as they are."""

import csv
import hashlib
import io
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, plain_cell
from avr.store.features.facts import CODEC, NUMBERS
from avr.store.features.opening import open_parts
from avr.store.features.parts import find_plan, some_parts_of
from avr.store.features.plan import TEST, TRAIN

from .foreign import mapped_npy

LISTS = ("videos.csv", "classes.txt")
COLUMNS = ("ids", "paths", "labels", "groups", "frames", "first_row", "views")
SPLIT = "split "  # a column's name begins so, and its cells say the part
SHOWN = ("_row_frames", "_row_seconds")


@dataclass(frozen=True)
class Video:
    """A video, as `avr.datasets.Video` has it."""

    id: str
    path: str
    label: int
    group: str


@dataclass
class Split:
    """A split's videos, by id."""

    train: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Videos:
    """A data set that is known from what avr wrote: as `StoreWriter` takes it."""

    name: str
    class_names: tuple[str, ...]
    videos: list[Video]
    splits: dict[str, Split]


@dataclass(frozen=True)
class Export:
    """An exported store.

    Attributes:
        videos: all of it.
        arrays: stream → "stream/layer" → (R, N, …), on disk.
        shown: stream → frames and seconds (R, N), where they are there.
        columns: of videos.csv, by name.
        digest: SHA-256 of all that is imported.
    """

    videos: Videos
    arrays: dict[str, dict[str, NDArray]]
    shown: dict[str, tuple[NDArray, NDArray]]
    columns: dict[str, list[str]]
    digest: str

    def of(self, number: int, stream: str) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """A video's arrays, by name, and what `ShardWriter.add` takes beside them."""
        first, count = (int(self.columns[name][number]) for name in ("first_row", "views"))
        rows = slice(first, first + count)
        facts: dict[str, Any] = {
            name: float(self.columns[name][number] or 0) for name in NUMBERS if name in self.columns
        }
        facts[CODEC] = self.columns.get(CODEC, [""] * (number + 1))[number]
        shown = self.shown.get(stream)
        beside = {
            "frames": int(self.columns["frames"][number]),
            "facts": facts,
            "shown": None if shown is None else (shown[0][rows], shown[1][rows]),
        }
        return {name: array[rows] for name, array in self.arrays[stream].items()}, beside


def is_export(folder: Path) -> bool:
    """Whether a folder looks like an exported store."""
    if not all((folder / name).is_file() for name in LISTS):
        return False
    with (folder / LISTS[0]).open(encoding="utf-8", errors="replace") as file:
        return "first_row,views" in file.readline(1 << 16)


def read_export(folder: Path, name: str) -> Export:
    """What an export holds.

    Args:
        folder: of it.
        name: to call the data set.

    Raises:
        UsageError: it was changed since, or is one of scores.
    """
    table, classes = (folder / name for name in LISTS)
    try:
        cells = csv.reader(io.StringIO(table.read_bytes().decode(), newline=""))
        rows = [[plain_cell(cell) for cell in row] for row in cells]
        class_names = tuple(classes.read_text(encoding="utf-8").splitlines())
        columns = dict(zip(rows[0], map(list, zip(*rows[1:], strict=True)), strict=True))
        videos = [
            Video(video, path, int(label), group)
            for video, path, label, group in zip(*(columns[name] for name in COLUMNS[:4]), strict=True)
        ]
        views = [int(count) for count in columns["views"]]
        ends = np.cumsum(views).tolist()
        if [int(first) for first in columns["first_row"]] != [
            end - count for end, count in zip(ends, views, strict=True)
        ]:
            raise ValueError("rows that do not follow one another")
        _check_numbers(columns)
    except (OSError, ValueError, KeyError, IndexError, csv.Error) as error:
        raise UsageError(f"{table}: not as `avr store export` writes it of a store ({error})") from error
    splits = {column[len(SPLIT) :]: Split() for column in columns if column.startswith(SPLIT)}
    for split, own in splits.items():
        for video, part in zip(videos, columns[SPLIT + split], strict=True):
            if part:
                (own.train if part == "train" else own.test).append(video.id)
    arrays, beside = _arrays_of(folder, ends[-1])
    shown = {
        stream: (beside[stream + SHOWN[0]], beside[stream + SHOWN[1]])
        for stream in arrays
        if all(stream + end in beside for end in SHOWN)
        # Of streams that shared a part with others, the steps of the first one are told.
        and {beside[stream + end].shape[1:] for end in SHOWN} == {array.shape[1:2] for array in arrays[stream].values()}
    }
    digest = hashlib.sha256(table.read_bytes() + classes.read_bytes())
    for array in (*(one for found in arrays.values() for one in found.values()), *beside.values()):
        digest.update(np.ascontiguousarray(array).data)
    return Export(Videos(name, class_names, videos, splits), arrays, shown, columns, digest.hexdigest())


def _arrays_of(folder: Path, num_rows: int) -> tuple[dict[str, dict[str, NDArray]], dict[str, NDArray]]:
    """Of an export's folder: stream → "stream/layer" → array, and the arrays that tell what their rows show."""
    arrays: dict[str, dict[str, NDArray]] = defaultdict(dict)
    beside: dict[str, NDArray] = {}
    streams = [path.stem.removesuffix(SHOWN[0]) for path in folder.glob(f"*{SHOWN[0]}.npy")]
    for path in sorted(folder.glob("*.npy")):
        if f"_{path.stem}" in SHOWN:  # as exports of before told it, of all streams
            continue
        array = mapped_npy(path)
        if array.ndim < 2 or len(array) != num_rows:
            raise UsageError(f"{path}: shape {array.shape}, but videos.csv has {num_rows} rows")
        if path.stem.endswith(SHOWN):
            if array.dtype.kind not in ("i" if path.stem.endswith(SHOWN[0]) else "f"):
                raise UsageError(f"{path}: {array.dtype}, not as `avr store export` writes it")
            beside[path.stem] = array
        else:
            named = [one for one in streams if path.stem.startswith(f"{one}_")]
            stream = max(named, key=len, default=path.stem.rpartition("_")[0])
            arrays[stream][f"{stream}/{path.stem[len(stream) + 1 :]}"] = array
    return dict(arrays), beside


def _check_numbers(columns: Mapping[str, list[str]]) -> None:
    """Raise ValueError where a fact that `Export.of` will read is no number, or none that a store can hold."""
    for cell in columns["frames"]:
        int(cell)
    for name, kind in NUMBERS.items():
        for cell in columns.get(name, []):
            number = float(cell or 0)
            if not math.isfinite(number) or (kind[0] == "i" and abs(number) > np.iinfo(kind).max):
                raise ValueError(f"{name} {cell}")


def videos_of(store: Path | str) -> Videos:
    """The data set that a store was made of, its failed videos among them.

    Raises:
        UsageError: no store.
        WorkError: damaged.
    """
    store = Path(store)
    plan, _ = find_plan(store / some_parts_of(store)[0]) if store.is_dir() else (None, None)
    if plan is None:
        catalog = open_parts([store])[0].catalog
        plan = catalog.whole or catalog.plan

    def split(column: int) -> Split:
        train, test = (np.flatnonzero(plan.splits[:, column] == part) for part in (TRAIN, TEST))
        return Split([plan.ids[at] for at in train], [plan.ids[at] for at in test])

    columns = zip(plan.ids, plan.paths, plan.labels.tolist(), plan.groups, strict=True)
    splits = {name: split(column) for column, name in enumerate(plan.split_names)}
    return Videos(plan.dataset, plan.class_names, [Video(*row) for row in columns], splits)
