"""Foreign features by video: folders of a file a video, and files that hold all videos, with the names they tell."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from avr.core import UsageError, note
from avr.store.matching import without_suffix

from .arrays import Array, Content, Several
from .foreign import READERS, open_features
from .naming import FACT, read_names

NAMES = ("names", "ids", "videos", "video_names", "video_ids")
LABELS = ("labels", "label")
UNNAMED = ("features", "feature", "feats", "feat", "data", "x", "arr_0", "embeddings")  # that say nothing of a stream


@dataclass
class Source:
    """Features found in one place, a folder or a file.

    Attributes:
        stream: what to call it where the names tell no stream.
        arrays: name and array of each; of one video, of one stream.
        labels: the place's own, of each array, or none.
        left_out: what is no array of features, and why.
    """

    stream: str
    arrays: list[tuple[str, Array]] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def find_sources(paths: Sequence[Path], ids: Sequence[str], names: Sequence[str] | None = None) -> list[Source]:
    """Features in folders and files.

    Args:
        paths: folders, with those below, of a file a video; files of one video each; files of all videos.
        ids: of the videos that they may be of, by which a file of one video is told from a file of all.
        names: of the videos in the order of a file that holds all of them but no names.

    Raises:
        UsageError: nothing there, or names that are lacking, too many or other than the file's own.
        WorkError: damaged.
    """
    sources: list[Source] = []
    single: dict[Path, Source] = {}
    for path in paths:
        if path.is_dir():
            sources.append(_of_folder(path))
            continue
        content = open_features(path)
        if isinstance(content, dict) and any(key in content for key in NAMES):
            sources += _of_rows(path, content, names)
        elif isinstance(content, dict) and read_names(list(content), ids).known:
            if names is not None:
                raise UsageError(f"{path} holds arrays by name, such as {next(iter(content))}: leave --names out")
            source = Source(stream_name(path.stem))
            _add(source, "", content, str(path))
            sources.append(source)
        elif names is not None:
            sources += _of_rows(path, content, names)
        else:
            folder = stream_name(path.absolute().parent.name)
            source = single.setdefault(path.parent, Source(folder))
            _add_file(source, path, path.stem)
    sources += single.values()
    if not any(source.arrays for source in sources):
        left = next((f"{place}: {why}" for source in sources for place, why in source.left_out), str(paths[0]))
        raise UsageError(f"{left}; files of features are expected ({', '.join(READERS)})")
    return sources


def stream_name(text: str) -> str:
    """The stream's name nearest to a file's or folder's."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text).lstrip(".-") or "features"


def _of_folder(folder: Path) -> Source:
    source = Source(stream_name(folder.absolute().name))
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_dir() or any(part.startswith(".") for part in inside.parts):
            continue
        if path.suffix.lower() not in READERS:
            source.left_out.append((str(path), f"{path.suffix or 'no suffix'}: no kind of file that is read"))
        else:
            _add_file(source, path, inside.with_suffix("").as_posix())
    return source


def _add_file(source: Source, path: Path, name: str) -> None:
    """A file of one video: of its one array, or of arrays by stream. It is opened again where an array is read."""
    content = open_features(path)
    entries = content if isinstance(content, dict) else {"": content}
    before = len(source.arrays)
    _add(source, name, entries, str(path))
    source.arrays[before:] = [
        (full, replace(array, open=partial(_open_again, path, full[len(name) + 1 :])))
        for full, array in source.arrays[before:]
    ]
    features = [index for index in range(before, len(source.arrays)) if not FACT.fullmatch(source.arrays[index][0])]
    if len(features) == 1 and isinstance(content, dict):  # the key of the one array says nothing
        source.arrays[features[0]] = name, source.arrays[features[0]][1]


def _open_again(path: Path, key: str) -> Any:
    content = open_features(path)
    entry = content[key] if isinstance(content, dict) else content
    return _stacked(entry, str(path)).open()


