"""`Predictor`: a trained pipeline applied to new videos, by the code that extraction and heads run."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError
from avr.datasets import Video
from avr.extract import Extractor
from avr.store import warn_unfinished
from avr.video import USUAL_RATE, ArrayFrame, Facts, Frame, VideoError, VideoFile, decode, decode_held

from .pipelines import Features, Outputs, open_runs
from .requests import check_request, check_runs
from .windows import cut_windows, timed


@dataclass(frozen=True)
class Window:
    """What a part of a video shows: seconds from its start, and the best classes with their probabilities."""

    start: float
    end: float
    top: list[tuple[str, float]]


@dataclass(frozen=True, repr=False)
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
        note: what one should know of the video though it decodes, such as damage; "" is nothing.
        rate: frames a second that whoever asked gave; 0: the time stamps of the file tell.
    """

    path: Path | None
    frames: int
    seconds: float
    top: list[tuple[str, float]]
    probabilities: NDArray[np.float64]
    outputs: Outputs = field(repr=False)
    timeline: list[Window] = field(default_factory=list)
    note: str = ""
    rate: float = 0.0

    def __repr__(self) -> str:
        best = ", ".join(f"{name} {100 * share:.1f} %" for name, share in self.top[:3])
        return f"Prediction({self.path or 'frames'}: {best})"

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "video": "" if self.path is None else str(self.path),
            "frames": self.frames,
            "seconds": self.seconds,
            "top": _listed(self.top),
            "timeline": [{"start": w.start, "end": w.end, "top": _listed(w.top)} for w in self.timeline],
            "note": self.note,
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
        self.fusion = check_runs(runs, split=split, fuse=None if fuse is None else Path(fuse))
        if self.fusion is not None:
            runs, split = self.fusion.runs, self.fusion.split
        self.opened = open_runs(runs, split=split, weights=weights, device=device)
        if self.fusion is not None:
            self.fusion.check(self.opened)
        for one in runs:
            warn_unfinished(one)
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
            rate: frames a second, 0.01 to 1000; 0: what the file's time stamps say, of an array 25.
            top: how many classes.
            window: seconds of a window of the time line, which videos of at least two windows get; 0: no time line.
            step: seconds from one window's start to the next's; 0: half a window.

        Raises:
            UsageError: no such file, an array of something else, or a length that is none.
            WorkError: the video does not decode; says why.
        """
        check_request(top=top, window=window, step=step, rate=rate)
        if isinstance(video, (str, Path)):
            path, name = Path(video), Path(video).stem
            if not path.is_file():
                raise UsageError(f"{path}: no such video")
            outputs, facts, note = self._outputs(Video(name, path, 0, name), key=name)  # no class and no group
        else:
            path, name, rate = None, "", rate or USUAL_RATE
            held = held_frames(video, rate)
            outputs, facts, note = self._outputs(held, key=name)
        probabilities = self._probabilities(outputs)
        mean = rate or facts.rate
        length = facts.frames / rate if rate else facts.seconds
        timeline: list[Window] = []
        if window * mean > 0.5 and length > 2 * window - 0.5 / mean:  # give or take half a frame
            with VideoFile(path) if path else nullcontext(held) as frames:
                for part in cut_windows(
                    timed(frames, rate), length=window, step=step or window / 2, end=length, rate=mean
                ):
                    own, *_ = self._outputs(part.frames, key=f"{name}@{part.number}")
                    best = _best(self._probabilities(own), self.class_names, top)
                    timeline.append(Window(round(part.start, 6), round(part.end, 6), best))
        best, named = _best(probabilities, self.class_names, top), self._named(outputs)
        return Prediction(path, facts.frames, length, best, probabilities, named, timeline, note, rate)

    def _outputs(self, video: Video | Sequence[Frame], *, key: str) -> tuple[list[Outputs], Facts, str]:
        """What each run gives for a video file, or for frames as for a video of them; its facts; and its note.

        `key` settles random views.
        """
        made: dict[Extractor, Features] = {}
        for extractor in self._extractors:
            if isinstance(video, Video):
                try:
                    decoded = decode(video, extractor.needs)
                except VideoError as error:
                    raise VideoError(error.reason, video.path) from error
            else:
                decoded = decode_held(video, extractor.needs, key=key)
            made[extractor] = extractor.features_of(decoded)
        return [opened.scores(made[opened.extractor]) for opened in self.opened], decoded.facts, decoded.note

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


def _best(probabilities: NDArray, class_names: Sequence[str], top: int) -> list[tuple[str, float]]:
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [(class_names[index], float(probabilities[index])) for index in order]


def _listed(top: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"class": name, "probability": probability} for name, probability in top]
