"""`Predictor`: a trained pipeline applied to new videos, by the code that extraction and heads run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError
from avr.datasets import Video
from avr.video import USUAL_RATE, HeldFrames, Steps, VideoError, VideoFile, answer

from .fusions import Fusion
from .pipelines import Outputs, open_runs
from .windows import read_windows


@dataclass(frozen=True)
class Window:
    """What a part of a video shows: seconds from its start, and the best classes with their probabilities."""

    start: float
    end: float
    top: list[tuple[str, float]]


@dataclass(frozen=True)
class Prediction:
    """What a video shows.

    Attributes:
        path: the video.
        frames: how many decoded.
        seconds: its length.
        top: the best classes and their probabilities, best first.
        probabilities: (K,) float64 of all classes, in the order of `class_names`.
        outputs: output -> (K,) float32 log-probabilities: of each stream and each head, "run/output" with several runs.
        timeline: windows of a long video, in order; empty for a short one.
    """

    path: Path
    frames: int
    seconds: float
    top: list[tuple[str, float]]
    probabilities: NDArray[np.float64]
    outputs: Outputs = field(repr=False)
    timeline: list[Window] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "video": str(self.path),
            "frames": self.frames,
            "seconds": self.seconds,
            "top": _listed(self.top),
            "timeline": [{"start": w.start, "end": w.end, "top": _listed(w.top)} for w in self.timeline],
        }


class Predictor:
    """A trained pipeline: weights, sampling, flow, head, fuser and class names, all found through its runs.

    Args:
        run: a run's folder, or several; none where `fuse` names them.
        fuse: a folder that `avr fuse` wrote: its rule on its runs' streams. Runs that are not given are looked for
            beside it.
        split: of the runs; "" is the first of each, or with `fuse` the one it was fitted on (of a fusion of several
            splits, the first).
        weights: where the backbones' weights lie now, "rgb=FILE", if not where they were.
        device: "auto", "cpu", "cuda", "cuda:1".

    Raises:
        UsageError: no such run; weights that are gone or that are others than in training; runs that cannot be told
            apart as the sources of a fusion.

    Example:
        Predictor("runs/stfn-shapes-1").predict("clip.avi").top
    """

    def __init__(
        self,
        run: Path | str | Sequence[Path | str] = (),
        *,
        fuse: Path | str | None = None,
        split: str = "",
        weights: Sequence[str] = (),
        device: str = "auto",
    ) -> None:
        runs = [Path(run)] if isinstance(run, (str, Path)) else [Path(one) for one in run]
        self.fusion = None if fuse is None else Fusion.open(Path(fuse), runs, split=split)
        if self.fusion is not None:
            runs, split = self.fusion.runs, self.fusion.split
        if not runs:
            raise UsageError("no run: name one that `avr heads train` wrote, such as --run runs/stfn-shapes-1")
        self.opened = open_runs(runs, split=split, weights=weights, device=device)
        if self.fusion is not None:
            self.fusion.check(self.opened)
        self.class_names = self.opened[0].trained.class_names
        self._extractors = list(dict.fromkeys(opened.extractor for opened in self.opened))

    def predict(self, path: Path | str, *, top: int = 5, window: float = 5.0, step: float = 0.0) -> Prediction:
        """What a video shows.

        Args:
            path: a video file.
            top: how many classes.
            window: seconds of a window of the time line, which videos of at least two windows get; 0: no time line.
            step: seconds from one window's start to the next's; 0: half a window.

        Raises:
            UsageError: no such file, or a length that is none.
            WorkError: the video does not decode; says why.
        """
        path = Path(path)
        check_request(top=top, window=window, step=step)
        if not path.is_file():
            raise UsageError(f"{path}: no such video")
        video = Video(path.stem, path, 0, path.stem)  # without a class and a group
        try:
            made = {extractor: extractor.features(video) for extractor in self._extractors}
        except VideoError as error:
            raise VideoError(error.reason, path) from error
        frames = next(iter(made.values()))[1]
        outputs = [opened.scores(made[opened.extractor][0]) for opened in self.opened]
        probabilities = self._probabilities(outputs)
        with VideoFile(path) as file:
            rate = file.rate or USUAL_RATE
        length = round(window * rate)
        timeline: list[Window] = []
        if length and frames >= 2 * length:
            stride = max(1, round((step or window / 2) * rate))
            timeline = self._timeline(path, length=length, step=stride, rate=rate, top=top)
        shown = _best(probabilities, self.class_names, top)
        return Prediction(path, frames, frames / rate, shown, probabilities, self._named(outputs), timeline)

    def _timeline(self, path: Path, *, length: int, step: int, rate: float, top: int) -> list[Window]:
        windows = []
        for first, frames in read_windows(path, length=length, step=step):
            made = {}
            for extractor in self._extractors:
                settings = extractor.settings
                views = settings.sampling.sample(len(frames), key=f"{path.stem}@{first}")
                decoded = answer(HeldFrames(frames), Steps.of(views, len(frames)), extractor.needs)
                made[extractor] = extractor.features_of(decoded)
            probabilities = self._probabilities([opened.scores(made[opened.extractor]) for opened in self.opened])
            best = _best(probabilities, self.class_names, top)
            windows.append(Window(first / rate, (first + len(frames)) / rate, best))
        return windows

    def _named(self, outputs: Sequence[Outputs]) -> Outputs:
        if len(outputs) == 1:
            return outputs[0]
        pairs = zip(self.opened, outputs, strict=True)
        return {f"{opened.name}/{name}": scores for opened, own in pairs for name, scores in own.items()}

    def _probabilities(self, outputs: Sequence[Outputs]) -> NDArray[np.float64]:
        """The fusion's, or the mean over the runs of each one's prediction."""
        if self.fusion is not None:
            return self.fusion.probabilities(outputs)
        own = [own[opened.trained.prediction] for opened, own in zip(self.opened, outputs, strict=True)]
        mean: NDArray[np.float64] = np.exp(np.stack(own).astype(np.float64)).mean(0)
        return mean


def check_request(*, top: int, window: float, step: float) -> None:
    """Refuse what no video can be answered with: seconds below 0 or no number, no class."""
    if not all(math.isfinite(seconds) and seconds >= 0 for seconds in (window, step)):
        raise UsageError(f"window and step must be seconds, at least 0, not {window:g} and {step:g}")
    if top < 1:
        raise UsageError(f"top must be at least 1 class, not {top}")


def _best(probabilities: NDArray, class_names: Sequence[str], top: int) -> list[tuple[str, float]]:
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [(class_names[index], float(probabilities[index])) for index in order]


def _listed(top: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"class": name, "probability": probability} for name, probability in top]
