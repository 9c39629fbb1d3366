"""Kinetics (Kay et al. 2017; 400, 600 or 700 classes) and data sets in its csv format.

Layout: the lists `train.csv`, `validate.csv` or `val.csv`, `test.csv` (any name that contains the part's will do, as
`kinetics-400_val.csv`) under the root, its `annotations` folder or `--splits`, with at least the columns `label`,
`youtube_id`, `time_start`, `time_end`, and perhaps `split`. The clips, as the usual downloaders cut and name them,
`<youtube id>_<start, six digits>_<end, six digits>.mp4`, or `<youtube id>.mp4` where it is the only one of that id, in
any folders under the root. They are taken as already cut.

Many listed videos have gone from the web: those that are not there are counted and named. Class numbers are the
alphabetical order of the labels in the lists. The group is the video that a clip was cut from. Split "1" trains on the
training list and tests on the validation list; where test labels were published and the clips are there, split "test"
tests on those.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from avr.core import UsageError

from ._files import find_videos, named_lists, require_videos, say_missing
from ._types import Dataset, Split, Video, numbered

DESCRIPTION = "400-700 human actions, by the official csv lists; train, validation"
LAYOUT = "clips <youtube id>_<start>_<end>.mp4 under <root>, train.csv, validate.csv, … there or in --splits"
SOURCE = "https://github.com/cvdfoundation/kinetics-dataset"
PARTS = ("train", "val", "test")
COLUMNS = ("label", "youtube_id", "time_start", "time_end")


def index(root: Path, *, splits: Path | None = None) -> Dataset:
    """Index the listed clips that are there; `splits` is a csv file or the folder of them. See `index_dataset`."""
    paths = require_videos(root, find_videos(root), layout=LAYOUT)
    by_stem = {path.stem: path for path in reversed(paths)}
    part_of: dict[str, str] = {}
    label_of: dict[str, str] = {}
    for file, by_name in named_lists(root, splits, "*.csv", _part, kind="csv lists").items():
        try:
            for stem, label, part in _rows(file, by_name):
                label_of[stem], part_of[stem] = label, part
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UsageError(f"{file}: cannot be read as csv: {error}") from error
    source_of = {stem: group_of(stem) or stem for stem in sorted(label_of)}
    clips_of = Counter(source_of.values())
    there: dict[str, Path] = {}
    for stem, source in source_of.items():
        path = by_stem.get(stem) or (by_stem.get(source) if clips_of[source] == 1 else None)
        if path is not None:
            there[stem] = path
    say_missing("kinetics", root, list(source_of), there)
    number = numbered(label_of.values())
    videos = {
        stem: Video(path.with_suffix("").as_posix(), root / path, number[label_of[stem]], source_of[stem])
        for stem, path in there.items()
    }
    ids = {part: tuple(video.id for stem, video in videos.items() if part_of[stem] == part) for part in PARTS}
    made = {"1": Split("1", ids["train"], ids["val"])}
    if ids["test"]:
        made["test"] = Split("test", ids["train"], ids["test"])
    return Dataset("kinetics", root, tuple(number), tuple(videos.values()), made)


def group_of(clip: str) -> str | None:
    """The video that a clip named <youtube id>_<start>_<end> was cut from; None: no name of Kinetics'."""
    named = re.search(r"([^/]+)_\d{6,}_\d{6,}$", clip)
    return named[1] if named else None


def _part(file: Path) -> str:
    """The part that a list's name says; "" where the rows must say it."""
    return next((part for part in PARTS if part in file.stem.lower()), "")


def _rows(file: Path, by_name: str) -> Iterator[tuple[str, str, str]]:
    """Clip name, label and part of each labelled row of a list; the part that its name says where a row says none."""
    with open(file, newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle)
        lacking = [column for column in COLUMNS if column not in (reader.fieldnames or [])]
        if lacking == ["label"]:
            return  # a test list without labels
        if lacking:
            raise UsageError(f"{file}:1: columns {', '.join(COLUMNS)} expected; {', '.join(lacking)} missing")
        for row in reader:
            where = f"{file}:{reader.line_num}"
            try:
                start, end = (int(float(row[column])) for column in ("time_start", "time_end"))
            except (TypeError, ValueError):
                raise UsageError(f"{where}: time_start and time_end must be seconds") from None
            if not row["youtube_id"]:
                raise UsageError(f"{where}: no youtube_id")
            word = (row.get("split") or "").lower()
            part = next((part for part in PARTS if word.startswith(part)), by_name)
            if not part:
                raise UsageError(f"{where}: neither a column split nor the file's name says train, val or test")
            if row["label"]:
                yield f"{row['youtube_id']}_{start:06d}_{end:06d}", row["label"].strip(), part
