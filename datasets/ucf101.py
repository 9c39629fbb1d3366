"""UCF101 (Soomro et al. 2012): 13 320 clips of 101 actions from the web, three official splits.

Layout as downloaded: `<root>/<Class>/v_<Class>_g<NN>_c<NN>.avi` (or all under `<root>/UCF-101`) and
`ucfTrainTestlist/{classInd,trainlist0k,testlist0k}.txt` under the root or in `--splits`.

Class numbers come from classInd.txt, which is not in ASCII order (Hammering before HammerThrow), never from sorting.
The folder `HandstandPushups` holds clips named `v_HandStandPushups_…`: the class of a clip is its folder's.

The group of a clip is its class and gNN ("Archery_g07"), for gNN counts the sources within one class: clips of Archery
g07 are of one scene, and Biking g07 is another video altogether. The official splits keep each gNN whole. The name says
both, so that clips in other folders, or in none, are told apart all the same.
"""

import re
from pathlib import Path

from avr.core import UsageError

from ._lists import Told, find_lists, official, read_list
from ._splits import Drawing
from ._types import Dataset

DESCRIPTION = "101 actions, 13320 clips; three official splits"
LAYOUT = "<root>/<Class>/v_<Class>_gNN_cNN.avi, ucfTrainTestlist/ under the root or --splits"
SOURCE = "https://www.crcv.ucf.edu/data/UCF101.php"
DRAWING = Drawing(num_splits=3)  # folds, or draws by video, in place of the official splits
LISTS = "ucfTrainTestlist"
FOLDERS = {"HandStandPushups": "HandstandPushups"}  # a class as clips are named -> as folder and classInd.txt have it


def index(root: Path, *, splits: Path | None = None, lists_suffice: bool = False) -> Dataset:
    """Index UCF101 with its three official splits; see `index_dataset`."""
    folder = find_lists(root, splits, folder=LISTS, pattern="classInd.txt")
    numbers = dict(parsed for _, parsed in read_list(folder / "classInd.txt", _parse_class))
    class_names = tuple(sorted(numbers, key=lambda name: numbers[name]))
    if sorted(numbers.values()) != list(range(1, len(numbers) + 1)):
        raise UsageError(f"{folder / 'classInd.txt'}: the class numbers are not 1 to {len(numbers)}, each once")

    def parse_clip(line: str) -> str:
        listed = re.fullmatch(r"(?P<class>[^/]+)/(?P<clip>.+?)\.avi(?:\s+(?P<number>\d+))?", line)
        if listed is None:
            raise ValueError("expected '<Class>/<clip>.avi', in training lists with a class number")
        if listed["class"] not in numbers:
            raise ValueError(f"class {listed['class']} is not in classInd.txt")
        if listed["number"] and int(listed["number"]) != numbers[listed["class"]]:
            raise ValueError(f"class {listed['class']} has number {numbers[listed['class']]} in classInd.txt")
        return f"{listed['class']}/{listed['clip']}"

    part_of: dict[str, dict[str, str]] = {}  # split -> clip id -> part
    told = Told()
    for path in sorted(folder.glob("*list*.txt")):
        named = re.fullmatch(r"(train|test)list0*(\d+)", path.stem)
        if named:
            members = part_of.setdefault(named[2], {})
            for line, clip in read_list(path, parse_clip):
                told.tell((clip, named[2]), "part", named[1], f"{path}:{line}", shown=clip)
                members[clip] = named[1]
    if not part_of:
        raise UsageError(f"{folder}: no trainlist01.txt and testlist01.txt beside classInd.txt")
    labels = {clip: numbers[clip.partition("/")[0]] - 1 for members in part_of.values() for clip in members}
    return official("ucf101", root, class_names, labels, part_of, group_of, lists_suffice=lists_suffice)


def group_of(clip: str) -> str | None:
    """Class and number of the scene of a clip named v_<Class>_gNN_cNN: "Class_gNN"; None: no name of UCF101's."""
    named = re.search(r"(?:^|/)v_([^/]+)_(g\d+)_c\d+$", clip)
    return f"{FOLDERS.get(named[1], named[1])}_{named[2]}" if named else None


def _parse_class(line: str) -> tuple[str, int]:
    number, _, name = line.partition(" ")
    if not number.isdecimal() or not name.strip():
        raise ValueError("expected '<number> <Class>'")
    return name.strip(), int(number)
