"""The catalog: all tables of a store in memory, as its index file, its packed file or its shards tell them."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, WorkError
from avr.store.sealed import RESERVED, open_sealed
from avr.store.tables import PLACE, Tables

from .facts import Facts
from .plan import PLAN_NAME, Plan, load_plan, plan_tables, read_plan

INDEX_NAME = "index.h5"


def shard_name(number: int) -> str:
    """File name of a shard: "shard-00007.h5"."""
    return f"shard-{number:05d}.h5"


def first_rows(rows: NDArray[np.int32]) -> NDArray[np.int64]:
    """(M,) first row of each video, of how many rows each has."""
    return np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)[: len(rows)]


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Tables of a store, or of some of its shards, with M videos and R rows, the rows themselves aside.

    Attributes:
        plan: ids, labels … of the M videos that have features.
        whole: the plan of all videos, those that failed among them; None where an older file does not hold it.
        rows: (M,) int32 views of each video.
        frames: (M,) int32 decoded frames of each video.
        facts: what is known of the videos, and which frame and second each row shows.
        failures: (id, reason) of the videos that have no features.
        notes: (id, remark) of some that have.
        places: for every array (R,) PLACE: where each row lies in its file, and its checksum.
        files: the files that hold rows, with size and SHA-256 of what lies behind their user block.
        file_first_row: (files + 1,) int64: rows file_first_row[i] … file_first_row[i+1] − 1 lie in files[i].
        missing_shards: numbers of the shards not written yet.
    """

    plan: Plan
    whole: Plan | None
    rows: NDArray[np.int32]
    frames: NDArray[np.int32]
    facts: Facts
    failures: tuple[tuple[str, str], ...]
    notes: tuple[tuple[str, str], ...]
    places: Mapping[str, NDArray]
    files: tuple[tuple[str, int, str], ...]
    file_first_row: NDArray[np.int64]
    missing_shards: tuple[int, ...] = ()

    @property
    def first_row(self) -> NDArray[np.int64]:
        """(M,) first row of each video."""
        return first_rows(self.rows)

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

    def take_streams(self, names: Mapping[str, str]) -> "Catalog":
        """The tables with some streams' arrays alone; `names`: how a stream is called from now on -> until now."""
        called = {old: new for new, old in names.items()}
        arrays = {
            f"{called[stream]}/{layer}": name
            for name, (stream, layer) in ((name, name.split("/")) for name in self.plan.arrays)
            if stream in called
        }
        return replace(
            self,
            plan=replace(self.plan, arrays={new: self.plan.arrays[old] for new, old in arrays.items()}),
            places={new: self.places[old] for new, old in arrays.items()},
        )

    def equals(self, other: "Catalog") -> bool:
        """Whether both tell the same content of the same files."""
        return (self.files, self.digest) == (other.files, other.digest)


def num_steps(arrays: Mapping[str, tuple[int, ...]]) -> int:
    """N, time steps of a row, of arrays by their shapes."""
    return next((shape[0] for shape in arrays.values()), 0)


REMARKS = (("failures", "reason"), ("notes", "note"))  # tables of (id, text)


def content_tables(catalog: Catalog) -> dict[str, Any]:
    """The tables that a shard and an index have alike, as `write_tables` takes them."""
    tables: dict[str, Any] = {
        "index/videos/rows": catalog.rows,
        "index/videos/frames": catalog.frames,
        **catalog.facts.tables(),
        **{f"index/rows/{name}": place for name, place in catalog.places.items()},
    }
    for what, value in REMARKS:
        remarks = getattr(catalog, what)
        if remarks or what == "failures":
            tables[f"index/{what}/id"] = [video for video, _ in remarks]
            tables[f"index/{what}/{value}"] = [text for _, text in remarks]
    return tables


