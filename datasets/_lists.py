"""Official lists: where they are, their lines, and which file on disk each listed clip is."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from avr.core import UsageError, note

from ._files import find_videos, say_missing

T = TypeVar("T")


def find_lists(root: Path, splits: Path | None, *, folder: str, pattern: str) -> Path:
    """The folder that holds files matching `pattern`: `splits`, or else the root, in either a sub-folder `folder`."""
    places = [splits, splits / folder] if splits else [root / folder, root, root.parent / folder]
    for place in places:
        if place.is_dir() and any(place.glob(pattern)):
            return place
    looked = ", ".join(str(place) for place in places)
    raise UsageError(f"no split lists ({pattern}) in {looked}; put {folder} under the root or give --splits DIR")


def named_lists(
    root: Path, splits: Path | None, pattern: str, told: Callable[[Path], T | None], *, kind: str
) -> dict[Path, T]:
    """Lists beside the videos, at `splits` or else in the root or its `annotations`, and what their names tell.

    Args:
        root: the data set's folder.
        splits: folder of the lists, or one list.
        pattern: of the lists' names.
        told: from a list's path to what it is of; None leaves a file out.
        kind: what to call the lists in the UsageError where there are none.
    """
    places = [splits] if splits is not None else [root, root / "annotations"]
    for place in places:
        files = [place] if place.is_file() else sorted(place.glob(pattern))
        found = {file: what for file in files if (what := told(file)) is not None}
        if found:
            return found
    raise UsageError(f"no {kind} in {' or '.join(map(str, places))}; give --splits FILE or DIR")


def read_list(path: Path, parse: Callable[[str], T]) -> Iterator[tuple[int, T]]:
    """Number and parsed value of each line that is not empty; `parse` raises ValueError saying what it expected.

    Raises:
        UsageError: a line that does not parse, as "file:line: what was expected".
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as a list: {error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield number, parse(line.strip())
            except ValueError as error:
                raise UsageError(f"{path}:{number}: {error}; found {line.strip()[:80]!r}") from error


def match(name: str, root: Path, clip_ids: Sequence[str]) -> dict[str, Path]:
    """Paths of the listed clips that are there; warns of those that are not, and tells of files in no list.

    A clip "class/name" is matched by its class folder and name without suffix, wherever the class folder lies under the
    root: first as written, then with letters of either case and `_` for signs, so that re-encoded and renamed copies
    are found.

    Raises:
        UsageError: none is there.
    """
    paths = find_videos(root)
    # Shallow paths last, so that they win over copies in deeper folders.
    by_depth = sorted(paths, key=lambda path: -len(path.parts))
    exact = {"/".join(path.with_suffix("").parts[-2:]): path for path in by_depth}
    times = Counter(map(_loosened, exact))
    loose = {_loosened(clip): path for clip, path in exact.items() if times[_loosened(clip)] == 1}
    near = {clip: exact.get(clip) or loose.get(_loosened(clip)) for clip in clip_ids}
    found = {clip: root / path for clip, path in near.items() if path is not None}
    say_missing(name, root, clip_ids, found, besides=f"; {len(paths)} other video files are")
    unlisted = len(paths) - len(set(found.values()))
    if unlisted:
        note(f"{name}: {unlisted} video files under {root} are in no list and left out")
    return found


def _loosened(name: str) -> str:
    return re.sub(r"[^0-9a-z/]", "_", name.lower())
