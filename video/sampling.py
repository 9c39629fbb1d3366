"""Which frames of a video are looked at: pure integers, from its length alone, tested without any video.

Frames count from 0; `F` is the number of frames decoded. One list is one view (a sequence of N frames). A video shorter
than the plan repeats its last frame. A pair is named by its first frame: pair 7 is the motion from frame 7 to 8.
"""

import zlib
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from avr.core import About, NonNegativeFloat, NonNegativeInt, PositiveInt, UsageError, check_fields

View = list[int]
# The plans, with the N and V that their papers take.
PLANS = {"segments": (7, 1), "strided": (17, 1), "clips": (30, 20)}


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video make its views. Zeros are filled in with what the plan's paper takes.

    Of plan clips, `segments` is the frames of a clip. With `per_segment`, 3 segments of 4 are GLKA's 12 frames on
    Kinetics.
    """

    plan: Annotated[
        Literal["segments", "strided", "clips"],
        About("N equal segments (STFN); every t'-th frame (Ou & Sun); overlapping clips (GLKA)."),
    ] = "segments"
    segments: Annotated[NonNegativeInt, About("Frames a view; 0: the plan's own (7; strided 17; clips 30).", "N")] = 0
    per_segment: Annotated[PositiveInt, About("Frames a segment, of plan segments.", "N")] = 1
    views: Annotated[NonNegativeInt, About("Sequences a video; 0: the plan's own (1; clips at most 20).", "V")] = 0
    view: Annotated[Literal["fixed", "random"], About("Evenly spaced frames, or drawn ones, as for training.")] = (
        "fixed"
    )
    clip_stride: Annotated[PositiveInt, About("From one clip's start to the next one's.", "FRAMES")] = 15
    fps: Annotated[
        NonNegativeFloat,
        About("Sample frames and pairs from a grid of so many a second, by time stamps; 0: from all frames.", "R"),
    ] = 0.0
    damage: Annotated[
        NonNegativeFloat, About("Of a video's packets: it is refused where a larger share does not decode.", "SHARE")
    ] = 0.1
    seed: Annotated[NonNegativeInt, About("Of random weights and random views.")] = 0

    def __post_init__(self) -> None:
        """Refuse values that make no sense, and fill in the plan's own numbers."""
        check_fields(self)
        own_segments, own_views = PLANS[self.plan]
        object.__setattr__(self, "segments", self.segments or own_segments)
        object.__setattr__(self, "views", self.views or own_views)
        if self.plan == "strided" and self.views > 1 and self.view == "fixed":
            raise UsageError("plan strided has one fixed view; more need --view random")
        if self.plan == "clips" and self.view == "random":
            raise UsageError("plan clips takes all clips of a video; it has no random view")

    @property
    def num_steps(self) -> int:
        """N, time steps of one view."""
        return self.segments * (self.per_segment if self.plan == "segments" else 1)

    def sample(
        self, num_frames: int, *, key: str = "", generator: np.random.Generator | None = None
    ) -> NDArray[np.intp]:
        """The frames of every view of one video, (V, N); V is `views` but for clips, where it depends on the length.

        Args:
            num_frames: frames decoded, at least 1.
            key: the video's id: random views are drawn from the seed and it, so they do not depend on other videos.
            generator: draws random views instead of seed and key.
        """
        if self.plan == "clips":
            found = clips(num_frames, length=self.segments, stride=self.clip_stride, most=self.views)
        elif self.view == "random":
            draw = generator or np.random.default_rng([self.seed, zlib.crc32(key.encode())])
            random = (
                random_strided if self.plan == "strided" else partial(random_segments, per_segment=self.per_segment)
            )
            found = [random(num_frames, self.segments, draw) for _ in range(self.views)]
        elif self.plan == "strided":
            found = [strided(num_frames, self.segments)]
        else:
            found = segments(num_frames, self.num_steps, num_views=self.views)
        return np.array(found)


def _repeat_last(num_frames: int, num_wanted: int) -> View:
    return [min(index, num_frames - 1) for index in range(num_wanted)]


