"""`Predictor`: a trained pipeline applied to new videos, by the code that extraction and heads run."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError
from avr.datasets import Video
from avr.extract import Extractor
from avr.video import USUAL_RATE, ArrayFrame, Frame, HeldFrames, Steps, VideoError, VideoFile, answer

from .fusions import Fusion
from .pipelines import Features, Outputs, open_runs
from .requests import check_request, check_runs
from .windows import cut_windows


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
        path: the video; None for frames that were given as an array.
        frames: how many decoded.
        seconds: its length.
        top: the best classes and their probabilities, best first.
        probabilities: (K,) float64 of all classes, in the order of `class_names`.
        outputs: output -> (K,) float32 log-probabilities: of each stream and each head, "run/output" with several runs.
        timeline: windows of a long video, in order; empty for a short one.
    """

    path: Path | None
    frames: int
    seconds: float
    top: list[tuple[str, float]]
    probabilities: NDArray[np.float64]
    outputs: Outputs = field(repr=False)
    timeline: list[Window] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "video": "" if self.path is None else str(self.path),
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
        Predictor("runs/stfn-shapes-1").predict(frames, rate=30).top  # (F, H, W, 3) uint8 RGB
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
        check_runs(runs, split=split)
        self.opened = open_runs(runs, split=split, weights=weights, device=device)
        if self.fusion is not None:
            self.fusion.check(self.opened)
        self.class_names = self.opened[0].trained.class_names
        self._extractors = list(dict.fromkeys(opened.extractor for opened in self.opened))

    def predict(
        self,
        video: Path | str | NDArray[np.uint8],
        *,
        rate: float = 0.0,
        top: int = 5,
        window: float = 5.0,
        step: float = 0.0,
    ) -> Prediction:
        """What a video shows.

        Args:
            video: a video file, or frames `(F, H, W, 3)` uint8 RGB.
            rate: frames a second; 0: what the file says, of an array 25.
            top: how many classes.
            window: seconds of a window of the time line, which videos of at least two windows get; 0: no time line.
            step: seconds from one window's start to the next's; 0: half a window.

        Raises:
            UsageError: no such file, an array of something else, or a length that is none.
            WorkError: the video does not decode; says why.
        """
        check_request(top=top, window=window, step=step, rate=rate)
        source: AbstractContextManager[Iterable[Frame]]
        if isinstance(video, (str, Path)):
            path, name = Path(video), Path(video).stem
            made, count = self._features_of_file(path)
            source = file = VideoFile(path)
            rate = rate or file.rate or USUAL_RATE
        else:
            path, name, rate = None, "", rate or USUAL_RATE
            frames = held_frames(video, rate)
            made = {extractor: _features(extractor, frames, key=name) for extractor in self._extractors}
            count, source = len(frames), nullcontext(frames)
        outputs = [opened.scores(made[opened.extractor]) for opened in self.opened]
        probabilities = self._probabilities(outputs)
        length, stride = round(window * rate), max(1, round((step or window / 2) * rate))
        timeline: list[Window] = []
        with source as read:
            if length and count >= 2 * length:
                for first, held in cut_windows(read, length=length, step=stride):
                    best = self._best_of_window(held, key=f"{name}@{first}", top=top)
                    timeline.append(Window(first / rate, (first + len(held)) / rate, best))
        best = _best(probabilities, self.class_names, top)
        return Prediction(path, count, count / rate, best, probabilities, self._named(outputs), timeline)

    def _features_of_file(self, path: Path) -> tuple[dict[Extractor, Features], int]:
        """Each extractor's features of a video file, and how many frames decoded."""
        if not path.is_file():
            raise UsageError(f"{path}: no such video")
        video = Video(path.stem, path, 0, path.stem)  # without a class and a group
        try:
            found = {extractor: extractor.features(video) for extractor in self._extractors}
        except VideoError as error:
            raise VideoError(error.reason, path) from error
        return {extractor: features for extractor, (features, _) in found.items()}, next(iter(found.values()))[1]

    def _best_of_window(self, frames: Sequence[Frame], *, key: str, top: int) -> list[tuple[str, float]]:
        made = {extractor: _features(extractor, frames, key=key) for extractor in self._extractors}
        probabilities = self._probabilities([opened.scores(made[opened.extractor]) for opened in self.opened])
        return _best(probabilities, self.class_names, top)

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


def held_frames(images: NDArray[np.uint8], rate: float) -> list[Frame]:
    """Images `(F, H, W, 3)` uint8 RGB as frames, shown at `rate` a second.

    Raises:
        UsageError: they are something else.
    """
    array = np.asarray(images)
    if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8 or not array.size:
        raise UsageError(f"frames must be (F, H, W, 3) uint8 RGB, not {array.shape} {array.dtype}")
    return [ArrayFrame(image, number / rate) for number, image in enumerate(array)]


def _features(extractor: Extractor, frames: Sequence[Frame], *, key: str) -> Features:
    """Features of frames in memory, as of a video that consists of them; `key` settles random views."""
    views = extractor.settings.sampling.sample(len(frames), key=key)
    decoded = answer(HeldFrames(frames), Steps.of(views, len(frames)), extractor.needs)
    return extractor.features_of(decoded)


def _best(probabilities: NDArray, class_names: Sequence[str], top: int) -> list[tuple[str, float]]:
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [(class_names[index], float(probabilities[index])) for index in order]


def _listed(top: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"class": name, "probability": probability} for name, probability in top]
