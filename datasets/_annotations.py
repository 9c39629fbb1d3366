"""Lines and class names of TSN's and mmaction2's annotation files."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from avr.core import UsageError

from ._files import is_video
from ._lists import read_list


@dataclass(frozen=True)
class Line:
    """One listed video. `count` is the number of raw frames, None for a video file; `where` is "file:line"."""

    id: str
    path: Path
    label: int
    count: int | None
    start: int | None
    where: str


def parse_lines(file: Path, root: Path, *, first_label: int = 0) -> Iterator[Line]:
    """Lines of one annotation file; videos and raw-frame folders may be mixed.

    Raises:
        UsageError: a line that does not parse, as "file:line: what was expected".
    """
    for number, (listed, numbers) in read_list(file, parse_line):
        label = numbers[-1] - first_label
        if label < 0:
            raise UsageError(f"{file}:{number}: label {numbers[-1]} is below the first label, {first_label}")
        path = root / listed  # an absolute path stays itself
        inside = path.relative_to(root) if path.is_relative_to(root) else path.relative_to(path.anchor)
        count = numbers[-2] if len(numbers) > 1 else None
        start = numbers[0] if len(numbers) > 2 else None
        video_id = inside.with_suffix("").as_posix() if count is None else inside.as_posix()
        if start is not None:
            video_id += f"@{start}"  # several stretches of one folder are several videos
        yield Line(video_id, path, label, count, start, f"{file}:{number}")


def parse_line(line: str) -> tuple[str, list[int]]:
    """The path, which may hold spaces, and the numbers behind it: 1 for a video, 2 or 3 for a raw-frame folder.

    Raises:
        ValueError: saying what was expected.
    """
    words = line.split()
    # The path of a video ends where its suffix does; a folder is followed by two numbers, or by three.
    for wanted in (1, 3, 2):
        path, numbers = " ".join(line.rsplit(maxsplit=wanted)[:1]), words[-wanted:]
        enough = len(words) > wanted and all(re.fullmatch(r"\d+", word) for word in numbers)
        if enough and (is_video(Path(path).name) if wanted == 1 else not is_video(Path(path).name)):
            return path, [int(word) for word in numbers]
    raise ValueError("expected '<video file> <label>' or '<folder> [<start>] <frames> <label>'")


def read_class_names(given: Path | None, folder: Path, lines: Sequence[Line], *, first_label: int) -> tuple[str, ...]:
    """Class names in label order: from a file, from the class folders, or else the numbers.

    Raises:
        UsageError: the file given is missing, or has fewer names than there are labels.
    """
    most = max(line.label for line in lines)
    file = given
    if file is None:
        candidates = [folder / "classInd.txt", *sorted(folder.glob("label_map*.txt"))]
        file = next((path for path in candidates if path.is_file()), None)
    if file is not None:
        names = tuple(re.sub(r"^\d+\s+", "", name) for _, name in read_list(file, str))
        if most >= len(names):
            hint = "; --set first_label=1 may be meant" if most == len(names) and not first_label else ""
            raise UsageError(f"{file}: {len(names)} class names, but a label is {most + first_label}{hint}")
        return names
    folders: dict[int, set[str]] = {}
    for line in lines:
        folders.setdefault(line.label, set()).add(line.path.parent.name)
    names = tuple(min(folders.get(label, {""})) for label in range(most + 1))
    told = all(len(of_label) == 1 for of_label in folders.values()) and len(set(names)) == len(names) and all(names)
    return names if told else tuple(str(label + first_label) for label in range(most + 1))
