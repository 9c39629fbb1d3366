"""What an index is made of: videos, splits, the data set. Plain frozen records with no behaviour but their checks."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from avr.core import UsageError


@dataclass(frozen=True)
class RawFrames:
    """How a folder of raw frames, as TSN's and mmaction2's tools write them, is named and counted.

    Attributes:
        count: number of RGB images that belong to the video, as it is listed; the flow images of frame t to t + 1 carry
            t's number.
        first: number of the first frame that belongs to the video: 0 or 1, or where its stretch of the folder starts.
        image: file name of an RGB image, as a format of its number: "img_{:05d}.jpg".
        flow_x: file name of the flow's horizontal part, grey.
        flow_y: file name of the flow's vertical part, grey.
    """

    count: int
    first: int = 1
    image: str = "img_{:05d}.jpg"
    flow_x: str = "flow_x_{:05d}.jpg"
    flow_y: str = "flow_y_{:05d}.jpg"


@dataclass(frozen=True)
class Video:
    """One labelled video.

    Attributes:
        id: POSIX path relative to the root with the class folder and without the suffix ("brush_hair/clip1"); the
            suffix stays where two files differ by it alone. A stretch of a file ends in its seconds: "match1@12.5-14".
        path: the video file, or the folder of raw frames when `frames` is given.
        label: class number, an index into `Dataset.class_names`.
        group: videos of one group share their source (film, person, scene) and never part in a fold or a split.
        start: where the video starts in its file, seconds from the file's first frame; None: with the file.
        end: where it ends, seconds from the file's first frame; None: with the file. Raw frames have neither.
        frames: how the raw frames in the folder `path` are named; None: `path` is a video file.
    """

    id: str
    path: Path
    label: int
    group: str
    start: float | None = None
    end: float | None = None
    frames: RawFrames | None = None


@dataclass(frozen=True, repr=False)
class Split:
    """Which videos train and which test, by id, in the index's order. A video may be in neither."""

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Split({self.name}: {len(self.train)} train, {len(self.test)} test)"


def numbered(class_names: Iterable[str]) -> dict[str, int]:
    """Class numbers where nothing else is said: the names' alphabetical order. A name may come more than once."""
    return {name: label for label, name in enumerate(sorted(set(class_names)))}


@dataclass(frozen=True, repr=False)
class Dataset:
    """An indexed data set: every video found, its class, its group, and the splits.

    Attributes:
        name: what it is called; folders of stores, runs and caches are named after it.
        root: the folder that the ids start from.
        class_names: in label order.
        videos: in the order in which they are extracted.
        splits: by name.
        found: what finds it again: the arguments and options of `index_dataset`, as texts, paths absolute.

    Raises:
        UsageError: two videos share an id, a label has no class, or a split names an unknown video or one twice.
    """

    name: str
    root: Path
    class_names: tuple[str, ...]
    videos: tuple[Video, ...]
    splits: dict[str, Split]
    found: dict[str, str] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        held = f"{len(self.videos)} videos, {len(self.class_names)} classes, {len(self.splits)} splits"
        return f"Dataset({self.name}: {held}; {self.root})"

    def __post_init__(self) -> None:
        counts = Counter(video.id for video in self.videos)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise UsageError(f"{self.name}: {len(twice)} video ids occur more than once, first {twice[0]!r}")
        for video in self.videos:
            if not 0 <= video.label < len(self.class_names):
                raise UsageError(
                    f"{self.name}: {video.id!r} has label {video.label}, of {len(self.class_names)} classes"
                )
        for split in self.splits.values():
            members = Counter(split.train + split.test)
            wrong = [name for name, count in members.items() if count > 1 or name not in counts]
            if wrong:
                raise UsageError(f"{self.name}, split {split.name}: {wrong[0]!r} is unknown or listed twice")
