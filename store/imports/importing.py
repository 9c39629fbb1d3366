"""Features of other tools as streams of a store: matched to the videos of a data set, checked, laid and written."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, WorkError, first_few
from avr.store.features.plan import check_array
from avr.store.features.shard import ShardWriter

from .arrays import Array
from .exported import read_export
from .imported import ImportedFeatures, ImportedPart, write_parts
from .laying import Laying
from .naming import RATE, TIMES, Meant, read_names
from .sources import Source, find_sources, stream_name


@dataclass
class _Stream:
    """Arrays by their video's position, and rates and times beside them."""

    arrays: dict[int, Array] = field(default_factory=dict)
    facts: dict[str, dict[int, Array]] = field(default_factory=lambda: {RATE: {}, TIMES: {}})


def import_features(
    paths: Sequence[Path],
    dataset: Any,
    out: Path,
    *,
    stream: str = "",
    names: Sequence[str] | None = None,
    laying: Laying | None = None,
) -> ImportedFeatures:
    """Make features of other tools streams of a store, one part each. All of them are checked before one is written.

    Args:
        paths: folders of a file a video, or files: npy, npz, pkl, pt, mat, h5, csv; see docs/features.md.
        dataset: whose videos they are: name, class names, videos, splits, as `avr.datasets.Dataset` has them.
        out: the store's folder.
        stream: what to call the stream, or which of several to take; default: what names tell, else the folder or file.
        names: of the videos, in the order of a file that holds none.
        laying: layer, axes, segments and rule.

    Raises:
        UsageError: no name is that of a video, two arrays of one, NaN or infinity, arrays that differ in width or can
            be read in two ways; another stream of this name is there.
        WorkError: damaged, or the disk is full.
    """
    ids = [str(video.id) for video in dataset.videos]
    sources = find_sources(paths, ids, names)
    streams: dict[str, _Stream] = {}
    left_out = [pair for source in sources for pair in source.left_out]
    for source in sources:
        meant = read_names([name for name, _ in source.arrays], ids)
        left_out += _take(streams, source, meant, dataset, stream)
    if not streams:
        first = next((name for source in sources for name, _ in source.arrays), "")
        raise UsageError(
            f"{paths[0]}: no name in it is that of a video of {dataset.name}, such as {first} and "
            f"{ids[0] if ids else 'none'}; of a file that holds all videos and no names, say these (--names FILE)"
        )
    parts = {}
    for name, found in streams.items():
        check_array(f"{name}/any", (1,))  # names out of files become folders
        own = (laying or Laying()).settled({array.where: array.shape for array in found.arrays.values()})
        parts[name] = _part(name, found, dataset, own, first_few(path.name or str(path) for path in paths))
    made = write_parts(out, dataset, parts)
    return ImportedFeatures(out, made, [{"place": place, "reason": reason} for place, reason in left_out])


def _take(
    streams: dict[str, _Stream], source: Source, meant: Meant, dataset: Any, stream: str
) -> list[tuple[str, str]]:
    """Sort the arrays of a place into streams; gives what is left out, and why."""
    for pair in meant.doubles:
        one, other = (source.arrays[index][1].where for index in pair)
        raise UsageError(f"{one} and {other} are of one video: leave one out")
    _check_labels(source, meant, dataset)
    wanted = set(meant.streams)
    if stream and len(wanted) > 1:
        wanted &= {stream}
        if not wanted:
            raise UsageError(
                f"--stream {stream}: the names tell of {', '.join(sorted(meant.streams))}; say one of these"
            )
    left = []
    for told, found in meant.streams.items():
        if told not in wanted:
            left += [(source.arrays[at][1].where, f"of stream {told}, not {stream}") for at in found.values()]
            continue
        own = streams.setdefault(stream or told or source.stream, _Stream())
        for video, at in found.items():
            array = source.arrays[at][1]
            first = own.arrays.setdefault(video, array)
            if first is not array:
                raise UsageError(f"{first.where} and {array.where} are of one video: leave one out")
        for fact, videos in meant.facts.items():
            own.facts[fact] |= {video: source.arrays[at][1] for video, at in videos.items()}
    for at in sorted(set(range(len(source.arrays))) - meant.known):
        name, array = source.arrays[at]
        place = array.where if name.rpartition("/")[2] in array.where else f"{array.where} ({name})"
        left.append((place, f"its name is that of no video of {dataset.name}"))
    return left


