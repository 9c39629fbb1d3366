"""Opening the parts of stores: which hold the streams asked for, and how these are called where stores share names."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avr.core import UsageError, check_known

from .catalog import Catalog, open_catalog, read_packed
from .parts import check_streams, some_parts_of


@dataclass(frozen=True)
class Opened:
    """A part of a store, or some of its streams.

    Attributes:
        name: of the part in its store.
        path: its folder, or the packed file.
        label: how messages call it.
        streams: how a stream is called here -> in the part's files.
        catalog: its tables, with the arrays of these streams, named as here.
        digest: of the whole part.
    """

    name: str
    path: Path
    label: str
    streams: Mapping[str, str]
    catalog: Catalog
    digest: str

    @property
    def provenance(self) -> dict[str, Any]:
        return self.catalog.plan.provenance


@dataclass(frozen=True)
class _Found:
    """A part that is there; its `catalog` is None as long as its folder's name tells its stream."""

    store: Path
    name: str
    catalog: Catalog | None

    @property
    def streams(self) -> tuple[str, ...]:
        return (self.name,) if self.catalog is None else self.catalog.plan.streams

    @property
    def path(self) -> Path:
        return self.store / self.name if self.store.is_dir() else self.store

    @property
    def label(self) -> str:
        return str(self.path) + (f" ({self.name})" if self.name and self.path == self.store else "")


def open_parts(stores: Sequence[Path], streams: Sequence[str] = ()) -> list[Opened]:
    """The parts of stores that hold the streams named, or all parts, in the stores' order and that of their parts.

    Streams that several stores have are called `<store's name>-<stream>`, all of them.

    Args:
        stores: folders or packed files.
        streams: which, as they are called then.

    Raises:
        UsageError: no store, an unknown stream (the known ones are listed), streams that cannot be told apart.
        WorkError: damaged.
    """
    found = [part for store in stores for part in _find(store)]
    places = [(part.path.resolve(), part.name if part.path == part.store else "") for part in found]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise UsageError(f"{found[number].label}: is named twice")
    named = _named(found)
    known = [name for names in named for name in names]
    for stream in streams:
        check_known("stream", stream, known, where=f"{' and '.join(map(str, stores))}: ")
    opened = []
    for part, names in zip(found, named, strict=True):
        chosen = {name: own for name, own in names.items() if not streams or name in streams}
        if chosen or not streams:
            opened.append(_open(part, chosen))
    return opened


def _find(store: Path) -> list[_Found]:
    if store.is_dir():
        names = some_parts_of(store)
        return [_Found(store, name, None if name else open_catalog(store)) for name in names]
    return [_Found(store, name, catalog) for name, catalog in read_packed(store).items()]


def _named(found: Sequence[_Found]) -> list[dict[str, str]]:
    """How each part's streams are called -> in its files."""
    stores: dict[str, set[Path]] = {}
    for part in found:
        for stream in part.streams:
            stores.setdefault(stream, set()).add(part.store)
    named, first = [], dict[str, str]()
    for part in found:
        own = part.store.resolve()
        prefix = re.sub(r"[^\w-]", "_", own.name if own.is_dir() else own.stem)
        names = {f"{prefix}-{stream}" if len(stores[stream]) > 1 else stream: stream for stream in part.streams}
        for name in names:
            if name in first:
                raise UsageError(f"{first[name]} and {part.label} both hold what is called {name}: rename one's folder")
            first[name] = part.label
        named.append(names)
    return named


def _open(part: _Found, chosen: Mapping[str, str]) -> Opened:
    catalog = open_catalog(part.path) if part.catalog is None else part.catalog
    check_streams(part.path, part.name, catalog.plan.streams)
    digest = catalog.digest
    if tuple(chosen) != catalog.plan.streams:  # of one store's one part, they are
        catalog = catalog.take_streams(chosen)
    return Opened(part.name, part.path, part.label, chosen, catalog, digest)
