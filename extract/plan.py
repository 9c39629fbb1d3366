"""A plan applied to one video: which frames each view shows, which flow pairs those need."""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import sampling
from .settings import Settings


def plan_frames(
    settings: Settings, num_frames: int, *, key: str = "", generator: np.random.Generator | None = None
) -> NDArray[np.intp]:
    """The frames of every view of one video.

    Args:
        settings: the plan, its numbers and whether views are random.
        num_frames: frames decoded, at least 1.
        key: the video's id: random views are drawn from the seed and it, so they do not depend on other videos.
        generator: draws random views instead of seed and key.

    Returns:
        (V, N) frame numbers. V is `settings.views` but for clips, where it depends on the length.
    """
    steps, views = settings.segments, settings.views
    if settings.plan == "clips":
        return np.array(sampling.clips(num_frames, length=steps, stride=settings.clip_stride, most=views))
    if settings.view == "random":
        draw = generator or np.random.default_rng([settings.seed, zlib.crc32(key.encode())])
        return np.array([_random_view(settings, num_frames, draw) for _ in range(views)])
    if settings.plan == "strided":
        return np.array([sampling.strided(num_frames, steps)])
    return np.array(sampling.segments(num_frames, settings.num_steps, num_views=views))


def _random_view(settings: Settings, num_frames: int, generator: np.random.Generator) -> list[int]:
    if settings.plan == "strided":
        return sampling.random_strided(num_frames, settings.segments, generator)
    return sampling.random_segments(num_frames, settings.segments, generator, per_segment=settings.per_segment)


@dataclass(frozen=True)
class Needs:
    """What one video must be decoded and computed for.

    Attributes:
        views: (V, N) positions in `frames`.
        frames: (R,) the different frames shown, ascending: what each network runs on, once each.
        pairs: (P,) the different flow pairs their stacks hold, ascending, by first frame; empty without flow.
        stacks: (R, L) positions in `pairs` of each frame's stack; (R, 0) without flow.
        num_frames: frames of the video.
    """

    views: NDArray[np.intp]
    frames: NDArray[np.intp]
    pairs: NDArray[np.intp]
    stacks: NDArray[np.intp]
    num_frames: int

    @property
    def flow_frames(self) -> NDArray[np.intp]:
        """The different frames at the ends of the pairs, ascending."""
        return np.unique(np.concatenate([self.pairs, self.following]))

    @property
    def following(self) -> NDArray[np.intp]:
        """(P,) the second frame of each pair; in a video of one frame the first again."""
        return np.minimum(self.pairs + 1, self.num_frames - 1)


def needs_of(settings: Settings, views: NDArray[np.intp], num_frames: int) -> Needs:
    """What the views of one video need: each frame and each pair once, however many views share it.

    Args:
        settings: streams and stack length.
        views: (V, N) frame numbers, of `plan_frames`.
        num_frames: frames of the video.
    """
    frames, positions = (np.asarray(found) for found in np.unique(views, return_inverse=True))
    stacks: NDArray = np.zeros((len(frames), 0), np.intp)
    pairs: NDArray = np.zeros(0, np.intp)
    if "flow" in settings.streams:
        firsts: NDArray = np.array([sampling.centred_pairs(int(frame), settings.stack, num_frames) for frame in frames])
        pairs, inverse = (np.asarray(found) for found in np.unique(firsts, return_inverse=True))
        stacks = inverse.reshape(firsts.shape)
    return Needs(positions.reshape(views.shape), frames, pairs, stacks, num_frames)
