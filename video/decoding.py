"""What networks need of a video's frames, decoded: each frame once, however many views and needs share it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avr.datasets import Video

from .facts import Facts
from .frames import Frames, HeldFrames, open_frames, stack
from .pictures import Frame, VideoError
from .sampling import Sampling, centred_clip, centred_pairs


@dataclass(frozen=True)
class Need:
    """What one network looks at: which steps of a video, and which frames about each.

    Attributes:
        sampling: which frames are steps.
        frames: T frames about each step, `stride` apart; 1: the step's own.
        pairs: in their place L pairs of consecutive frames; 0: none.
        colour: RGB, or grey.
        size: the short side that frames are resized to, pixels; 0 leaves them.
        flow_images: where flow images lie beside raw frames, those are read in place of the pairs' frames.
    """

    sampling: Sampling = field(default_factory=Sampling)
    frames: int = 1
    stride: int = 1
    pairs: int = 0
    colour: bool = True
    size: int = 0
    flow_images: bool = False


@dataclass(frozen=True)
class Pairs:
    """The different pairs of frames that the steps of one video need.

    Attributes:
        firsts: (P,) the first frame of each, ascending.
        stacks: (R, L) positions in `firsts` of each step's pairs.
        frames: (F,) the different frames at the pairs' ends, ascending.
        ends: (2, P) positions in `frames` of each pair's two frames; a video of one frame pairs it with itself.
    """

    firsts: NDArray[np.intp]
    stacks: NDArray[np.intp]
    frames: NDArray[np.intp]
    ends: NDArray[np.intp]


@dataclass(frozen=True)
class Steps:
    """The steps sampled of one video.

    Attributes:
        views: (V, N) positions in `frames`.
        frames: (R,) the different frames sampled, ascending: what each network runs on, once each.
        num_frames: frames of the video.
    """

    views: NDArray[np.intp]
    frames: NDArray[np.intp]
    num_frames: int

    @classmethod
    def of(cls, views: NDArray[np.intp], num_frames: int) -> "Steps":
        """The steps of views given as (V, N) frame numbers, such as `Sampling.sample` gives."""
        frames, positions = np.unique(views, return_inverse=True)
        return cls(positions.reshape(views.shape), frames, num_frames)

    @property
    def shown(self) -> NDArray[np.intp]:
        """(V, N) frame numbers."""
        return self.frames[self.views]

    def pairs(self, num_pairs: int) -> Pairs:
        """The pairs of stacks of `num_pairs` (L) centred on each step."""
        firsts, stacks = _different(centred_pairs(int(frame), num_pairs, self.num_frames) for frame in self.frames)
        frames, ends = _different([firsts, np.minimum(firsts + 1, self.num_frames - 1)])
        return Pairs(firsts, stacks, frames, ends)

    def clips(self, num_frames: int, stride: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Clips of `num_frames` (T) centred on each step: their different frames (F,), positions there (R, T)."""
        return _different(centred_clip(int(frame), num_frames, self.num_frames, stride=stride) for frame in self.frames)


