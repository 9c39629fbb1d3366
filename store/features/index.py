"""The catalog: all tables of a store in memory, as its index file, its packed file or its shards tell them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from avr.core import AvrError, UsageError, note
from avr.store.sealed import Seal, open_sealed, write_sealed
from avr.store.tables import PLACE, Tables, write_tables

from .plan import PLAN_NAME, Plan, load_plan, plan_tables, read_plan, with_seal
from .shard import ShardTable, read_places, read_remarks, read_shard, remark_tables, shard_name

INDEX_NAME = "index.h5"


@dataclass(frozen=True)
class Catalog:
    """Tables of a store.

    Attributes:
        plan: ids, labels … of the M videos that have features.
        whole: the plan of all videos, those that failed among them; None where an older file does not hold it.
        rows: (M,) int32 views of each video.
        frames: (M,) int32 decoded frames of each video.
        failures: (id, reason) of the videos that have none.
        notes: (id, remark) of some that have.
        files: the files that hold rows, with size and SHA-256 of what lies behind their user block.
        file_first_row: (files + 1,) int64: rows file_first_row[i] … file_first_row[i+1] − 1 lie in files[i].
        places: for every array (R,) PLACE: where each row lies in its file, and its checksum.
        missing_shards: numbers of the shards not written yet.
    """

    plan: Plan
    whole: Plan | None
    rows: NDArray[np.int32]
    frames: NDArray[np.int32]
    failures: tuple[tuple[str, str], ...]
    notes: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, int, str], ...]
    file_first_row: NDArray[np.int64]
    places: dict[str, NDArray]
    missing_shards: tuple[int, ...] = ()

    @property
    def first_row(self) -> NDArray[np.int64]:
        """(M,) first row of each video."""
        return np.concatenate([[0], np.cumsum(self.rows)]).astype(np.int64)[: len(self.rows)]

    @property
    def digest(self) -> str:
        """Identity of the content, wherever it lies and however it is cut into files: SHA-256, hexadecimal."""
        plan = self.plan
        digest = hashlib.sha256()
        about: list[Any] = [plan.dataset, plan.class_names, plan.split_names, plan.ids, plan.groups, self.failures]
        about += [plan.arrays, None, plan.provenance.get("settings")]  # None: no compression, which there once was
        digest.update(json.dumps(about, sort_keys=True).encode())
        for column in (plan.labels, plan.splits, self.rows, self.frames):
            digest.update(np.ascontiguousarray(column).tobytes())
        for name in sorted(self.places):
            digest.update(np.ascontiguousarray(self.places[name]["crc32"]).tobytes())
        return digest.hexdigest()


def catalog_of_shards(plan: Plan, shards: Sequence[ShardTable]) -> Catalog:
    """Put the shards that are there together, in the order of their numbers."""
    shards = sorted(shards, key=lambda shard: shard.number)
    position = {video: index for index, video in enumerate(plan.ids)}
    counts = [int(shard.rows.sum()) for shard in shards]
    there = {shard.number for shard in shards}
    return Catalog(
        plan=plan.take(np.array([position[video] for shard in shards for video in shard.ids], dtype=np.intp)),
        whole=plan,
        rows=np.concatenate([np.zeros(0, "<i4"), *(shard.rows for shard in shards)]).astype("<i4"),
        frames=np.concatenate([np.zeros(0, "<i4"), *(shard.frames for shard in shards)]).astype("<i4"),
        failures=tuple(failure for shard in shards for failure in shard.failures),
        notes=tuple(remark for shard in shards for remark in shard.notes),
        files=tuple((shard_name(shard.number), shard.seal.size, shard.seal.sha256) for shard in shards),
        file_first_row=np.concatenate([[0], np.cumsum(counts)]).astype("<i8"),
        places={
            name: np.concatenate([shard.places[name] for shard in shards]) if shards else np.zeros(0, PLACE)
            for name in plan.arrays
        },
        missing_shards=tuple(number for number in range(plan.num_shards) if number not in there),
    )


def catalog_tables(catalog: Catalog) -> dict[str, Any]:
    """All tables of a finished store, as `write_tables` takes them."""
    tables = {
        **plan_tables(catalog.plan),
        "index/videos/rows": catalog.rows,
        "index/videos/frames": catalog.frames,
        "index/videos/first_row": catalog.first_row,
        **remark_tables(catalog.failures, catalog.notes),
        "index/files/name": [name for name, _, _ in catalog.files],
        "index/files/size": np.array([size for _, size, _ in catalog.files], dtype="<i8"),
        "index/files/sha256": [sha256 for _, _, sha256 in catalog.files],
        "index/files/first_row": catalog.file_first_row,
        **{f"index/rows/{name}": place for name, place in catalog.places.items()},
    }
    if catalog.whole is not None and catalog.failures:
        failed = {video for video, _ in catalog.failures}
        position = np.array([n for n, video in enumerate(catalog.whole.ids) if video in failed], dtype="<i8")
        theirs = catalog.whole.take(position)
        tables["index/failures/position"] = position
        tables["index/failures/path"], tables["index/failures/group"] = theirs.paths, theirs.groups
        tables["index/failures/label"], tables["index/failures/splits"] = theirs.labels, theirs.splits
    return tables


def read_tables(tables: Tables, seal: Seal) -> Catalog:
    """The catalog that `catalog_tables` gave; call it inside `open_sealed`."""
    plan = read_plan(tables)
    count = len(plan.ids)
    rows = tables.numbers("index/videos/rows", (count,), "i4")
    total = int(rows.astype(np.int64).sum())
    names = tables.text("index/files/name")
    sizes = tables.numbers("index/files/size", (len(names),), "i8")
    first = tables.numbers("index/files/first_row", (len(names) + 1,), "i8")
    if count and (rows.min() < 1 or plan.arrays == {}):
        raise ValueError("a video without rows")
    if first[0] != 0 or first[-1] != total or (np.diff(first) < 0).any():
        raise ValueError("files/first_row does not fit the rows")
    if any("/" in name or name in ("", "..") for name in names):
        raise ValueError("a file outside the store")
    size = int(sizes.max(initial=0)) if seal.kind == "index" else seal.size
    failures, notes = read_remarks(tables)
    catalog = Catalog(
        plan=plan,
        whole=_whole_plan(plan, tables, [video for video, _ in failures]),
        rows=rows,
        frames=tables.numbers("index/videos/frames", (count,), "i4"),
        failures=failures,
        notes=notes,
        files=tuple(zip(names, sizes.tolist(), tables.text("index/files/sha256"), strict=True)),
        file_first_row=first,
        places={name: read_places(tables, name, shape, total, size) for name, shape in plan.arrays.items()},
    )
    if (tables.numbers("index/videos/first_row", (count,), "i8") != catalog.first_row).any():
        raise ValueError("videos/first_row does not fit the rows")
    return catalog


def _whole_plan(plan: Plan, tables: Tables, failed: list[str]) -> Plan | None:
    """The plan of all videos: that of those with features, the failed ones put back where they stood."""
    if not failed:
        return plan
    if "index/failures/position" not in tables.content:
        return None
    count, total = len(failed), len(plan.ids) + len(failed)
    position = tables.numbers("index/failures/position", (count,), "i8")
    order = np.full(total, -1)
    order[position] = len(plan.ids) + np.arange(count)
    order[order < 0] = np.arange(len(plan.ids))
    labels = tables.numbers("index/failures/label", (count,), "i8")
    splits = tables.numbers("index/failures/splits", (count, len(plan.split_names)), "i1")
    joined = replace(
        plan,
        ids=plan.ids + tuple(failed),
        paths=plan.paths + tables.text("index/failures/path"),
        groups=plan.groups + tables.text("index/failures/group"),
        labels=np.concatenate([plan.labels, labels]),
        splits=np.concatenate([plan.splits, splits]),
    )
    return joined.take(order)


def write_index(folder: Path, catalog: Catalog) -> None:
    """Write a store's index: the tables, and every array as a virtual data set over the shards."""

    def fill(file: h5py.File) -> dict[str, NDArray]:
        for name in catalog.plan.arrays:
            _write_virtual(file, name, catalog)
        write_tables(file, catalog_tables(catalog))
        return {}

    write_sealed(folder / INDEX_NAME, "index", fill)


