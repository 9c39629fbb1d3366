"""Pictures of test videos, where these are at hand: a frame of each, and a strip under the attention of the head.

They are JPEG in data: URLs, small, and at most so many bytes on a page.
"""

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avr.core import AvrError, WorkError
from avr.store import FeatureStore
from avr.video import open_frames

from .judging import Video
from .reading import Outcome
from .tables import Link, csv_link

MOST_BYTES = 1_200_000  # of all pictures on a page, in base64
FRAME = 200, 120  # a frame fits in it
STRIP = 880, 110  # as does a strip, of so many steps at most
MOST_STEPS, MOST_STRIPS = 8, 6
QUALITY = 72


@dataclass(frozen=True)
class Picture:
    """One picture: what it shows, its content as a data: URL with its size, and the numbers in it."""

    told: str
    url: str
    width: int
    height: int
    csv: Link | None = None


@dataclass
class Album:
    """The pictures of a page; `lack` says why a run has none, by its name."""

    frames: dict[tuple[str, str], Picture] = field(default_factory=dict)  # run, video
    strips: dict[tuple[str, str, str], list[Picture]] = field(default_factory=dict)  # run, split, video
    lack: dict[str, str] = field(default_factory=dict)
    size: int = 0

    def take(self, outcome: Outcome, videos: Sequence[Video]) -> None:
        """Take the pictures of a run's videos, in their order; what cannot be had is left out, and why is said."""
        if not outcome.stores:
            self.lack[outcome.name] = "these scores do not say where their videos are"
            return
        videos = list(dict.fromkeys(videos))
        try:
            with FeatureStore(outcome.stores) as store:
                self._each(self._frame, outcome, store, videos)
            for split in outcome.splits if outcome.record and outcome.record.kind in ("head", "end-to-end") else ():
                self._attended(outcome, split, [video for video in videos[:MOST_STRIPS] if video.split == split])
        except AvrError as error:
            self.lack.setdefault(outcome.name, str(error))

    def _each(
        self,
        take: Callable[[Outcome, FeatureStore, int, Video], None],
        outcome: Outcome,
        store: FeatureStore,
        videos: Iterable[Video],
    ) -> None:
        """Take what there is of each video, by its place in the store, as long as the page is small."""
        places = {one: place for place, one in enumerate(store.ids.tolist())}
        for video in videos:
            try:
                if video.id not in places:
                    raise WorkError(f"the store does not hold {video.id}")
                if self.size >= MOST_BYTES:
                    raise WorkError(f"a page holds {MOST_BYTES / 1e6:g} MB of them at most")
                take(outcome, store, places[video.id], video)
            except AvrError as error:
                self.lack.setdefault(outcome.name, str(error))

    def _frame(self, outcome: Outcome, store: FeatureStore, place: int, video: Video) -> None:
        """The frame in a video's middle."""
        from avr.extract import restore_video  # needs torch

        if (outcome.name, video.id) not in self.frames:  # which another split may have
            frames = open_frames(restore_video(store, place))
            middle = frames.count // 2
            image = frames.take([middle])[middle].rgb()
            self.frames[outcome.name, video.id] = self._picture(f"{video.id}, frame {middle}", image, FRAME)

    def _attended(self, outcome: Outcome, split: str, videos: Sequence[Video]) -> None:
        """Strips of frames under each kind of attention of a split's head, of the features that it was trained on."""
        if not videos:
            return
        from avr.extract import Origin
        from avr.heads import load_run

        from .attention import look

        trained = load_run(outcome.splits[split].folder)

        def strips(outcome: Outcome, store: FeatureStore, place: int, video: Video) -> None:
            found = look(trained, store, place)
            for kind, weights in found.weights.items():
                rows = _numbers(found.seen[found.shown[kind]][0], weights)
                csv = csv_link(f"attention {kind}, {outcome.name}, {video.id}", rows)
                picture = self._picture(f"Attention, {kind}", _strip(found.laid_over(kind)), STRIP)
                self.size += len(csv.url)
                self.strips.setdefault((outcome.name, split, video.id), []).append(replace(picture, csv=csv))

        with Origin.of(trained.metadata, trained.folder).open_store() as store:
            self._each(strips, outcome, store, videos)

    def _picture(self, told: str, image: NDArray[np.uint8], largest: tuple[int, int]) -> Picture:
        picture = Image.fromarray(image)
        picture.thumbnail(largest)
        content = io.BytesIO()
        picture.save(content, format="JPEG", quality=QUALITY)
        url = f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
        self.size += len(url)
        return Picture(told, url, *picture.size)


def _numbers(frames: Sequence[int], weights: NDArray[np.float32]) -> list[list[object]]:
    """Of each step its frame and weight; of maps `(N, h, w)` their sum, and where the largest weight lies."""
    header: list[object] = ["frame", "weight", "row of the largest", "column of the largest"]
    rows = [header[: weights.ndim + 1]]
    for frame, own in zip(frames, weights, strict=True):
        rows.append([frame, float(own.sum()), *(int(at) for at in np.unravel_index(own.argmax(), own.shape))])
    return rows


def _strip(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Steps `(N, H, W, 3)` side by side, at most so many of them."""
    chosen = np.unique(np.linspace(0, len(images) - 1, MOST_STEPS).round().astype(int))
    return np.concatenate(list(images[chosen]), axis=1)
