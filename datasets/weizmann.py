"""Weizmann "Actions as Space-Time Shapes" (Blank et al. 2005, Gorelick et al. 2007): 10 actions by 9 persons.

Layout as downloaded, one archive an action unpacked: `<root>/<action>/<person>_<action>.avi`; flat works as well. In
the original, lena has two clips of run, skip and walk (`lena_run1.avi`, `lena_run2.avi`).
Protocol: leave one person out. Nine splits, each named after the person whose clips test. The group is the person.
"""

import re
from pathlib import Path

from avr.core import UsageError

from ._files import find_clips, ids_of, require_videos
from ._splits import group_splits
from ._types import Dataset, Video

DESCRIPTION = "10 actions by 9 persons, 90-93 clips; leave one person out"
LAYOUT = "<root>/<action>/<person>_<action>.avi"
SOURCE = "https://www.wisdom.weizmann.ac.il/~vision/SpaceTimeActions.html"
ACTIONS = ("bend", "jack", "jump", "pjump", "run", "side", "skip", "walk", "wave1", "wave2")


def index(root: Path) -> Dataset:
    """Index Weizmann: labels in the order of `ACTIONS`, group and split name = person. See `index_dataset`."""
    paths = require_videos(root, find_clips(root), layout=LAYOUT)
    videos = []
    for path, video_id in zip(paths, ids_of(paths), strict=True):
        person, label = _parse(root / path)
        videos.append(Video(video_id, root / path, label, person))
    persons = sorted({video.group for video in videos})
    splits = group_splits(videos, {person: {person} for person in persons})
    return Dataset("weizmann", root, ACTIONS, tuple(videos), splits)


def _parse(path: Path) -> tuple[str, int]:
    person, _, action = path.stem.partition("_")
    if action not in ACTIONS:  # lena_run1, lena_run2; wave1 and wave2 are actions of their own
        action = re.sub(r"\d+$", "", action)
    if action not in ACTIONS or not person:
        raise UsageError(f"{path}: not a Weizmann clip; expected <person>_<action>.avi, actions {', '.join(ACTIONS)}")
    return person, ACTIONS.index(action)
