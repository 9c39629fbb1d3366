"""Your own videos: a sub-folder a class.

Layout: `<root>/<class>/…/<video>.avi`, any depth below the class, any usual video suffix. Where the first level is
`train` beside `test` (or `val`, `valid`, `validation`), classes are the second level and that is the split.
Without that, the split is drawn: about 30 % of each class test, by group.
"""

from pathlib import Path

from ._files import find_videos, ids_of, require_videos, videos_by_class
from ._groups import groups_by_pattern
from ._splits import drawn_splits
from ._types import Dataset, Split

DESCRIPTION = "your own videos, class = sub-folder; split by seed or by group pattern"
LAYOUT = "<root>/<class>/<video>"
TEST_NAMES = frozenset({"test", "val", "valid", "validation"})


def index(
    root: Path,
    *,
    group_pattern: str | None = None,
    test_share: float = 0.3,
    num_splits: int = 1,
    seed: int = 0,
) -> Dataset:
    """Index a folder whose sub-folders are the classes, in sorted order.

    Args:
        root: the folder.
        group_pattern: regular expression searched in each video's id; its first capture (or the whole match) is the
            video's group. None: every video is its own group.
        test_share: share of the videos that test, about, in each class.
        num_splits: how many splits to draw, named "1", "2", …
        seed: of the first split; the others take the numbers after it.

    Raises:
        UsageError: no videos in sub-folders, a pattern that does not compile or never matches.
    """
    paths = require_videos(root, find_videos(root), layout=LAYOUT, folders=1)
    parts = {path.parts[0] for path in paths}
    depth = 1 if "train" in parts and len(parts) > 1 and parts <= TEST_NAMES | {"train"} else 0
    paths = require_videos(root, paths, layout="<root>/train/<class>/<video>", folders=depth + 1)
    ids = ids_of(paths)
    groups = dict(zip(ids, groups_by_pattern(ids, group_pattern), strict=True))
    class_of = {path: path.parts[depth] for path in paths}
    class_names, videos = videos_by_class(root, class_of, lambda _, video_id: groups[video_id])
    if depth:
        train, test = (tuple(v for v in ids if v.startswith("train/") is part) for part in (True, False))
        splits = {"1": Split("1", train, test)}
    else:
        splits = drawn_splits(videos, num_splits=num_splits, test_share=test_share, seed=seed)
    return Dataset("folder", root, class_names, videos, splits)
