"""UCF11, "YouTube Action" (Liu et al. 2009): 11 actions, 25 groups a class, about 1 600 clips.

Layout as downloaded: `<root>/<class>/v_<word>_<group>/v_<word>_<group>_<clip>.mpg` (or all under
`<root>/UCF11_updated_mpg`), with the word not always the class: `basketball/v_shooting_01/…`. The class is the
folder's; the group is the class and the number, since clips of one group share scene and actor within the class only.
There is no official list: 70:30 by group, drawn from a seed.
"""

import re
from pathlib import Path

from ._files import find_clips, require_videos, videos_by_class
from ._splits import Drawing
from ._types import Dataset

DESCRIPTION = "11 actions, about 1600 clips; 70:30 by group"
LAYOUT = "<root>/<class>/v_<word>_<group>/v_<word>_<group>_<clip>.mpg"
DRAWING = Drawing(num_splits=3)
SOURCE = "https://www.crcv.ucf.edu/data/UCF_YouTube_Action.php"


def index(root: Path) -> Dataset:
    """Index UCF11; the splits are drawn by group. See `index_dataset`."""
    top = root / "UCF11_updated_mpg"
    top = top if top.is_dir() else root
    paths = require_videos(top, find_clips(top), layout=LAYOUT, folders=1)
    class_names, videos = videos_by_class(top, {path: path.parts[0] for path in paths}, _group)
    return Dataset("ucf11", top, class_names, videos, {})


def _group(path: Path, video_id: str) -> str:
    """Class and group number of v_<word>_<group>_<clip>; a name unlike that is its own group."""
    number = re.search(r"_(\d+)_\d+$", path.stem)
    return f"{path.parts[0]}_{number[1]}" if number else video_id
