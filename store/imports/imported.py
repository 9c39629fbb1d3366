"""Imported features as parts of a store: all of them held against what is there, and then written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import avr
from avr.core import Progress, UsageError
from avr.store.features.parts import check_part, describe_parts, find_plan
from avr.store.features.plan import plan_of
from avr.store.features.reader import FeatureStore
from avr.store.features.shard import ShardWriter
from avr.store.features.writer import StoreWriter, refuse_changes


@dataclass(frozen=True)
class ImportedStream:
    """A stream as it lies in the store.

    Attributes:
        arrays: "stream/layer" to the shape of a view, (N, …).
        settings: that it was imported with.
        videos: how many have features.
        failures: [{"id": …, "reason": …}] of those that have none.
    """

    arrays: dict[str, tuple[int, ...]]
    settings: dict[str, Any]
    videos: int
    failures: list[dict[str, str]]


@dataclass(frozen=True)
class ImportedFeatures:
    """What an import gave: the store, its streams by name, and [{"place": …, "reason": …}] of what was not taken."""

    out: Path
    streams: dict[str, ImportedStream]
    left_out: list[dict[str, str]]


@dataclass(frozen=True)
class ImportedPart:
    """A part that is to be.

    Attributes:
        arrays: "stream/layer" to the shape of a view.
        settings: what must be equal for the import to be continued.
        where: what the features lie in, for people.
        add: gives a video of a shard to it, or its failure.
    """

    arrays: Mapping[str, tuple[int, ...]]
    settings: Mapping[str, Any]
    where: str
    add: Callable[[ShardWriter, str], object]

    @property
    def provenance(self) -> dict[str, Any]:
        versions = {"avr": avr.__version__, "numpy": np.__version__}
        settings = {"kind": "imported", **self.settings}
        return {"settings": settings, "imported": {"from": self.where}, "versions": versions}


def write_parts(
    out: Path, dataset: Any, parts: Mapping[str, ImportedPart], *, views: Mapping[str, int] | None = None
) -> dict[str, ImportedStream]:
    """Write parts, by their streams' names, of a data set's store.

    Args:
        views: of each video, by its id; None: one.

    Raises:
        UsageError: one does not fit what is there, and none is written.
        WorkError: the disk is full.
    """
    for name, part in parts.items():
        check_part(out, name, dataset)
        there, _ = find_plan(out / name)
        if there is not None:
            wanted = plan_of(dataset, arrays=part.arrays, provenance=part.provenance)
            refuse_changes(out / name, there, wanted, keep_shard_videos=True)
    others = [stream for plan in describe_parts(out).values() if plan for stream in plan.streams if stream not in parts]
    if others:
        with FeatureStore(out, streams=others) as store:
            for video, there in zip(store.ids.tolist(), store.views.tolist(), strict=True):
                count = (views or {}).get(video, 1)
                if count != there:
                    raise UsageError(
                        f"{out}: {video} has {there} views there, and {count} in what is imported: heads read streams "
                        "view by view, so choose another --out"
                    )
    return {name: _write(out / name, dataset, part) for name, part in parts.items()}


def _write(folder: Path, dataset: Any, part: ImportedPart) -> ImportedStream:
    with (
        Progress(f"import {folder.name}", total=len(dataset.videos), unit="videos") as progress,
        StoreWriter(folder, dataset, arrays=part.arrays, provenance=part.provenance) as writer,
    ):
        for shard in writer.shards():
            for video in shard.missing:
                part.add(shard, video)
                progress.advance()
    with FeatureStore(folder) as store:
        return ImportedStream(dict(part.arrays), part.provenance["settings"], len(store), store.failures)