def _different(rows: Iterable[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The different numbers in rows of equal length, ascending, and where each of the rows' stands among them."""
    numbers = np.array([*rows])
    found, positions = np.unique(numbers, return_inverse=True)
    return found, positions.reshape(numbers.shape)


@dataclass(frozen=True)
class Answer:
    """What one need found.

    Attributes:
        steps: which were sampled.
        stacks: (R, T) or (R, L) positions of each step's images among the different ones: frames, or pairs.
        images: (F, H, W, 3) uint8 RGB or (F, H, W) grey: the different frames of the steps, or of the pairs' ends.
            Empty where they are ready.
        pairs: of a need of pairs, those.
        ready: (n, C, H, W), the images of the frames or pairs themselves, 0…255, where they need not be made: stored
            flow images, if the need takes them.
        numbers: (V, N) which of the frames that decode each step shows.
        seconds: (V, N) when, in seconds from the file's start; NaN where nothing tells.
    """

    steps: Steps
    stacks: NDArray[np.intp]
    images: NDArray[np.uint8]
    pairs: Pairs | None
    ready: NDArray | None
    numbers: NDArray[np.intp]
    seconds: NDArray[np.float64]


@dataclass(frozen=True)
class Decoded:
    """One video, decoded for some needs.

    Attributes:
        answers: what each need found, by the name that the asker gave it.
        facts: what is known of the video.
        note: what a user should know though it is no failure, such as frames that the header promised.
    """

    answers: Mapping[str, Answer]
    facts: Facts
    note: str = ""


def decode(video: Video, needs: Mapping[str, Need]) -> Decoded:
    """Decode what is needed of one video. Random views come from the seed and the video's id.

    Args:
        needs: what each network looks at there, by names of the asker's own.

    Raises:
        VideoError: the video gives nothing, or more of it is damaged than the sampling takes; says why.
    """
    return _decode(lambda fps: open_frames(video, fps=fps), needs, key=video.id)


def decode_held(frames: Sequence[Frame], needs: Mapping[str, Need], *, key: str = "") -> Decoded:
    """The same of frames in memory, of one size, as of a video of them; `key` settles random views."""
    return _decode(lambda fps: HeldFrames(frames, fps=fps), needs, key=key)


def _decode(opened: Callable[[float], Frames], needs: Mapping[str, Need], *, key: str) -> Decoded:
    answers: dict[str, Answer] = {}
    # Once, but for needs that sample from different grids in time.
    for fps in dict.fromkeys(need.sampling.fps for need in needs.values()):
        own = {name: need for name, need in needs.items() if need.sampling.fps == fps}
        frames = opened(fps)
        refuse_damaged(frames, min(need.sampling.damage for need in own.values()))
        # Needs of one sampling look at the same steps.
        samplings = dict.fromkeys(need.sampling for need in own.values())
        drawn = {one: sample_steps(one, frames.count, key=key) for one in samplings}
        decoded = answer(frames, {name: drawn[need.sampling] for name, need in own.items()}, own)
        answers |= decoded.answers
    return replace(decoded, answers=answers)


def sample_steps(
    sampling: Sampling,
    num_frames: int,
    *,
    key: str = "",
    generator: np.random.Generator | None = None,
    clip: int | None = None,
) -> Steps:
    """The steps that are sampled of a video.

    Args:
        num_frames: at least 1.
        key: the video's id, which random views are drawn by.
        generator: draws them instead, for training; of plan clips, one of the video's clips.
        clip: of plan clips this one, by its number.
    """
    views = sampling.sample(num_frames, key=key, generator=generator)
    if sampling.plan == "clips" and clip is None and generator is not None:
        clip = int(generator.integers(len(views)))
    if sampling.plan == "clips" and clip is not None:
        views = views[[clip]]
    return Steps.of(views, num_frames)


def refuse_damaged(frames: Frames, limit: float) -> None:
    """Refuse a video of which more than a share of the packets does not decode.

    Raises:
        VideoError: there are more.
    """
    if frames.damage > limit:
        enough = math.ceil(100 * frames.damage) / 100
        raise VideoError(f"too damaged: {frames.note}; avr extract --damage {enough:g} takes it")


def answer(frames: Frames, steps: Mapping[str, Steps], needs: Mapping[str, Need]) -> Decoded:
    """What is needed of given steps of a video whose frames are counted; see `decode`."""
    pairs = {name: steps[name].pairs(need.pairs) for name, need in needs.items() if need.pairs}
    clips = {name: steps[name].clips(need.frames, need.stride) for name, need in needs.items() if not need.pairs}
    stored = {name for name in pairs if needs[name].flow_images and frames.has_flow_images}
    numbers = {name: pairs[name].frames if name in pairs else clips[name][0] for name in needs if name not in stored}
    taken = frames.take({number for wanted in numbers.values() for number in wanted.tolist()})
    answers = {}
    for name, need in needs.items():
        images, ready = stack([], 0), None
        if name in stored:
            ready = frames.flow_images(pairs[name].firsts.tolist())
        else:
            shown = (_shown(taken[number], need) for number in numbers[name].tolist())
            images = stack(shown, len(numbers[name]))
        stacks = pairs[name].stacks if name in pairs else clips[name][1]
        where = steps[name].shown
        about = frames.numbers[where], frames.seconds[where]
        answers[name] = Answer(steps[name], stacks, images, pairs.get(name), ready, *about)
    return Decoded(answers, frames.facts, frames.note)


def _shown(frame: Frame, need: Need) -> NDArray[np.uint8]:
    """A frame as a need has it: by area averaging where it shrinks, else by linear enlargement."""
    image = frame.rgb() if need.colour else frame.grey()
    height, width = image.shape[:2]
    if not need.size or min(height, width) == need.size:
        return image
    scale = need.size / min(height, width)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)
