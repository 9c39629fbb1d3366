"""The catalog: all tables of a store in memory, as its index file, its packed file or its shards tell them."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from avr.core import WorkError
from avr.store.building import build
from avr.store.directory import PLACE, Tables, utf8
from avr.store.sealed import Seal, open_sealed

from .shard import ShardTable, shard_name
from .tables import Plan, read_plan, write_plan

INDEX_NAME = "index.h5"


@dataclass(frozen=True)
class Catalog:
    """Tables of a store.

    Attributes:
        plan: ids, labels … of the M videos that have features.
        rows: (M,) int32 views of each video.
        frames: (M,) int32 decoded frames of each video.
        failures: (id, reason) of the videos that have none.
        files: the files that hold rows, with size and SHA-256 of what lies behind their user block.
        file_first_row: (files + 1,) int64: rows file_first_row[i] … file_first_row[i+1] − 1 lie in files[i].
        places: for every array (R,) PLACE: where each row lies in its file, and its checksum.
        missing_shards: numbers of the shards not written yet.
    """

    plan: Plan
    rows: NDArray[np.int32]
    frames: NDArray[np.int32]
    failures: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, int, str], ...]
    file_first_row: NDArray[np.int64]
    places: dict[str, NDArray]
    missing_shards: tuple[int, ...] = ()

    @property
    def first_row(self) -> NDArray[np.int64]:
        """(M,) first row of each video."""
        return (
            np.concatenate([[0], np.cumsum(self.rows)[:-1]]).astype(np.int64) if len(self.rows) else np.zeros(0, "i8")
        )

    @property
    def digest(self) -> str:
        """Identity of the content, wherever it lies and however it is cut into files: SHA-256, hexadecimal."""
        plan = self.plan
        digest = hashlib.sha256()
        about: list[Any] = [plan.dataset, plan.class_names, plan.split_names, plan.ids, plan.groups, self.failures]
        about += [plan.arrays, plan.compression, plan.provenance.get("settings")]
        digest.update(json.dumps(about, sort_keys=True).encode())
        for column in (plan.labels, plan.splits, self.rows, self.frames):
            digest.update(np.ascontiguousarray(column).tobytes())
        for name in sorted(self.places):
            digest.update(np.ascontiguousarray(self.places[name]["crc32"]).tobytes())
        return digest.hexdigest()


def keep_videos(plan: Plan, keep: NDArray[np.intp]) -> Plan:
    """The plan of some of its videos."""
    return replace(
        plan,
        ids=tuple(plan.ids[index] for index in keep),
        paths=tuple(plan.paths[index] for index in keep),
        groups=tuple(plan.groups[index] for index in keep),
        labels=plan.labels[keep],
        splits=plan.splits[keep],
    )


def catalog_of_shards(plan: Plan, shards: Sequence[ShardTable], *, plan_sha256: str) -> Catalog:
    """Put the shards that are there together, in the order of their numbers.

    Raises:
        WorkError: a shard does not belong here (of another run, or holding other videos than its number says).
    """
    shards = sorted(shards, key=lambda shard: shard.number)
    position = {video: index for index, video in enumerate(plan.ids)}
    for shard in shards:
        check_shard(plan, shard, plan_sha256=plan_sha256)
    keep = np.array([position[video] for shard in shards for video in shard.ids], dtype=np.intp)
    counts = [int(shard.rows.sum()) for shard in shards]
    there = {shard.number for shard in shards}
    return Catalog(
        plan=keep_videos(plan, keep),
        rows=np.concatenate([np.zeros(0, "<i4"), *(shard.rows for shard in shards)]).astype("<i4"),
        frames=np.concatenate([np.zeros(0, "<i4"), *(shard.frames for shard in shards)]).astype("<i4"),
        failures=tuple(failure for shard in shards for failure in shard.failures),
        files=tuple((shard_name(shard.number), shard.seal.size, shard.seal.sha256) for shard in shards),
        file_first_row=np.concatenate([[0], np.cumsum(counts)]).astype("<i8"),
        places={
            name: np.concatenate([shard.places[name] for shard in shards]) if shards else np.zeros(0, PLACE)
            for name in plan.arrays
        },
        missing_shards=tuple(number for number in range(plan.num_shards) if number not in there),
    )


def check_shard(plan: Plan, shard: ShardTable, *, plan_sha256: str) -> None:
    """Raise WorkError unless a shard holds the videos and arrays that the plan gives it."""
    name = shard_name(shard.number)
    if shard.plan_sha256 != plan_sha256:
        raise WorkError(f"{name}: belongs to another run; `avr store repair` drops it")
    expected = plan.ids[plan.shard_slice(shard.number)] if 0 <= shard.number < plan.num_shards else ()
    failed = {video for video, _ in shard.failures}
    if shard.ids != tuple(video for video in expected if video not in failed) or len(failed) + len(shard.ids) != len(
        expected
    ):
        raise WorkError(f"{name}: holds other videos than it should; `avr store repair` drops it")
    sizes = {name: 2 * math.prod(shape) for name, shape in plan.arrays.items()}
    if (
        set(shard.places) != set(plan.arrays)
        or (len(shard.rows) and shard.rows.min() < 1)
        or (not plan.compression and any((shard.places[name]["stored"] != size).any() for name, size in sizes.items()))
    ):
        raise WorkError(f"{name}: holds other arrays than it should; `avr store repair` drops it")


def write_tables(file: h5py.File, catalog: Catalog) -> None:
    """Write all tables to `/index`."""
    group = write_plan(file, catalog.plan)
    for name, column in (("rows", catalog.rows), ("frames", catalog.frames), ("first_row", catalog.first_row)):
        group["videos"].create_dataset(name, data=column, track_times=False)
    group.create_dataset("failures/id", **utf8([video for video, _ in catalog.failures]), track_times=False)
    group.create_dataset("failures/reason", **utf8([reason for _, reason in catalog.failures]), track_times=False)
    group.create_dataset("files/name", **utf8([name for name, _, _ in catalog.files]), track_times=False)
    sizes = np.array([size for _, size, _ in catalog.files], dtype="<i8")
    group.create_dataset("files/size", data=sizes, track_times=False)
    group.create_dataset("files/sha256", **utf8([sha256 for _, _, sha256 in catalog.files]), track_times=False)
    group.create_dataset("files/first_row", data=catalog.file_first_row, track_times=False)
    for name, place in catalog.places.items():
        group.create_dataset(f"rows/{name}", data=place, track_times=False)


def read_tables(tables: Tables, seal: Seal) -> Catalog:
    """Read what `write_tables` wrote; call it under `file_errors`."""
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
    failures = zip(tables.text("index/failures/id"), tables.text("index/failures/reason"), strict=True)
    catalog = Catalog(
        plan=plan,
        rows=rows,
        frames=tables.numbers("index/videos/frames", (count,), "i4"),
        failures=tuple(failures),
        files=tuple(zip(names, sizes.tolist(), tables.text("index/files/sha256"), strict=True)),
        file_first_row=first,
        places={name: tables.places(name, total, size) for name in plan.arrays},
    )
    if (tables.numbers("index/videos/first_row", (count,), "i8") != catalog.first_row).any():
        raise ValueError("videos/first_row does not fit the rows")
    if not plan.compression:
        for name, shape in plan.arrays.items():
            if (catalog.places[name]["stored"] != int(np.prod(shape)) * 2).any():
                raise ValueError(f"rows/{name}: rows of another size")
    return catalog


def index_image(catalog: Catalog) -> memoryview:
    """The bytes of an index file: the tables, and every array as a virtual data set over the shards."""

    def fill(file: h5py.File) -> list[tuple[int, int]]:
        for name in catalog.plan.arrays:
            _write_virtual(file, name, catalog)
        write_tables(file, catalog)
        return []

    return build("index", fill)


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