def _read_content(tables: Tables, count: int, arrays: Mapping[str, tuple[int, ...]], size: int) -> dict[str, Any]:
    """What `content_tables` gave, of `count` videos, whose rows must lie in a file of `size` bytes."""
    rows = tables.numbers("index/videos/rows", (count,), "i4")
    if count and rows.min() < 1:
        raise ValueError("a video without rows")
    content: dict[str, Any] = {
        "rows": rows,
        "frames": tables.numbers("index/videos/frames", (count,), "i4"),
        "facts": Facts.read(tables, count, int(rows.sum()), num_steps(arrays)),
        "notes": (),
    }
    for what, value in REMARKS:
        if what == "failures" or "index/notes/id" in tables.content:
            ids, texts = tables.text(f"index/{what}/id"), tables.text(f"index/{what}/{value}")
            content[what] = tuple(zip(ids, texts, strict=True))
    content["places"] = {name: tables.numbers(f"index/rows/{name}", (int(rows.sum()),), PLACE) for name in arrays}
    for name, place in content["places"].items():
        if (place["stored"] != 2 * math.prod(arrays[name])).any():
            raise ValueError(f"rows/{name}: rows of another size")
        if len(place) and (place["offset"].max() > size or int((place["offset"] + place["stored"]).max()) > size):
            raise ValueError(f"rows/{name} lie outside the file")
    return content


def read_shard(folder: Path, number: int, plan: Plan, *, whole: bool = False) -> Catalog:
    """Read a shard's tables, its structure checked (its rows only where `whole` says so).

    Raises:
        WorkError: damaged, or not made for this plan: another run's, other videos or arrays than the plan gives it.
    """
    path = folder / shard_name(number)
    with open_sealed(path, "shard", whole=whole) as (seal, tables):
        about = tables.json("index/about")
        if str(about["plan"]) not in (plan.identity, plan.seal):
            raise WorkError(f"{path}: belongs to another run; `avr store repair` drops it")
        if int(about["number"]) != number:
            raise WorkError(f"{path}: holds shard {int(about['number'])}; `avr store repair` drops it")
        ids = tables.text("index/videos/id")
        content = _read_content(tables, len(ids), plan.arrays, seal.size)
        failed = {video for video, _ in content["failures"]}
        there = plan.shard(number, but=failed)
        if ids != there.ids or not failed.issubset(plan.shard(number).ids):
            raise WorkError(f"{path}: holds other videos than it should; `avr store repair` drops it")
        first_row = np.array([0, content["rows"].sum()], dtype="<i8")
        files = ((path.name, seal.size, seal.sha256),)
        return Catalog(**content, plan=there, whole=plan, files=files, file_first_row=first_row)


def catalog_of_shards(plan: Plan, shards: Sequence[Catalog]) -> Catalog:
    """The shards that are there, in the order of their numbers, as one."""
    position = {video: index for index, video in enumerate(plan.ids)}
    names = {shard.files[0][0] for shard in shards}
    none = np.zeros(0, "<i4")
    return Catalog(
        plan=plan.take(np.array([position[video] for shard in shards for video in shard.plan.ids], dtype=np.intp)),
        whole=plan,
        rows=np.concatenate([none, *(shard.rows for shard in shards)]),
        frames=np.concatenate([none, *(shard.frames for shard in shards)]),
        facts=Facts.join([shard.facts for shard in shards], num_steps(plan.arrays)),
        failures=tuple(failure for shard in shards for failure in shard.failures),
        notes=tuple(remark for shard in shards for remark in shard.notes),
        files=tuple(file for shard in shards for file in shard.files),
        file_first_row=np.cumsum([0, *(shard.rows.sum() for shard in shards)], dtype="<i8"),
        places={
            name: np.concatenate([np.zeros(0, PLACE), *(shard.places[name] for shard in shards)])
            for name in plan.arrays
        },
        missing_shards=tuple(number for number in range(plan.num_shards) if shard_name(number) not in names),
    )


def catalog_tables(catalog: Catalog) -> dict[str, Any]:
    """All tables of a finished store, as `write_tables` takes them."""
    tables = {
        **plan_tables(catalog.plan),
        **content_tables(catalog),
        "index/videos/first_row": catalog.first_row,
        "index/files/name": [name for name, _, _ in catalog.files],
        "index/files/size": np.array([size for _, size, _ in catalog.files], dtype="<i8"),
        "index/files/sha256": [sha256 for _, _, sha256 in catalog.files],
        "index/files/first_row": catalog.file_first_row,
    }
    if catalog.whole is not None and catalog.failures:
        failed = {video for video, _ in catalog.failures}
        position = np.array([n for n, video in enumerate(catalog.whole.ids) if video in failed], dtype="<i8")
        theirs = catalog.whole.take(position)
        tables["index/failures/position"] = position
        tables["index/failures/path"], tables["index/failures/group"] = theirs.paths, theirs.groups
        tables["index/failures/label"], tables["index/failures/splits"] = theirs.labels, theirs.splits
    return tables


