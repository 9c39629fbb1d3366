"""Diving48 (Li et al. 2018; 48 dives, some 18 000 clips of competitions), whose classes look alike in any one frame.

Layout: `<vid_name>.mp4` in any folders under the root; `Diving48_V2_train.json` and `Diving48_V2_test.json` (or those
of the first release) in the root, its `annotations`, or in `--splits`; `Diving48_vocab.json` there names the dives.

Split "1" is the official one. A clip's name is that of the video of a competition and a number: the group is the
competition. The official split has competitions on both sides, which is said.
"""

import re
from pathlib import Path

from avr.core import UsageError

from ._files import listed_clips
from ._lists import Told, find_lists, official_by_name, read_document, read_objects
from ._splits import Drawing
from ._types import Dataset

DESCRIPTION = "48 dives, about 18000 clips of competitions, by the official JSON lists; train, test"
LAYOUT = "clips <vid_name>.mp4 under <root>; Diving48_V2_train.json, Diving48_V2_test.json there or in --splits"
SOURCE = "http://www.svcl.ucsd.edu/projects/resound/dataset.html"
DRAWING = Drawing()


def index(root: Path, *, splits: Path | None = None, lists_suffice: bool = False) -> Dataset:
    """Index Diving48 with its official split, of the clips that are there; see `index_dataset`."""
    paths = listed_clips(root, layout=LAYOUT, lists_suffice=lists_suffice)
    folder = find_lists(root, splits, folder="annotations", pattern="*[Dd]iving48*train.json")
    told, part_of, number_of = Told(), dict[str, str](), dict[str, int]()
    for part in ("train", "test"):
        for path in sorted(folder.glob(f"*[Dd]iving48*{part}.json")):
            for where, (clip, label) in read_objects(path, "vid_name", "label"):
                if not label.isdecimal() or len(label) > 6:
                    raise UsageError(f"{where}: label {label!r} is no class number")
                told.tell(clip, "label", int(label), where)
                told.tell(clip, "part", part, where)
                part_of[clip], number_of[clip] = part, int(label)
    names = _names(folder, max(number_of.values(), default=-1) + 1)
    return official_by_name(
        *("diving48", root, names, {clip: names[number_of[clip]] for clip in sorted(number_of)}, part_of),
        {clip: re.sub(r"_\d+$", "", clip) for clip in number_of},
        paths=paths,
        lists_suffice=lists_suffice,
    )


def _names(folder: Path, count: int) -> tuple[str, ...]:
    """The dives in the order of their numbers: how one takes off, somersaults, twists, flies; or their numbers."""
    for path in sorted(folder.glob("*[Dd]iving48*vocab.json")):
        words = read_document(path)
        if not isinstance(words, list) or len(words) < count:
            raise UsageError(f"{path}: expected a list of {count} dives or more")
        names = [" ".join(map(str, word)) if isinstance(word, list) else str(word) for word in words]
        if len(set(names)) == len(names):
            return tuple(names)
    return tuple(map(str, range(count)))
