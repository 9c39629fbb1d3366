"""What networks need of a video's frames, decoded: each frame once, however many views and needs share it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from avr.datasets import Video

from .facts import Facts
from .frames import Frames, open_frames, stack
from .pictures import Frame, VideoError
from .sampling import Sampling, centred_pairs


@dataclass(frozen=True)
class Need:
    """What one network looks at in each step that is sampled.

    Attributes:
        pairs: L pairs of consecutive frames, centred on the step; 0: the step's own frame.
        colour: RGB, or grey.
        size: the short side that frames are resized to, pixels; 0 leaves them.
        flow_images: where flow images lie beside raw frames, those are read in place of the pairs' frames.
    """

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

    def pairs(self, num_pairs: int) -> Pairs:
        """The pairs of stacks of `num_pairs` (L) centred on each step."""
        wanted = np.array([centred_pairs(int(frame), num_pairs, self.num_frames) for frame in self.frames])
        firsts, positions = np.unique(wanted, return_inverse=True)
        both = np.stack([firsts, np.minimum(firsts + 1, self.num_frames - 1)])
        frames, ends = np.unique(both, return_inverse=True)
        return Pairs(firsts, positions.reshape(wanted.shape), frames, ends.reshape(both.shape))


@dataclass(frozen=True)
class Answer:
    """What one need found.

    Attributes:
        images: (F, H, W, 3) uint8 RGB or (F, H, W) grey: the frames of the steps, or those of the pairs. Empty where
            they are ready.
        pairs: of a need of pairs, those.
        ready: (n, C, H, W), the images of the frames or pairs themselves, 0…255, where they need not be made: stored
            flow images, if the need takes them.
    """

    images: NDArray[np.uint8]
    pairs: Pairs | None = None
    ready: NDArray | None = None

    @property
    def stacks(self) -> NDArray[np.intp]:
        """(R, L) positions of each step's images among the different ones; L is 1 without pairs."""
        if self.pairs is not None:
            return self.pairs.stacks
        return np.arange(len(self.images if self.ready is None else self.ready))[:, None]


@dataclass(frozen=True)
class Decoded:
    """One video, decoded for some needs.

    Attributes:
        steps: which frames were sampled.
        answers: what each need found, by the name that the asker gave it.
        facts: what is known of the video.
        numbers: (V, N) which of the frames that decode each step shows.
        seconds: (V, N) when, in seconds from the file's start; NaN where nothing tells.
        note: what a user should know though it is no failure, such as frames that the header promised.
    """

    steps: Steps
    answers: Mapping[str, Answer]
    facts: Facts
    numbers: NDArray[np.intp]
    seconds: NDArray[np.float64]
    note: str = ""


def decode(
    video: Video, sampling: Sampling, needs: Mapping[str, Need], *, generator: np.random.Generator | None = None
) -> Decoded:
    """Decode what is needed of one video.

    Args:
        needs: what each network looks at there, by names of the asker's own.
        generator: draws random views (training); without it they come from the seed and the video's id.

    Raises:
        VideoError: the video gives nothing, or more of it is damaged than the sampling takes; says why.
    """
    frames = open_frames(video, fps=sampling.fps)
    refuse_damaged(frames, sampling.damage)
    views = sampling.sample(frames.count, key=video.id, generator=generator)
    return answer(frames, Steps.of(views, frames.count), needs)


def refuse_damaged(frames: Frames, limit: float) -> None:
    """Refuse a video of which more than a share of the packets does not decode.

    Raises:
        VideoError: there are more.
    """
    if frames.damage > limit:
        enough = math.ceil(100 * frames.damage) / 100
        raise VideoError(f"too damaged: {frames.note}; avr extract --damage {enough:g} takes it")


def answer(frames: Frames, steps: Steps, needs: Mapping[str, Need]) -> Decoded:
    """What is needed of given steps of a video whose frames are counted; see `decode`."""
    pairs = {name: steps.pairs(need.pairs) for name, need in needs.items() if need.pairs}
    stored = {name for name in pairs if needs[name].flow_images and frames.has_flow_images}
    numbers = {name: pairs[name].frames if name in pairs else steps.frames for name in needs if name not in stored}
    taken = frames.take({number for wanted in numbers.values() for number in wanted.tolist()})
    answers = {}
    for name, need in needs.items():
        if name in stored:
            answers[name] = Answer(stack([], 0), pairs[name], frames.flow_images(pairs[name].firsts.tolist()))
        else:
            images = (_shown(taken[number], need) for number in numbers[name].tolist())
            answers[name] = Answer(stack(images, len(numbers[name])), pairs.get(name))
    shown = steps.frames[steps.views]
    return Decoded(steps, answers, frames.facts, frames.numbers[shown], frames.seconds[shown], frames.note)


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
