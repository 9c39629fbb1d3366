"""Which test videos of a run a reader should see."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .judging import most_confused
from .reading import Outcome

STEPS = 4  # frames that are shown of a video of a class that is confused


@dataclass(frozen=True)
class Video:
    """A test video: in which split, where in it, its true and predicted class."""

    split: str
    place: int
    id: str
    true: int
    predicted: int
    confidence: float  # of the predicted class
    of_true: float  # probability of the true class
    seen: float  # the same, on average over the streams (without streams, of the main output)

    @property
    def right(self) -> bool:
        """Whether the main output is."""
        return self.true == self.predicted


@dataclass(frozen=True)
class Confused:
    """A pair of classes: videos of one that are taken for the other, and of the other that are recognised."""

    true: int
    predicted: int
    taken: list[Video]
    recognised: list[Video]


@dataclass(frozen=True)
class Looks:
    """Which videos of a run a reader should see.

    Attributes:
        hardest: those whose true class has the smallest probability over the streams: nothing that the run has sees it.
        wrong: of the others those that the main output is most confidently wrong on.
        drawn: of those that it is right on, and of those that it is not, a sample (Liu et al. 2022, fig. 4).
        confused: of the pairs of classes that it confuses most, the surest ones (Ou & Sun, TPN-BiLSTM, fig. 12).
    """

    hardest: list[Video]
    wrong: list[Video]
    drawn: tuple[list[Video], list[Video]]
    confused: list[Confused]


def each_video(outcome: Outcome) -> list[Video]:
    """Every test video, as the main output has it."""
    every = []
    for split, judged in outcome.splits.items():
        rows = np.arange(len(judged.labels))
        streams = [judged.outputs[name] for name in judged.streams or (outcome.main,)]
        seen = np.mean([values[rows, judged.labels] for values in streams], axis=0)
        main = judged.outputs[outcome.main]
        for place, (label, predicted) in enumerate(zip(judged.labels.tolist(), main.argmax(1).tolist(), strict=True)):
            found = float(main[place, predicted]), float(main[place, label]), float(seen[place])
            every.append(Video(split, place, str(judged.ids[place]), label, predicted, *found))
    return every


def worth_a_look(outcome: Outcome, count: int) -> Looks:
    """So many videos of each kind; of confused classes half as many pairs with a third as many videos of both."""
    every = each_video(outcome)
    hardest = sorted(every, key=lambda video: video.seen)[:count]
    surest = sorted(every, key=lambda video: -video.confidence)
    wrong = [video for video in surest if not video.right and video not in hardest][:count]
    pairs = []
    for true, predicted, *_ in most_confused(outcome.confusion, count // 2):
        taken, known = (
            [one for one in surest if (one.true, one.predicted) == pair][: max(count // 3, 1)]
            for pair in ((true, predicted), (predicted, predicted))
        )
        pairs.append(Confused(true, predicted, taken, known))
    return Looks(hardest, wrong, (_sample(every, count, right=True), _sample(every, count, right=False)), pairs)


def _sample(every: Sequence[Video], count: int, *, right: bool) -> list[Video]:
    """Drawn without a look at anything else, and the same ones each time."""
    those = [video for video in every if video.right == right]
    return [those[place] for place in sorted(np.random.default_rng(0).permutation(len(those))[:count])]
