"""UCF Sports (Rodriguez et al. 2008): 10 actions, about 150 clips from broadcasts.

Layout as downloaded: `<root>/<Class>[-<view>]/<number>/<tape>_<frame>.avi` (or all under `<root>/ucf action`). The
folders Golf-Swing-Back, -Front and -Side are one class, Kicking-Front and -Side one; Swing-Bench (gymnastics, on the
pommel horse) and Swing-SideAngle (on the high bar) are two. Folders that hold single images and no video are left out.

Clips cut from one tape share field and players, so the group is class and tape (`2538-5_70133` is of tape 2538-5). A
class with a single tape could not be split by it: there each clip is its own group, and avr says so.
There is no official list: 70:30 by group, drawn from a seed.
"""

import re
from collections import defaultdict
from pathlib import Path

from avr.core import note

from ._files import find_clips, require_videos, videos_by_class
from ._splits import Drawing
from ._types import Dataset

DESCRIPTION = "10 sports actions, about 150 clips; 70:30 by group"
LAYOUT = "<root>/<Class>-<view>/<number>/<tape>_<frame>.avi"
DRAWING = Drawing(num_splits=3)
SOURCE = "https://www.crcv.ucf.edu/data/UCF_Sports_Action.php"


def index(root: Path) -> Dataset:
    """Index UCF Sports; the splits are drawn by group. See `index_dataset`."""
    top = next((root / name for name in ("ucf action", "ucf_action") if (root / name).is_dir()), root)
    paths = require_videos(top, find_clips(top), layout=LAYOUT, folders=1)
    class_of = {path: class_of_folder(path.parts[0]) for path in paths}
    tapes: dict[str, set[str]] = defaultdict(set)
    for path, name in class_of.items():
        tapes[name].add(_tape(path))
    single = sorted(name for name, found in tapes.items() if len(found) == 1)
    if single:
        note(f"ucf-sports: all clips of {', '.join(single)} are of one tape, so there each clip is its own group")

    def group_of(path: Path, video_id: str) -> str:
        return video_id if class_of[path] in single else f"{class_of[path]}/{_tape(path)}"

    class_names, videos = videos_by_class(top, class_of, group_of)
    return Dataset("ucf-sports", top, class_names, videos, {})


def class_of_folder(folder: str) -> str:
    """Class of a folder: its name without the camera's view; Swing-SideAngle is Swing-Side.

    Example: "Golf-Swing-Back" is "Golf-Swing", "Swing-Bench" and "Lifting" are themselves.
    """
    return re.sub(r"(-Back|-Front|-Side|(?<=-Side)Angle)$", "", folder)


def _tape(path: Path) -> str:
    return path.stem.rpartition("_")[0] or path.stem
