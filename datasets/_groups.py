"""Groups: by the names that a data set gives its clips, or by a pattern or a table that the user gives."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from avr.core import About, UsageError, first_few, item_names, load_item, note, warn

from ._annotations import ROLES as COLUMNS
from ._files import Places, few, text_of
from ._lists import Told
from ._tables import read_table
from ._types import Dataset, Video

# What the options of data sets that do not know their groups are for.
Pattern = Annotated[
    str | None, About(r"regular expression whose first capture in a video's id is its group: 'group_pattern=/(p\d+)_'")
]
File = Annotated[Path | None, About("csv of columns id, group, a video a line: groups=groups.csv")]
ROLES = {"id": ("id", *COLUMNS["path"]), "group": COLUMNS["group"]}


def told_groups(
    name: str, root: Path, videos: Sequence[Video], *, pattern: str | None, file: Path | None
) -> tuple[Video, ...]:
    """Videos of data set `name` with the groups that the user tells, by a pattern of their ids or a table of id, group.

    Those that neither tells of keep theirs.

    Raises:
        UsageError: both are given, a pattern or file that says nothing of any video, or two groups of one video.
    """
    if pattern is not None and file is not None:
        raise UsageError("group_pattern and groups both tell the groups: leave one out")
    told: dict[str, str] = {}
    if pattern is not None:
        told = groups_by_pattern([video.id for video in videos], pattern)
    if file is not None:
        told = _by_file(name, root, videos, file)
    return tuple(replace(video, group=told.get(video.id, video.group)) for video in videos)


def say_leak(dataset: Dataset) -> None:
    """Warn where splits are drawn although nothing tells which videos share a source: every file is its own group."""
    if all(video.id == video.group or video.id.startswith(f"{video.group}@") for video in dataset.videos):
        warn(
            f"{dataset.name}: nothing tells which videos are cut from one source; where such both train and test, "
            r"figures flatter: say it by --set 'group_pattern=/(p\d+)_' or --set groups=FILE.csv (columns id, group)"
        )


def _by_file(name: str, root: Path, videos: Sequence[Video], file: Path) -> dict[str, str]:
    """Groups by id of a csv of columns id and group, with a header or without."""
    places = Places(root)
    known: dict[str, set[str]] = {}  # the stretches of a file share its name
    for video in videos:
        whole = video.id if video.start is None and video.frames is None else video.id.rpartition("@")[0] or video.id
        for one in (video.id, whole, text_of(places.inside(video.path))):
            known.setdefault(one, set()).add(video.id)
    told, groups, strange = Told(), dict[str, str](), []
    for where, cells in _rows(file):
        ids = known.get(text_of(cells["id"].replace("\\", "/")).removeprefix("./"), set())
        if not ids:
            strange.append(f"{cells['id']!r} ({where})")
        for video_id in sorted(ids) if cells["group"] else ():
            told.tell(video_id, "group", cells["group"], where)
            groups[video_id] = cells["group"]
    if not groups:
        raise UsageError(f"{file}: tells the group of no video of {name}; its ids are such as {videos[0].id!r}")
    if strange:
        told_of = few(strange, "id is that of no video", "ids are those of no video")
        warn(f"{file}: {told_of} of {name}, first {first_few(strange)}")
    without = [video.id for video in videos if video.id not in groups]
    if without:
        has = few(without, "video has no group and is its own", "videos have no group and are their own")
        warn(f"{file}: {has}, first {first_few(without)}")
    return groups


def _rows(file: Path) -> tuple[tuple[str, dict[str, str]], ...]:
    """Where each row of a csv of columns id and group is, and its cells by these names."""
    table = read_table(file, ROLES, bare=("id", "group"))
    if table is None:
        raise UsageError(f"{file}:1: expected columns id, group, with a comma, semicolon or tab between them")
    table.require(ROLES, ("id", "group"))
    return table.rows


def read_groups(file: Path) -> dict[str, str]:
    """Groups by id of a csv of columns id and group, with a header or without.

    Raises:
        UsageError: no such table, or two groups of one id (file:line).
    """
    told, groups = Told(), dict[str, str]()
    for where, cells in _rows(file):
        told.tell(cells["id"], "group", cells["group"], where)
        groups[cells["id"]] = cells["group"] or cells["id"]
    return groups


def groups_by_pattern(ids: Sequence[str], pattern: str) -> dict[str, str]:
    """Groups by id: the pattern's first capture, or whole match."""
    try:
        matches = {video_id: re.search(pattern, video_id) for video_id in ids}
    except re.error as error:
        raise UsageError(f"the group pattern {pattern!r} is no regular expression: {error}") from error
    found = {video_id: match for video_id, match in matches.items() if match is not None}
    missed = [video_id for video_id in ids if video_id not in found]
    if not found:
        raise UsageError(f"the group pattern {pattern!r} matches no video, such as {ids[0]!r}")
    if missed:
        note(f"the group pattern misses {len(missed)} of {len(ids)} videos, each its own group: first {missed[0]!r}")
    groups = {video_id: match[1] if match.re.groups else match[0] for video_id, match in found.items()}
    return {video_id: group for video_id, group in groups.items() if group}


def groups_by_name(ids: Sequence[str]) -> tuple[list[str], str]:
    """Groups of ids of a data set that is not named, and how they were told, in words.

    The data sets whose names tell where a clip comes from say so by a function `group_of(id)`, None for a name unlike
    theirs; the one that knows most ids, and more than half of them, is taken, so that the groups are those of its own
    index. An id that it does not know is its own group, and so is every id where no data set is found.
    """
    told: dict[str, list[str | None]] = {}
    for name in item_names("avr.datasets"):
        group_of = getattr(load_item("avr.datasets", name, "data set"), "group_of", None)
        if group_of is not None:
            told[name] = [group_of(video_id) for video_id in ids]
    known = {name: sum(group is not None for group in groups) for name, groups in told.items()}
    best = max(known, key=lambda name: known[name])
    if known[best] <= len(ids) / 2:
        return list(ids), "(each video its own: no known pattern in the names)"
    return [group or video_id for video_id, group in zip(ids, told[best], strict=True)], f"from the names of {best}"
