"""Groups: by the names that a data set gives its clips, or by a pattern or a table that the user gives."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from avr.core import About, UsageError, item_names, load_item, note, warn

from ._files import few, text_of
from ._lists import Told, given_file
from ._tables import read_table
from ._types import Dataset

# What the options of data sets that do not know their groups are for.
Pattern = Annotated[
    str | None, About(r"regular expression whose first capture in a video's id is its group: 'group_pattern=/(p\d+)_'")
]
File = Annotated[Path | None, About("csv of columns id, group, a video a line: groups=groups.csv")]
ROLES = {
    "id": ("id", "video", "video_id", "path", "file", "filename", "file_name", "file_path", "video_path", "clip"),
    "group": ("group", "groups", "source", "subject", "person", "performer", "scene"),
}


def told_groups(
    name: str,
    root: Path,
    called: Sequence[Sequence[str]],
    *,
    pattern: str | None,
    file: Path | None,
    own: Sequence[str] | None = None,
) -> list[str]:
    """The group of each video, by what the user says.

    Args:
        name: the data set's.
        root: the data set's folder.
        called: what each video may be called in the file; its id first.
        pattern: see `groups_by_pattern`.
        file: a csv of columns id and group, with a header or without.
        own: the group of each video that neither tells of; None: its id.

    Raises:
        UsageError: both are given, a pattern or file that says nothing of any video, or two groups of one video.
    """
    ids = [names[0] for names in called]
    if pattern is not None and file is not None:
        raise UsageError("group_pattern and groups both tell the groups: leave one out")
    if file is not None:
        return _groups_by_file(name, given_file(root, file, "groups"), called, own or ids)
    return groups_by_pattern(ids, pattern, own=own)


def say_leak(dataset: Dataset) -> None:
    """Warn where splits are drawn although nothing tells which videos share a source: every file is its own group."""
    if len({video.group for video in dataset.videos}) == len({video.path for video in dataset.videos}):
        warn(
            f"{dataset.name}: nothing tells which videos are cut from one source; where such both train and test, "
            r"figures flatter: say it by --set 'group_pattern=/(p\d+)_' or --set groups=FILE.csv (columns id, group)"
        )


def _groups_by_file(name: str, file: Path, called: Sequence[Sequence[str]], own: Sequence[str]) -> list[str]:
    table = read_table(file, ROLES, bare=("id", "group"))
    if table is None:
        raise UsageError(f"{file}:1: expected columns id, group, with a comma, semicolon or tab between them")
    table.require(ROLES, ("id", "group"))
    known: dict[str, set[int]] = {}  # the stretches of a file share its name
    for number, names in enumerate(called):
        for one in names:
            known.setdefault(text_of(one), set()).add(number)
    told, groups, strange = Told(), dict[int, str](), []
    for where, cells in table.rows:
        numbers = known.get(text_of(cells["id"].replace("\\", "/")).removeprefix("./"), set())
        if not numbers:
            strange.append(f"{cells['id']!r} ({where})")
        for number in sorted(numbers) if cells["group"] else ():
            told.tell(called[number][0], "group", cells["group"], where)
            groups[number] = cells["group"]
    if not groups:
        raise UsageError(f"{file}: tells the group of no video of {name}; its ids are such as {called[0][0]!r}")
    if strange:
        told_of = few(strange, "id is that of no video", "ids are those of no video")
        warn(f"{file}: {told_of} of {name}, first {', '.join(strange[:3])}")
    without = [names[0] for number, names in enumerate(called) if number not in groups]
    if without:
        has = few(without, "video has no group and is its own", "videos have no group and are their own")
        warn(f"{file}: {has}, first {', '.join(without[:3])}")
    return [groups.get(number, own[number]) for number in range(len(called))]


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


def groups_by_pattern(ids: Sequence[str], pattern: str | None, *, own: Sequence[str] | None = None) -> list[str]:
    """Group of each id: the pattern's first capture (or whole match); its own, or the id, where it does not match.

    Raises:
        UsageError: the pattern does not compile, or matches none of the ids.
    """
    own = ids if own is None else own
    if pattern is None:
        return list(own)
    try:
        matches = [re.search(pattern, video_id) for video_id in ids]
    except re.error as error:
        raise UsageError(f"the group pattern {pattern!r} is no regular expression: {error}") from error
    missed = [video_id for video_id, match in zip(ids, matches, strict=True) if match is None]
    if len(missed) == len(ids):
        raise UsageError(f"the group pattern {pattern!r} matches no video, such as {ids[0]!r}")
    if missed:
        note(f"the group pattern misses {len(missed)} of {len(ids)} videos, each its own group: first {missed[0]!r}")
    return [
        lone if match is None else (match.group(1) if match.re.groups else match.group()) or lone
        for lone, match in zip(own, matches, strict=True)
    ]