def _add(source: Source, name: str, entries: dict[str, Several], where: str) -> None:
    """The arrays of features among some, under "name/key"."""
    for key, entry in entries.items():
        full = "/".join(filter(None, (name, key)))
        why = _no_features(entry, fact=FACT.fullmatch(f"x/{full}") is not None)
        if why:
            source.left_out.append((f"{where}: {key}" if key else where, why))
        else:
            source.arrays.append((full, _stacked(entry, f"{where}: {key}" if key else where)))


def _no_features(entry: Several, *, fact: bool = False) -> str:
    """Why an array is none of features; empty where it may be."""
    if isinstance(entry, list):
        return next(filter(None, map(_no_features, entry)), "" if entry else "an empty list")
    if entry.kind not in "fiu":
        return "no numbers"
    if fact:
        return ""
    if not entry.shape:
        return "one number"
    is_column = sum(side > 1 for side in entry.shape) < 2
    return "whole numbers, such as labels" if is_column and entry.kind != "f" else ""


def _stacked(entry: Several, where: str) -> Array:
    """One array; of a list the arrays are the steps of a video."""
    if isinstance(entry, Array):
        return entry
    if len({item.shape for item in entry}) > 1:
        shapes = sorted({item.shape for item in entry})
        raise UsageError(
            f"{where}: a list of arrays of shapes {shapes[0]} and {shapes[1]}: if each is of a video, say their names "
            "(--names FILE, one a line)"
        )
    first = entry[0]
    return Array(where, (len(entry), *first.shape), first.kind, lambda: np.stack([item.read() for item in entry]))


def _of_rows(path: Path, content: Content, names: Sequence[str] | None) -> Iterator[Source]:
    """A file whose arrays have a row, or a list an item, a video; each array is of a stream."""
    entries = dict(content) if isinstance(content, dict) else {"": content}
    beside: dict[str, list[Any]] = defaultdict(list)
    for kind, keys in (("names", NAMES), ("labels", LABELS)):
        for key in keys:
            if key in entries and not beside[kind]:
                beside[kind] = _column(entries.pop(key), f"{path}: {key}")
    own = [without_suffix(str(name)) for name in beside["names"]]
    given = list(map(without_suffix, names or ()))
    if given and own and own != given:
        differing = [pair for pair in zip(own, given, strict=False) if pair[0] != pair[1]] or [(own[-1], given[-1])]
        raise UsageError(
            f"{path} holds names of its own, and --names differs in {len(differing)} of {len(own)}, first "
            f"{differing[0][0]} and {differing[0][1]}"
        )
    videos = own or given
    if given and not (own or beside["labels"]):
        note(f"{path}: its rows are taken to stand in the order of --names: nothing in it can tell")
    left_out, features = [], {}
    for key, entry in entries.items():
        why = _no_features(entry)
        if why:
            left_out.append((f"{path}: {key}", why))
        else:
            features[key] = entry if isinstance(entry, list) else entry.rows()
    if not features:
        raise UsageError(f"{path}: holds no features beside names and labels")
    for key, rows in features.items():
        if len(rows) != len(videos):
            raise UsageError(f"{path}{': ' * bool(key)}{key}: {len(rows)} rows, but {len(videos)} names")
        unnamed = not key or (key in UNNAMED and len(features) == 1)
        arrays = list(zip(videos, rows, strict=True))
        yield Source(stream_name(path.stem if unnamed else key), arrays, beside["labels"], left_out)
        left_out = []


def _column(entry: Several, where: str) -> list[Any]:
    """Texts or whole numbers, one a video."""
    items = entry if isinstance(entry, list) else [entry]
    values = np.concatenate([item.read().reshape(-1) for item in items])
    if values.dtype.kind not in "USiu" and not (values.dtype.kind == "f" and (values == np.round(values)).all()):
        raise UsageError(f"{where}: neither texts nor whole numbers")
    texts = values.tolist()
    return [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in texts]
