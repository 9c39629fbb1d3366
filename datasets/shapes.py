"""The embedded data set: clips that avr draws and encodes itself, so that the whole pipeline runs anywhere.

A class is an appearance and a motion (`stripes-turning`). Six of the 16 pairs are classes: two appearances occur with
two motions each, and two motions with two appearances each, so that who sees RGB alone, or flow alone, is right in 4 of
6 clips at best, and who sees both in all. `_drawing.py` says why neither stream sees what belongs to the other.

The pairs are chosen so that a frozen random backbone shows what fusion and fine-tuning are worth. Its flow network,
with a first convolution that is the same for x and y, hardly tells sideways from upright, and its RGB network hardly
tells checks from dots, whose colours are the same: each time the other stream knows, and so does a trained network.

Layout: `<root>/<class>/scene<NN>.avi`, Motion JPEG by OpenCV's own encoder, made under the root when missing. A scene
is one clip of each class, and the group. Three splits; each tests one third of the scenes.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from avr.core import Progress, UsageError, WorkError, note, write_whole

from ._splits import group_splits
from ._types import Dataset, Video

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DESCRIPTION = "clips that avr draws itself: appearance x motion, made when missing"
LAYOUT = "<root>/<appearance>-<motion>/scene<NN>.avi"
MAKES_ITSELF = True
# Changing what is drawn means a new number: old folders are then drawn anew.
VERSION = 8
SEED = 20
NUM_SCENES = 72
NUM_SPLITS = 3
FRAMES_PER_SECOND = 12
MARKER = "shapes.json"
PAIRS = (
    ("stripes", "sideways"),
    ("stripes", "turning"),
    ("checks", "turning"),
    ("rings", "pulsing"),
    ("rings", "upright"),
    ("dots", "upright"),
)
CLASS_NAMES = tuple(f"{appearance}-{motion}" for appearance, motion in PAIRS)


def index(root: Path) -> Dataset:
    """Index the drawn clips, drawing them first unless a complete set is there.

    Raises:
        UsageError: the root holds other files, so nothing is written there.
        WorkError: this OpenCV cannot write Motion JPEG.
    """
    if not _is_complete(root):
        _make(root)
    videos = tuple(
        Video(f"{name}/scene{scene:02d}", _clip_path(root, label, scene), label, f"scene{scene:02d}")
        for label, name in enumerate(CLASS_NAMES)
        for scene in range(NUM_SCENES)
    )
    tests = {
        str(first + 1): {f"scene{scene:02d}" for scene in range(first, NUM_SCENES, NUM_SPLITS)}
        for first in range(NUM_SPLITS)
    }
    splits = group_splits(videos, tests)
    return Dataset("shapes", root, CLASS_NAMES, videos, splits)


def _make(root: Path) -> None:
    """Draw every clip into `root`, each whole or not at all, the marker last: an interrupted run starts over."""
    import numpy as np

    from ._drawing import draw_clip

    if root.exists():
        foreign = [entry.name for entry in root.iterdir() if entry.name not in (*CLASS_NAMES, MARKER)]
        if not root.is_dir() or [name for name in foreign if not name.endswith(".tmp")]:
            raise UsageError(
                f"{root}: holds other files ({foreign[0]}), so shapes are not drawn there; name an empty --root"
            )
    (root / MARKER).unlink(missing_ok=True)
    note(f"shapes: drawing {len(CLASS_NAMES) * NUM_SCENES} clips into {root}")
    with Progress("draw", total=len(CLASS_NAMES) * NUM_SCENES, unit="clips") as progress:
        for label, (appearance, motion) in enumerate(PAIRS):
            for scene in range(NUM_SCENES):
                frames = draw_clip(appearance, motion, np.random.default_rng([SEED, label, scene]))
                _write_clip(_clip_path(root, label, scene), frames)
                progress.advance()
    with write_whole(root / MARKER) as temporary:
        temporary.write_text(json.dumps({"version": VERSION, "classes": CLASS_NAMES, "scenes": NUM_SCENES}) + "\n")


def _write_clip(path: Path, frames: "NDArray[np.uint8]") -> None:
    """Encode frames `(T, H, W, 3)` BGR as Motion JPEG, with OpenCV's own encoder, which every build has."""
    import cv2

    _, height, width, _ = frames.shape
    with write_whole(path) as temporary:
        # OpenCV picks the container by the suffix.
        part = temporary.with_suffix(".avi")
        writer = cv2.VideoWriter(
            str(part), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), FRAMES_PER_SECOND, (width, height)
        )
        try:
            if not writer.isOpened():
                raise WorkError(f"{path}: OpenCV could not open a Motion JPEG writer there")
            for frame in frames:
                writer.write(frame)
        finally:
            writer.release()
        part.replace(temporary)


def _clip_path(root: Path, label: int, scene: int) -> Path:
    return root / CLASS_NAMES[label] / f"scene{scene:02d}.avi"


def _is_complete(root: Path) -> bool:
    try:
        marker = json.loads((root / MARKER).read_text())
    except (OSError, ValueError):
        return False
    if not isinstance(marker, dict) or marker.get("version") != VERSION:
        return False
    clips = (_clip_path(root, label, scene) for label in range(len(PAIRS)) for scene in range(NUM_SCENES))
    return all(clip.is_file() for clip in clips)
