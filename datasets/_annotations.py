"""The lines of annotation files: csv tables with a header or without, and the formats of TSN and mmaction2."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from avr.core import UsageError

from ._files import Places, is_video, last_part, text_of
from ._lists import lines_of
from ._tables import Table, read_table

ROLES = {
    "path": (
        *("path", "filepath", "file_path", "video_path", "videopath", "clip_path", "filename", "file_name", "file"),
        *("video", "video_file", "videofile", "clip", "video_name", "clip_name", "video_id", "id", "name"),
    ),
    "label": ("label", "class", "action", "target", "class_name", "label_name", "category", "activity", "labels"),
    "group": ("group", "groups", "source", "subject", "person", "performer", "scene"),
    "split": ("split", "subset", "set", "fold", "partition"),
    "start": ("start", "start_time", "time_start", "t_start", "start_s", "start_sec", "start_seconds", "begin"),
    "end": ("end", "end_time", "time_end", "t_end", "end_s", "end_sec", "end_seconds", "stop"),
}
WHOLE = r"\d{1,18}"  # a whole number that any machine holds
EXPECTED = "expected '<video> <label>' or '<folder> [<start>] <frames> <label>', or a table with a header path,label"


@dataclass(frozen=True)
class Entry:
    """A line of an annotation file.

    Attributes:
        where: "file:line".
        listed: the video's name, as it is written.
        label: a number or a name, as it is written.
        group: as the table tells it, or "".
        part: what its column `split` says; None: it has none.
        start: of a stretch, in seconds from the file's first frame, or None.
        end: of it.
        frames: of a folder of raw frames, how many; None: a video file.
        first: of a stretch of such a folder, how many frames lie before it; None: it is all of the folder.
    """

    where: str
    listed: str
    label: str
    group: str = ""
    part: str | None = None
    start: float | None = None
    end: float | None = None
    frames: int | None = None
    first: int | None = None


def table_of(file: Path) -> Table | None:
    """A csv table of videos and labels; None where the file is none, and may be a list of TSN's or mmaction2's."""
    table = read_table(file, ROLES, bare=("path", "label"))
    if table is not None and not table.headers and not all(is_video(last_part(row["path"])) for _, row in table.rows):
        return None
    return table


def looks_listed(file: Path) -> bool:
    """Whether the first line of a text file is one of TSN's or mmaction2's lists."""
    lines = lines_of(file)
    return bool(lines) and _numbers(lines[0][1]) > 0


def read_entries(file: Path, table: Table | None, places: Places, image: str) -> list[Entry]:
    """All lines of an annotation file.

    Args:
        file: of either kind.
        table: it, if it is one.
        places: finds what it lists.
        image: the name of a raw frame, as a format of its number.

    Raises:
        UsageError: a line that is none, or that can be read in two ways (file:line).
    """
    if table is None:
        return _read_lines(file, places, image)
    table.require(ROLES, ("path", "label"))
    return [_entry(where, cells, places) for where, cells in table.rows]


def _entry(where: str, cells: dict[str, str], places: Places) -> Entry:
    """A row of a table."""
    listed = cells["path"]
    lacking = next((role for role in ("path", "label") if not cells[role]), None)
    if lacking:
        raise UsageError(f"{where}: no {lacking}")
    if not is_video(last_part(listed)):
        listed = _with_suffix(where, listed, places)
    start, end = (_seconds(where, role, cells.get(role, "")) for role in ("start", "end"))
    if end is not None:
        start = start or 0.0
        if end <= start:
            raise UsageError(f"{where}: it ends at {end:g} s, but starts at {start:g} s")
    return Entry(where, listed, text_of(cells["label"]), cells.get("group", ""), cells.get("split"), start, end)


def _with_suffix(where: str, listed: str, places: Places) -> str:
    """The name of the one video that is listed without its suffix; the name itself where none is there."""
    folder = places.find(listed)
    if folder is not None and folder.is_dir():
        raise UsageError(
            f"{where}: {listed} is a folder; raw frames are listed as lines '<folder> [<start>] <frames> <label>'"
        )
    found = places.stem(listed)
    if len(found) > 1:
        names = " and ".join(path.name for path in found[:2])
        raise UsageError(f"{where}: {listed} is {names}: give the suffix")
    if not found and Path(last_part(listed)).suffix:
        raise UsageError(f"{where}: {Path(last_part(listed)).suffix} is no known video")
    inside = [path.relative_to(places.root) if path.is_relative_to(places.root) else path for path in found]
    return str(inside[0]) if inside else listed


def _seconds(where: str, role: str, text: str) -> float | None:
    if not text:
        return None
    try:  # a comma is the point in half of Europe, and parts thousands elsewhere
        number = math.nan if re.fullmatch(r"[1-9]\d*,\d{3}", text) else float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise UsageError(f"{where}: {role} {text!r}: expected seconds from the file's first frame, such as 12.5")
    return number


def _read_lines(file: Path, places: Places, image: str) -> list[Entry]:
    """Lines `<video> <label>`, `<folder> <frames> <label>` or `<folder> <start> <frames> <label>`."""
    lines = lines_of(file)
    folders = [line for _, line in lines if not _is_video_line(line)]
    # One format a file: as many numbers for each folder. A folder whose name ends in a number has one more.
    columns = max(2, min((min(_numbers(line), 3) for line in folders), default=2))

    def all_there(columns: int) -> bool:
        found = [places.find(_words(line, columns)[0]) for line in folders]
        return all(path is not None and path.is_dir() for path in found)

    if columns == 3 and all_there(2) and not all_there(3):
        columns = 2
    return [_line_entry(f"{file}:{number}", line, columns, places, image) for number, line in lines]


def _line_entry(where: str, line: str, columns: int, places: Places, image: str) -> Entry:
    """A line of a video, or of a folder with so many numbers."""
    if _is_video_line(line):
        name, label = _words(line, 1)
        return Entry(where, name, label)
    name, *numbers = _words(line, columns)
    count = _numbers(line)
    if count < 2 or is_video(last_part(name)):
        suffix = re.search(r"(\.[A-Za-z]\w{1,4})\s+\d+$", line)
        raise UsageError(
            f"{where}: {f'{suffix[1]} is no known video: ' if suffix else ''}{EXPECTED}; found {line[:80]!r}"
            f"{'; several labels are not supported' if count > 1 else ''}"
        )
    folder, first = places.find(name), int(numbers[0]) if columns == 3 else None
    why = "another line has two numbers" if columns == 2 and count > 2 and folder is None else ""
    if first and folder is not None and _ends_at(folder, first, image):
        why = f"the folder ends behind its {first} images"
    if why:
        start, frames, label = line.split()[-3:]
        raise UsageError(
            f"{where}: {line[:80]!r} is start {start}, {frames} frames, label {label}, or {start} frames with "
            f"labels {frames} and {label}: {why}; several labels are not supported"
        )
    return Entry(where, name, numbers[-1], frames=int(numbers[-2]), first=first)


def _ends_at(folder: Path, count: int, image: str) -> bool:
    """Whether a folder has just so many raw frames, from number 0 or 1 on."""
    first = 0 if (folder / image.format(0)).exists() else 1
    last, behind = (folder / image.format(first + count - back) for back in (1, 0))
    return last.exists() and not behind.exists()


def _is_video_line(line: str) -> bool:
    name, *label = _words(line, 1)
    return is_video(last_part(name)) and bool(label) and re.fullmatch(WHOLE, label[0]) is not None


def _words(line: str, count: int) -> list[str]:
    """A line's name, which may hold blanks and stand in quotes, and so many words behind it."""
    name, *words = line.rsplit(maxsplit=count)
    quoted = re.fullmatch(r"([\"'])(.+)\1", name)
    return [quoted[2] if quoted else name, *words]


def _numbers(line: str) -> int:
    """How many whole numbers a line ends in, behind a name."""
    found = re.fullmatch(r".*?\S((?:\s+\d{1,18})*)", line, re.DOTALL)
    return len(found[1].split()) if found else 0
