"""What networks need of a video's frames: the steps sampled, and the pairs of frames about them; integers alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .sampling import centred_pairs


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
        wanted: NDArray = np.array([centred_pairs(int(frame), num_pairs, self.num_frames) for frame in self.frames])
        firsts, positions = np.unique(wanted, return_inverse=True)
        both = np.stack([firsts, np.minimum(firsts + 1, self.num_frames - 1)])
        frames, ends = np.unique(both, return_inverse=True)
        return Pairs(firsts, positions.reshape(wanted.shape), frames, ends.reshape(both.shape))