def segments(num_frames: int, num_segments: int, *, num_views: int = 1) -> list[View]:
    """Frames evenly spaced in N equal segments (STFN, section 4.1).

    One view takes the centre of each segment. V views split each segment evenly, as STFN's five test sequences do:
    view v takes each segment's v-th part's centre.

        F = 12, N = 3, V = 1:   ..0. ..0. ..0.   (the digit is the view, '.' a frame left out)
        F = 12, N = 3, V = 2:   .0.1 .0.1 .0.1

    Returns:
        V lists of N frames, ascending.
    """
    if num_frames < num_segments:
        return [_repeat_last(num_frames, num_segments) for _ in range(num_views)]
    parts = 2 * num_views * num_segments
    return [
        [(2 * num_views * segment + 2 * view + 1) * num_frames // parts for segment in range(num_segments)]
        for view in range(num_views)
    ]


def random_segments(
    num_frames: int, num_segments: int, generator: np.random.Generator, *, per_segment: int = 1
) -> View:
    """Random frames of each of N equal segments, ascending: one as STFN trains, four of three segments as GLKA does on
    Kinetics (section IV-H).

        F = 12, N = 3, one a segment:   ...x .x.. x...
        F = 12, N = 3, two a segment:   x..x .xx. x.x.
    """
    if num_frames < num_segments * per_segment:
        return _repeat_last(num_frames, num_segments * per_segment)
    edges = [segment * num_frames // num_segments for segment in range(num_segments + 1)]
    return [
        start + int(offset)
        for start, stop in pairwise(edges)
        for offset in sorted(generator.choice(stop - start, per_segment, replace=False))
    ]


def strided(num_frames: int, num_wanted: int) -> View:
    """Ou & Sun's test frames (2019, eq. 13-14): t' = floor(F / T), frames t', 2t', … Tt', counted from 1.

    F = 11, T = 3, t' = 3:   ..x..x..x..
    """
    if num_frames < num_wanted:
        return _repeat_last(num_frames, num_wanted)
    step = num_frames // num_wanted
    return [step * (index + 1) - 1 for index in range(num_wanted)]


def random_strided(num_frames: int, num_wanted: int, generator: np.random.Generator) -> View:
    """Ou & Sun's training frames: a stride drawn from [2, 10] and a start, so that T frames fit.

        F = 11, T = 3, stride 4, start 1:   .x...x...x.

    Where not even the smallest stride fits, neighbouring frames from a start that is drawn; of fewer frames than T the
    test frames (`strided`).
    """
    if num_frames < num_wanted:
        return strided(num_frames, num_wanted)
    largest = min(10, (num_frames - 1) // max(1, num_wanted - 1))
    stride = int(generator.integers(min(2, largest), largest + 1))
    start = int(generator.integers(0, num_frames - (num_wanted - 1) * stride))
    return [start + stride * index for index in range(num_wanted)]


def clips(num_frames: int, *, length: int = 30, stride: int = 15, most: int = 20) -> list[View]:
    """Overlapping clips of consecutive frames (GLKA, section IV-G: 30 frames, stride 15, at most 20).

        F = 11, length 4, stride 3:   0000.......
                                      ...1111....
                                      ......2222.

    A longer video keeps `most` clips spread evenly over all it has. (Departure from the paper: it says only that the
    number is restricted; the first 20 would leave the end of a long video unseen.)

    Returns:
        1 to `most` lists of `length` frames; frames behind the last whole clip are left out.
    """
    if num_frames <= length:
        return [_repeat_last(num_frames, length)]
    count = 1 + (num_frames - length) // stride
    kept = range(count) if count <= most else [(2 * index + 1) * count // (2 * most) for index in range(most)]
    return [list(range(stride * index, stride * index + length)) for index in kept]


def centred_pairs(frame: int, num_pairs: int, num_frames: int) -> list[int]:
    """The L pairs of a stack centred on a frame, each named by its first frame.

        frame 5 (x), L = 4:   pairs 3 4 5 6, over frames   ...ff x ff..   (frames 3 4 5 6 7)

    At the video's ends the stack is moved inside; a video with fewer than L pairs repeats its last pair. A video of one
    frame has the pair 0 alone, of the frame with itself: no motion.
    """
    last = max(0, num_frames - 2)
    start = max(0, min(frame - num_pairs // 2, last - num_pairs + 1))
    return [min(start + index, last) for index in range(num_pairs)]


def centred_clip(frame: int, length: int, num_frames: int, *, stride: int = 1) -> list[int]:
    """A clip of `length` frames, `stride` apart, centred on a frame.

        frame 5 (x), length 4, stride 2, F = 12:   .o.o.x.o....   (frames 1 3 5 7)

    At the video's ends the clip is moved inside; a video too short for it repeats its last frame.
    """
    last = num_frames - 1
    start = max(0, min(frame - length // 2 * stride, last - (length - 1) * stride))
    return [min(start + index * stride, last) for index in range(length)]