def _check_labels(source: Source, meant: Meant, dataset: Any) -> None:
    """Hold a place's own labels against those of the data set: each goes with one class, whatever its number."""
    told: dict[int, tuple[int, str]] = {}
    if source.labels and len(source.labels) != len(source.arrays):
        raise UsageError(f"{source.stream}: {len(source.arrays)} videos, but {len(source.labels)} labels")
    for found in meant.streams.values() if source.labels else ():
        for video, at in found.items():
            label, own = source.labels[at], dataset.videos[video]
            first = told.setdefault(label, (own.label, own.id))
            if first[0] != own.label:
                raise UsageError(
                    f"{source.arrays[at][1].where}: label {label} goes with {first[1]} and {own.id}, which are of two "
                    "classes: are the names in the file's order?"
                )


def _digest(stream: _Stream, laying: Laying, ids: Sequence[str]) -> str:
    """SHA-256 of all that is imported, every value of which is looked at."""
    digest = hashlib.sha256()
    for video in sorted(stream.arrays):
        array = stream.arrays[video]
        values = laying.steps(_read(array))
        if not values.size:
            raise UsageError(f"{array.where}: holds nothing; make it anew, or leave it out")
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if len(bad):
            raise UsageError(f"{array.where}: row {bad[0]} holds NaN or infinity; make it anew, or leave it out")
        digest.update(f"{ids[video]}\0{values.shape}{values.dtype}".encode())
        digest.update(np.ascontiguousarray(values).data)
        for fact in stream.facts.values():
            digest.update(fact[video].read().tobytes() if video in fact else b"")
    return digest.hexdigest()


def _read(array: Array) -> NDArray:
    values = array.read()
    if values.shape != array.shape:
        raise WorkError(f"{array.where}: has shape {values.shape} now, and had {array.shape}: is it being written?")
    return values


def _part(name: str, stream: _Stream, dataset: Any, laying: Laying, where: str) -> ImportedPart:
    """What a stream becomes, with all its arrays looked at."""
    ids = [str(video.id) for video in dataset.videos]
    layer, position = f"{name}/{laying.layer}", {video: index for index, video in enumerate(ids)}
    shapes = [array.shape for array in stream.arrays.values()]

    def add(shard: ShardWriter, video: str) -> None:
        array = stream.arrays.get(position[video])
        if array is None:
            shard.fail(video, f"no features of it in {where}")
            return
        steps = laying.steps(_read(array))
        features = {layer: laying.lay(steps)[None]}
        shard.add(video, features, frames=0, **_beside(stream, position[video], len(steps), laying))

    settings = {"axes": laying.axes, "segments": laying.segments, "rule": laying.rule(shapes)}
    settings["sha256"] = _digest(stream, laying, ids)
    return ImportedPart({layer: laying.shape(shapes[0])}, settings, where, add)


def _beside(stream: _Stream, video: int, count: int, laying: Laying) -> dict[str, Any]:
    """A video's rate and its segments' seconds, as `ShardWriter.add` takes them, where files of them are there."""
    rate, times = (stream.facts[fact].get(video) for fact in (RATE, TIMES))
    beside: dict[str, Any] = {}
    if rate is not None and math.prod(rate.shape) == 1 and 0 < (value := float(rate.read().item())) < math.inf:
        beside["facts"] = {"rate": value}
    if times is not None and times.shape == (count,):
        seconds = laying.lay(times.read() / 1000)[None]
        beside["shown"] = np.full(seconds.shape, -1), np.where(np.isfinite(seconds), seconds, np.nan)
    return beside


def import_export(folder: Path, out: Path, *, name: str = "") -> ImportedFeatures:
    """Make a store of what `avr store export` wrote of one: the same arrays, videos, labels, groups and splits.

    Args:
        folder: the export's.
        out: the store's folder.
        name: what to call the data set, of which an export does not tell; default: the folder's name.

    Raises:
        UsageError: no export of a store; the store holds other videos, or these streams made otherwise.
        WorkError: damaged, or the disk is full.
    """
    export = read_export(folder, name or stream_name(folder.absolute().name))
    numbers = {video.id: number for number, video in enumerate(export.videos.videos)}
    parts = {}
    for stream, arrays in export.arrays.items():

        def add(shard: ShardWriter, video: str, stream: str = stream) -> None:
            own, beside = export.of(numbers[video], stream)
            shard.add(video, own, **beside)

        shapes = {array: found.shape[1:] for array, found in arrays.items()}
        settings = {"rule": "as `avr store export` wrote them", "sha256": export.digest}
        parts[stream] = ImportedPart(shapes, settings, folder.name, add)
    views = {video: int(count) for video, count in zip(numbers, export.columns["views"], strict=True)}
    return ImportedFeatures(out, write_parts(out, export.videos, parts, views=views), [])
