"""HMDB51 (Kuehne et al. 2011): 6 766 clips of 51 actions from films and the web, three official splits.

Layout as downloaded: `<root>/<class>/<clip>.avi` (hmdb51_org.rar, then one archive a class) and
`testTrainMulti_7030_splits/<class>_test_split<1-3>.txt` under the root or in `--splits`. A line is `<clip>.avi <mark>`:
1 trains, 2 tests, 0 is left out of that split. Class numbers are the alphabetical order of the class names.

A clip's name ends in its class, the visible body parts, camera motion, number of people, viewpoint, quality and a
number: `April_09_brush_hair_u_nm_np1_ba_goo_0`. What stands before is the film it was cut from: its group. One film
gives clips to several classes, so the class is no part of the group. Its underscores are: `Roundoff_Flick_` is a film.
"""

import re
from pathlib import Path

from avr.core import UsageError

from ._lists import Told, find_lists, official, read_list
from ._types import Dataset, numbered

DESCRIPTION = "51 actions, 6766 clips; three official splits"
LAYOUT = "<root>/<class>/<clip>.avi, testTrainMulti_7030_splits/ under the root or --splits"
SOURCE = "https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/"
LISTS = "testTrainMulti_7030_splits"
PARTS = ("", "train", "test")  # by mark
# Visible parts, camera motion, people, viewpoint, quality, number.
ATTRIBUTES = re.compile(r"_[a-z]+_(?:cm|nm)_np\d+_[a-z]+_[a-z]+_\d+$")
# Where a name stands without its class folder, these tell film and class apart.
CLASS_NAMES = (  # noqa: SIM905
    "brush_hair cartwheel catch chew clap climb climb_stairs dive draw_sword dribble drink eat fall_floor fencing "
    "flic_flac golf handstand hit hug jump kick kick_ball kiss laugh pick pour pullup punch push pushup ride_bike "
    "ride_horse run shake_hands shoot_ball shoot_bow shoot_gun sit situp smile smoke somersault stand swing_baseball "
    "sword sword_exercise talk throw turn walk wave"
).split()


def index(root: Path, *, splits: Path | None = None, lists_suffice: bool = False) -> Dataset:
    """Index HMDB51 with its three official splits; see `index_dataset`."""
    folder = find_lists(root, splits, folder=LISTS, pattern="*_test_split*.txt")
    part_of: dict[str, dict[str, str]] = {}  # split -> clip id -> part
    class_of: dict[str, str] = {}
    told = Told()
    for path in sorted(folder.glob("*_test_split*.txt")):
        named = re.fullmatch(r"(.+)_test_split(\d+)", path.stem)
        if named is None:
            raise UsageError(f"{path}: expected a name such as brush_hair_test_split1.txt")
        for line, (name, mark) in read_list(path, _parse_line):
            clip = f"{named[1]}/{name}"
            told.tell((clip, named[2]), "mark", mark, f"{path}:{line}", shown=clip)
            class_of[clip] = named[1]
            part_of.setdefault(named[2], {})[clip] = PARTS[mark]
    number = numbered(class_of.values())
    labels = {clip: number[name] for clip, name in class_of.items()}
    return official("hmdb51", root, tuple(number), labels, part_of, group_of, lists_suffice=lists_suffice)


def group_of(clip: str) -> str | None:
    """The film that a clip was cut from: its name without attributes and class; None: no name of HMDB51's.

    The class is the clip's folder or, where there is none or it is no class, the longest of HMDB51's that fits.

    Example: "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0" is of "April_09".
    """
    path, _, name = clip.rpartition("/")
    head, stripped = ATTRIBUTES.subn("", name)
    if not stripped:
        return None
    classes = [path.rpartition("/")[2], *sorted(CLASS_NAMES, key=len, reverse=True)]
    return next((head.removesuffix(f"_{known}") for known in classes if head.endswith(f"_{known}")), None)


def _parse_line(line: str) -> tuple[str, int]:
    name, _, mark = line.rpartition(" ")
    if mark not in ("0", "1", "2") or not name.strip():
        raise ValueError("expected '<clip>.avi <0, 1 or 2>'")
    return name.strip().removesuffix(".avi"), int(mark)
