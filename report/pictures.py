"""Pictures of test videos, where these are at hand: a frame or some, and a strip under the attention of the head.

They are JPEG in data: URLs, small, and at most so many bytes on a page.
"""

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avr.core import AvrError, WorkError
from avr.store import FeatureStore
from avr.video import open_frames

from .looks import STEPS, Looks, Video
from .reading import Outcome
from .tables import Link, csv_link

MOST_BYTES = 1_000_000  # of all pictures on a page, in base64
FRAME = 200, 120  # a frame fits in it
STEPS_SIZE = 440, 90  # as do the frames of a video of a class that is confused, side by side
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

    frames: dict[tuple[str, str, int], Picture] = field(default_factory=dict)  # run, video, how many
    strips: dict[tuple[str, str, str], list[Picture]] = field(default_factory=dict)  # run, split, video
    lack: dict[str, str] = field(default_factory=dict)
    size: int = 0
    room: int = MOST_BYTES  # of the pictures up to the run that is looked at

    def take(self, outcome: Outcome, looks: Looks) -> None:
        """Take the pictures of a run's videos; what cannot be had is left out, and why is said."""
        if not outcome.stores:
            self.lack[outcome.name] = "these scores do not say where their videos are"
            return
        videos = in_turn(looks.hardest, looks.wrong)
        confused = [video for pair in looks.confused for video in in_turn(pair.taken, pair.recognised)]
        try:
            with FeatureStore(outcome.stores) as store:
                self._each(partial(self._frames, 1), outcome, store, [*videos, *in_turn(*looks.drawn)])
                self._each(partial(self._frames, STEPS), outcome, store, confused)
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
                if self.size >= self.room:
                    raise WorkError(f"a page holds {MOST_BYTES / 1e6:g} MB of them at most, shared by its runs")
                take(outcome, store, places[video.id], video)
            except AvrError as error:
                self.lack.setdefault(outcome.name, str(error))

    def _frames(self, count: int, outcome: Outcome, store: FeatureStore, place: int, video: Video) -> None:
        """So many frames of a video side by side, as far apart as can be; one is that in its middle."""
        from avr.extract import restore_video  # needs torch

        key = outcome.name, video.id, count
        if key in self.frames:  # which another place on the page has
            self.size += len(self.frames[key].url)
            return
        frames = open_frames(restore_video(store, place))
        numbers = [(2 * step + 1) * frames.count // (2 * count) for step in range(count)]
        found = frames.take(numbers)
        images = np.concatenate([found[number].rgb() for number in numbers], axis=1)
        told = f"{video.id}, frame{'s' * (count > 1)} {', '.join(map(str, numbers))}"
        self.frames[key] = self._picture(told, images, FRAME if count == 1 else STEPS_SIZE)

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


def in_turn(*lists: Sequence[Video]) -> list[Video]:
    """The first of each, the second of each, …, as there may not be room for all."""
    return [video for some in zip_longest(*lists) for video in some if video is not None]


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