def _write_virtual(file: h5py.File, name: str, catalog: Catalog) -> None:
    """One array as a virtual data set over the shards; by hand, as h5py's own call puts the time into the file."""
    total, shape = int(catalog.file_first_row[-1]), catalog.plan.arrays[name]
    if not total:
        file.create_dataset(name, shape=(0, *shape), dtype="<f2", track_times=False)
        return
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_obj_track_times(False)
    space = h5py.h5s.create_simple((total, *shape))
    for number, (source, _, _) in enumerate(catalog.files):
        start, stop = catalog.file_first_row[number : number + 2].tolist()
        if stop > start:
            count = (stop - start, *shape)
            space.select_hyperslab((start,) + (0,) * len(shape), count)
            layout.set_virtual(space, source.encode(), f"/{name}".encode(), h5py.h5s.create_simple(count))
    space.select_all()
    stream, layer = name.split("/")
    h5py.h5d.create(file.require_group(stream).id, layer.encode(), h5py.h5t.IEEE_F16LE, space, dcpl=layout)


def read_catalog(path: Path) -> Catalog:
    """The tables of an index file or a packed file.

    Raises:
        UsageError: no such file, not avr's, or of another format version.
        WorkError: damaged.
    """
    with open_sealed(path, "index", "packed") as (seal, tables):
        catalog = read_tables(tables, seal)
        if seal.kind == "packed":
            if len(catalog.files) != 1:
                raise ValueError("a packed file that names others")
            catalog = replace(catalog, files=((path.name, seal.size, seal.sha256),))
        return catalog