def read_index(path: Path, *, whole: bool = False) -> Catalog:
    """The tables of an index file, as `catalog_tables` gave them. Raises as `open_sealed`."""
    with open_sealed(path, "index", whole=whole) as (_, tables):
        names = tables.text("index/files/name")
        sizes = tables.numbers("index/files/size", (len(names),), "i8")
        if any("/" in name or name in ("", "..") for name in names):
            raise ValueError("a file outside the store")
        files = tuple(zip(names, sizes.tolist(), tables.text("index/files/sha256"), strict=True))
        return _read_catalog(tables, files)


def part_group(name: str) -> str:
    """The group of a packed file that holds the tables of one part of a store."""
    return f"{RESERVED}/parts/{name}" if name else RESERVED


def read_packed(path: Path) -> dict[str, Catalog]:
    """The tables of a packed file, part after part. Raises as `open_sealed`."""
    with open_sealed(path, "packed") as (seal, tables):
        start = part_group("*").removesuffix("*")
        parts = sorted({name.split("/")[2] for name in tables.content if name.startswith(start)})
        if "index/about" in tables.content or not parts:
            parts.insert(0, "")
        files = ((path.name, seal.size, seal.sha256),)
        return {part: _read_catalog(_tables_of_part(tables, part), files) for part in parts}


def _tables_of_part(tables: Tables, part: str) -> Tables:
    """A part's tables of a packed file, named as in an index."""
    group, tables_of_all = f"{part_group(part)}/", tables.content.items()
    return Tables({f"{RESERVED}/{n.removeprefix(group)}": table for n, table in tables_of_all if n.startswith(group)})


def _read_catalog(tables: Tables, files: tuple[tuple[str, int, str], ...]) -> Catalog:
    """What `catalog_tables` gave, its rows in these files."""
    plan = read_plan(tables)
    first = tables.numbers("index/files/first_row", (len(files) + 1,), "i8")
    content = _read_content(tables, len(plan.ids), plan.arrays, max([0, *(size for _, size, _ in files)]))
    everything = _whole_plan(plan, tables, [video for video, _ in content["failures"]])
    catalog = Catalog(**content, plan=plan, whole=everything, files=files, file_first_row=first)
    total = int(catalog.rows.sum())
    if first[0] != 0 or first[-1] != total or (np.diff(first) < 0).any() or (total and not plan.arrays):
        raise ValueError("files/first_row does not fit the rows")
    if (tables.numbers("index/videos/first_row", (len(plan.ids),), "i8") != catalog.first_row).any():
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
    splits = tables.numbers("index/failures/splits", (count, len(plan.split_names)), "i1")
    joined = replace(
        plan,
        ids=plan.ids + tuple(failed),
        paths=plan.paths + tables.text("index/failures/path"),
        groups=plan.groups + tables.text("index/failures/group"),
        labels=np.concatenate([plan.labels, tables.numbers("index/failures/label", (count,), "i8")]),
        splits=np.concatenate([plan.splits, splits]),
    )
    return joined.take(order)


def open_catalog(folder: Path) -> Catalog:
    """The tables of a part's folder; of an unfinished one, of the shards that are there. Raises as `open_sealed`."""
    if (folder / INDEX_NAME).exists():
        return read_index(folder / INDEX_NAME)
    if not (folder / PLAN_NAME).exists():
        raise UsageError(
            f"{folder}: holds shards alone, neither {INDEX_NAME} nor {PLAN_NAME}; `avr extract` with the same settings "
            "writes these again"
        )
    plan = load_plan(folder)
    there = [number for number in range(plan.num_shards) if (folder / shard_name(number)).exists()]
    return catalog_of_shards(plan, [read_shard(folder, number, plan) for number in there])
