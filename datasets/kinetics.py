"""Kinetics (Kay et al. 2017; 400, 600 or 700 classes) and data sets in its csv format.

Layout: the lists `train.csv`, `validate.csv` or `val.csv`, `test.csv` (any name that contains the part's will do, as
`kinetics-400_val.csv`) under the root, its `annotations` folder or `--splits`, with at least the columns `label`,
`youtube_id`, `time_start`, `time_end`, and perhaps `split`. The clips, as the usual downloaders cut and name them,
`<youtube id>_<start, six digits>_<end, six digits>.mp4`, or `<youtube id>.mp4` where it is the only one of that id, in
any folders under the root. They are taken as already cut.

Many listed videos have gone from the web: those that are not there are counted and named. Class numbers are the
alphabetical order of the labels in the lists. The group is the video that a clip was cut from. Split "1" trains on the
training list and tests on the validation list (without one, on the test list); where test labels were published and the
clips are there, split "test" tests on those.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from avr.core import UsageError, note

from ._files import listed_clips
from ._lists import PARTS, Told, list_places, official_by_name
from ._splits import Drawing
from ._tables import read_table
from ._types import Dataset, numbered

DESCRIPTION = "400-700 human actions, by the official csv lists; train, validation"
LAYOUT = "clips <youtube id>_<start>_<end>.mp4 under <root>, train.csv, validate.csv, … there or in --splits"
SOURCE = "https://github.com/cvdfoundation/kinetics-dataset"
DRAWING = Drawing()
COLUMNS = {name: (name,) for name in ("label", "youtube_id", "time_start", "time_end", "split")}


def index(root: Path, *, splits: Path | None = None, lists_suffice: bool = False) -> Dataset:
    """Index the listed clips that are there.

    Args:
        root: the folder of the clips.
        splits: a csv file or the folder of them.
        lists_suffice: where no clip is there, all that are listed are taken as if they were.

    Raises:
        UsageError: as `index_dataset`; a clip with two labels or in two lists (file:line).
    """
    paths = listed_clips(root, layout=LAYOUT, lists_suffice=lists_suffice)
    part_of: dict[str, str] = {}
    label_of: dict[str, str] = {}
    told = Told()
    for file in _lists(root, splits):
        for where, stem, label, part in _rows(file):
            told.tell(stem, "label", label, where)
            told.tell(stem, "part", part, where)
            label_of[stem], part_of[stem] = label, part
    source_of = {stem: group_of(stem) or stem for stem in sorted(label_of)}
    clips_of = Counter(source_of.values())
    return official_by_name(
        *("kinetics", root, tuple(numbered(label_of.values())), label_of, part_of, source_of),
        called_too={stem: source for stem, source in source_of.items() if clips_of[source] == 1},
        paths=paths,
        lists_suffice=lists_suffice,
    )


def group_of(clip: str) -> str | None:
    """The video that a clip named <youtube id>_<start>_<end> was cut from; None: no name of Kinetics'."""
    named = re.search(r"([^/]+)_\d{6,}_\d{6,}$", clip)
    return named[1] if named else None


def _lists(root: Path, splits: Path | None) -> list[Path]:
    """The csv lists."""
    places = list_places(root, splits)
    for place in places:
        files = [place] if place.is_file() else sorted(place.glob("*.csv"))
        if files:
            return files
    raise UsageError(f"no csv lists in {' or '.join(map(str, places))}; give --splits FILE or DIR")


def _rows(file: Path) -> Iterator[tuple[str, str, str, str]]:
    """Where it is, clip name, label and part of each labelled row of a list; the part that a row says, or else the
    list's name."""
    table = read_table(file, COLUMNS)
    wanted = [column for column in COLUMNS if column != "split"]
    if table is None:
        raise UsageError(f"{file}:1: no table: columns {', '.join(wanted)} expected")
    if table.columns >= {*wanted} - {"label"} and "label" not in table.columns:
        note(f"{file}: left out, as it has no labels")
        return
    table.require(COLUMNS, wanted)
    by_name = next((part for part in PARTS if part in file.stem.lower()), "")
    for where, row in table.rows:
        try:
            start, end = (int(float(row[column])) for column in ("time_start", "time_end"))
        except (ValueError, OverflowError):
            raise UsageError(f"{where}: time_start and time_end must be seconds") from None
        if not row["youtube_id"]:
            raise UsageError(f"{where}: no youtube_id")
        word = row.get("split", "").lower()
        part = next((part for part in PARTS if word.startswith(part)), by_name)
        if not part:
            raise UsageError(f"{where}: neither a column split nor the file's name says train, val or test")
        if row["label"]:
            yield where, f"{row['youtube_id']}_{start:06d}_{end:06d}", row["label"], part