def open_catalog(path: Path) -> Catalog:
    """The tables of a store; of an unfinished one, those of the shards that are there.

    Raises:
        UsageError: no store there.
        WorkError: damaged.
    """
    if not path.is_dir():
        return read_catalog(path)
    if (path / INDEX_NAME).exists():
        return read_catalog(path / INDEX_NAME)
    if not (path / PLAN_NAME).exists():
        raise UsageError(f"{path}: no store (neither {INDEX_NAME} nor {PLAN_NAME} in it); `avr extract` makes one")
    plan = load_plan(path)
    there = [path / shard_name(number) for number in range(plan.num_shards)]
    return catalog_of_shards(plan, [read_shard(shard, plan) for shard in there if shard.exists()])


def find_plan(folder: Path) -> tuple[Plan | None, AvrError | None]:
    """A store's plan and what is wrong with its file: where that is damaged or gone, the index still tells the plan.

    Raises:
        UsageError: the plan is of another format version, and no index of this one lies beside it.
    """
    try:
        return load_plan(folder), None
    except AvrError as error:
        problem = error
    try:
        plan = read_catalog(folder / INDEX_NAME).whole
    except AvrError:
        plan = None
    if plan is None:
        if isinstance(problem, UsageError) and (folder / PLAN_NAME).exists():
            raise problem
        return None, problem
    return with_seal(plan), problem


def default_store(folder: Path | str = "features") -> Path:
    """The newest store under `features/`, by its index (an unfinished one by its plan); says what it took.

    Raises:
        UsageError: there is none.
    """
    dated = []
    for path in Path(folder).glob("*"):
        marks = [path / INDEX_NAME, path / PLAN_NAME] if path.is_dir() else [path] if path.suffix == ".h5" else []
        dates = [mark.stat().st_mtime_ns for mark in marks if mark.exists()]
        if dates:
            dated.append((dates[0], path))
    if not dated:
        raise UsageError(f"no store under {folder}/: run `avr extract --dataset NAME` first, or name one with --store")
    newest = max(dated)[1]
    note(f"store: {newest}" + (f" (the newest of {len(dated)} under {folder}/)" if len(dated) > 1 else ""))
    return newest
