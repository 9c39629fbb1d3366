"""Official lists and annotation files: where they lie, their lines, what they say of clips, which clips are there."""

import json
import re
from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from avr.core import UsageError, by_number, first_few, note, read_text, warn

from ._files import few, find_clips, ids_of, text_of
from ._types import Dataset, Split, Video

PARTS = ("train", "val", "test")  # of official lists

T = TypeVar("T")


class Told:
    """What lists say, each thing once: who says another thing of the same clip is refused, with both places."""

    def __init__(self) -> None:
        self._told: dict[tuple[Hashable, str], tuple[object, str]] = {}

    def tell(self, key: Hashable, what: str, value: object, where: str, *, shown: str = "") -> None:
        """Take a value of `what`, such as "label", of the clip `key`, from `where` ("file:line").

        Raises:
            UsageError: another was told of it before. `shown` is what to call the clip, if not by its key.
        """
        known, place = self._told.setdefault((key, what), (value, where))
        if known != value:
            here, there = (str(one) if str(one).isdecimal() else repr(one) for one in (value, known))
            raise UsageError(f"{where}: {shown or key} has {what} {here} here and {there} at {place}")


def lines_of(path: Path) -> list[tuple[int, str]]:
    """Number and text of each line that is not empty."""
    lines = enumerate(re.split(r"\r\n|\r|\n", read_text(path)), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def read_list(path: Path, parse: Callable[[str], T]) -> Iterator[tuple[int, T]]:
    """Number and parsed value of each line that is not empty; `parse` raises ValueError saying what it expected.

    Raises:
        UsageError: a line that does not parse, as "file:line: what was expected".
    """
    for number, line in lines_of(path):
        try:
            yield number, parse(line)
        except ValueError as error:
            raise UsageError(f"{path}:{number}: {error}; found {line[:80]!r}") from error


def find_lists(root: Path, splits: Path | None, *, folder: str, pattern: str) -> Path:
    """The folder that holds files matching `pattern`: `splits`, or else the root, in either a sub-folder `folder`."""
    places = [splits, splits / folder] if splits else [root / folder, root, root.parent / folder]
    for place in places:
        if place.is_dir() and any(place.glob(pattern)):
            return place
    looked = ", ".join(str(place) for place in places)
    raise UsageError(f"no split lists ({pattern}) in {looked}; put {folder} under the root or give --splits DIR")


def list_places(root: Path, splits: Path | None) -> list[Path]:
    """Where lists that come with no folder of their own lie: at `splits`, or else in the root or its `annotations`."""
    return [splits] if splits is not None else [root, root / "annotations"]


def given_path(root: Path, path: Path, option: str) -> Path:
    """The file or folder that an option names: from the working folder, or else from the root.

    Raises:
        UsageError: it is in neither.
    """
    found = next((place for place in (path, root / path) if place.exists()), None)
    if found is None:
        raise UsageError(f"{option}={path}: no such file or folder, neither from here nor from {root}")
    return found


def say_missing(name: str, root: Path, listed: Sequence[str], there: Container[str], *, besides: str = "") -> None:
    """Warn how many of the listed videos are not there, naming the first ten.

    Raises:
        UsageError: none is there (ends in `besides`), or none is listed.
    """
    if not listed:
        raise UsageError(f"{name}: the lists hold no labelled videos")
    lost = [video for video in listed if video not in there]
    if len(lost) == len(listed):
        raise UsageError(f"{name}: none of the {len(lost)} listed videos is in {root}, such as {lost[0]}{besides}")
    if lost:
        warn(f"{name}: {len(lost)} of {len(listed)} listed videos are not there: {first_few(lost, 10)}")


def say_by_lists(name: str, root: Path, listed: Sequence[str]) -> None:
    """Note that listed videos are taken though none of them is there."""
    if listed:
        note(f"{name}: none of its {len(listed)} videos is in {root}, so the lists alone say which there are")


def official(
    name: str,
    root: Path,
    class_names: tuple[str, ...],
    labels: Mapping[str, int],
    part_of: Mapping[str, Mapping[str, str]],
    group_of: Callable[[str], str | None],
    *,
    lists_suffice: bool = False,
) -> Dataset:
    """A data set by its official lists, of the clips that are there; warns of others, and tells of files in no list.

    A clip "class/name" is found by its class folder and name without suffix, wherever the class folder lies under the
    root: first as it prints, then with letters of either case and `_` for signs, so that re-encoded and renamed copies
    are found.

    Args:
        name: of the data set.
        root: its folder.
        class_names: in label order.
        labels: of each listed clip.
        part_of: of each split the listed clips and their part, train, test or another.
        group_of: a clip's group, by its name; None: its own.
        lists_suffice: where none of the listed clips is there, all are taken as if they were.

    Raises:
        UsageError: none is there.
    """
    paths = find_clips(root) if root.is_dir() or not lists_suffice else []
    # Shallow paths last, so that they win over copies in deeper folders.
    by_depth = sorted(paths, key=lambda path: -len(path.parts))
    exact = {text_of("/".join(path.with_suffix("").parts[-2:])): path for path in by_depth}
    times = Counter(map(_loosened, exact))
    loose = {_loosened(clip): path for clip, path in exact.items() if times[_loosened(clip)] == 1}
    near = {clip: exact.get(text_of(clip)) or loose.get(_loosened(clip)) for clip in sorted(labels)}
    found = {clip: root / path for clip, path in near.items() if path is not None}
    if lists_suffice and not found:
        say_by_lists(name, root, list(near))
        found = {clip: root / f"{clip}.avi" for clip in near}
    say_missing(name, root, list(near), found, besides=f"; {len(paths)} other video files are")
    say_unlisted(name, root, sorted({root / path for path in paths} - set(found.values())))
    videos = tuple(Video(clip, path, labels[clip], group_of(clip) or clip) for clip, path in found.items())
    splits = {}
    for split in by_number(part_of):
        train, test = (tuple(c for c in found if part_of[split].get(c) == part) for part in ("train", "test"))
        splits[split] = Split(split, train, test)
    return Dataset(name, root, class_names, videos, splits)


def official_by_name(  # noqa: PLR0913 (what official lists say of a clip, each thing once)
    name: str,
    root: Path,
    class_names: tuple[str, ...],
    class_of: Mapping[str, str],
    part_of: Mapping[str, str],
    group_of: Mapping[str, str],
    *,
    paths: Sequence[Path],
    called_too: Mapping[str, str] | None = None,
    lists_suffice: bool = False,
) -> Dataset:
    """A data set by lists of names without folders: each clip is the file of that name, wherever under the root it is.

    Split "1" trains on the training list and tests on the validation list, or else on the test list; where there are
    both, split "test" tests on the latter.

    Args:
        name, root, class_names, lists_suffice: as of `official`.
        class_of, part_of, group_of: of each listed clip, in the order of the videos; parts are `PARTS`.
        paths: of all clips that are there, relative to the root.
        called_too: other names of files.

    Raises:
        UsageError: none is there.
    """
    by_stem = {text_of(path.stem): path for path in reversed(paths)}
    near = {clip: by_stem.get(clip) or by_stem.get((called_too or {}).get(clip, "")) for clip in class_of}
    there = {clip: path for clip, path in near.items() if path is not None}
    if lists_suffice and not there:
        say_by_lists(name, root, list(near))
        there = {clip: Path(f"{clip}.mp4") for clip in near}
    say_missing(name, root, list(near), there)
    say_unlisted(name, root, sorted(set(paths) - set(there.values())))
    ids = dict(zip(there, ids_of(list(there.values())), strict=True))
    number = {one: place for place, one in enumerate(class_names)}
    videos = [Video(ids[clip], root / path, number[class_of[clip]], group_of[clip]) for clip, path in there.items()]
    members = {part: tuple(ids[clip] for clip in there if part_of[clip] == part) for part in PARTS}
    validated = "val" in part_of.values()  # by the lists, whichever clips are there
    splits = {"1": Split("1", members["train"], members["val" if validated else "test"])}
    if validated and members["test"]:
        splits["test"] = Split("test", members["train"], members["test"])
    return Dataset(name, root, class_names, tuple(videos), splits)


def read_objects(path: Path, *fields: str) -> Iterator[tuple[str, list[str]]]:
    """Where each object of a JSON list of clips stands, and some of its fields as texts.

    Raises:
        UsageError: no list of objects, or one without a field.
    """
    content = read_document(path)
    if not isinstance(content, list):
        raise UsageError(f"{path}: expected a list of objects with {', '.join(fields)}")
    for number, entry in enumerate(content, 1):
        found = [entry.get(field) if isinstance(entry, dict) else None for field in fields]
        for field, value in zip(fields, found, strict=True):
            if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
                raise UsageError(f"{path}: entry {number}: no {field}")
        yield f"{path}: entry {number}", list(map(str, found))


def read_document(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UsageError: it is none (file:line).
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: no JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        raise UsageError(f"{path}: no JSON that can be read") from error


def say_unlisted(name: str, root: Path, paths: Sequence[Path]) -> None:
    """Note how many video files are in no list."""
    if paths:
        told = few(paths, f"video file under {root} is", f"video files under {root} are")
        note(f"{name}: {told} in no list and left out")


def _loosened(name: str) -> str:
    return re.sub(r"[^0-9a-z/]", "_", text_of(name).lower())
