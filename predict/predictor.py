"""`Predictor`: a trained pipeline applied to new videos, by the code that extraction and heads run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError
from avr.extract import Extractor
from avr.fusion import Fuser, load_fuser
from avr.video import HeldFrames, Steps, VideoError, VideoFile, answer

from .fusions import check_heads, check_split, choose_fusion, match_runs
from .pipelines import Features, open_runs, video_of
from .windows import read_windows

USUAL_RATE = 25.0  # frames a second, where a container says nothing of use


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
        outputs: output -> (K,) log-probabilities: of each stream and each head, "run/output" with several runs.
        timeline: windows of a long video, in order; empty for a short one.
    """

    path: Path
    frames: int
    seconds: float
    top: list[tuple[str, float]]
    probabilities: NDArray[np.float64]
    outputs: dict[str, NDArray[np.float32]] = field(repr=False)
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
        self.fuser: Fuser | None = None
        self._sources: list[dict[str, str]] = []
        self._run_of: list[int] = []  # of each source of the fusion: which of the opened runs it is
        if fuse is not None:
            place = choose_fusion(Path(fuse), split)
            fuser = load_fuser(place)
            if not isinstance(fuser, Fuser):
                raise UsageError(f"{fuse}: a rule over features cannot be predicted with; fuse scores (svm, awf, …)")
            self.fuser = fuser
            about: dict[str, Any] = fuser.about_  # type: ignore[attr-defined]
            self._sources = list(about["sources"])
            split = check_split(place, str(about["split"]), split)
            runs, self._run_of = match_runs(place, self._sources, runs)
        if not runs:
            raise UsageError("no run: name one that `avr heads train` wrote, such as --run runs/stfn-shapes-1")
        self.opened = open_runs(runs, split=split, weights=weights, device=device)
        check_heads(self._sources, [self.opened[index] for index in self._run_of])
        self.class_names = self.opened[0].trained.class_names
        if self.fuser is not None and tuple(self.fuser.about_["class_names"]) != self.class_names:  # type: ignore[attr-defined]
            raise UsageError(f"{fuse} was fitted on other classes than its runs have now")

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
        video = video_of(path)
        features: dict[int, Features] = {}
        frames = 0
        for extractor in self._extractors():
            try:
                features[id(extractor)], frames = extractor.features(video)
            except VideoError as error:
                raise VideoError(error.reason, path) from error
        outputs = self._outputs(features)
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
            features = {}
            for extractor in self._extractors():
                settings = extractor.settings
                views = settings.sampling.sample(len(frames), key=f"{path.stem}@{first}")
                decoded = answer(HeldFrames(frames), Steps.of(views, len(frames)), extractor.needs)
                features[id(extractor)] = extractor.features_of(decoded)
            probabilities = self._probabilities(self._outputs(features))
            best = _best(probabilities, self.class_names, top)
            windows.append(Window(first / rate, (first + len(frames)) / rate, best))
        return windows

    def _extractors(self) -> list[Extractor]:
        return list({id(opened.extractor): opened.extractor for opened in self.opened}.values())

    def _outputs(self, features: Mapping[int, Features]) -> list[dict[str, NDArray[np.float32]]]:
        return [opened.scores(features[id(opened.extractor)]) for opened in self.opened]

    def _named(self, outputs: list[dict[str, NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
        if len(self.opened) == 1:
            return outputs[0]
        pairs = zip(self.opened, outputs, strict=True)
        return {f"{opened.name}/{name}": scores for opened, own in pairs for name, scores in own.items()}

    def _probabilities(self, outputs: list[dict[str, NDArray[np.float32]]]) -> NDArray[np.float64]:
        """The fuser's, or the mean over the runs of each one's prediction."""
        if self.fuser is None:
            own = [o.trained.prediction for o in self.opened]
            chosen = [scores[name].astype(np.float64) for name, scores in zip(own, outputs, strict=True)]
            mean: NDArray[np.float64] = np.exp(chosen).mean(0)
            return mean
        rows = []
        for source, index in zip(self._sources, self._run_of, strict=True):
            if source["stream"] not in outputs[index]:
                raise UsageError(
                    f"the fusion reads {source['file']}'s {source['stream']}, and {self.opened[index].name} gives "
                    f"{', '.join(outputs[index])}: name the run that was fused with --run"
                )
            rows.append(outputs[index][source["stream"]])
        fused: NDArray[np.float64] = self.fuser.predict_proba(np.stack(rows)[None])[0]
        return fused


def check_request(*, top: int, window: float, step: float) -> None:
    """Refuse what no video can be answered with.

    Raises:
        UsageError: seconds below 0 or no number, no class.
    """
    if not all(math.isfinite(seconds) and seconds >= 0 for seconds in (window, step)):
        raise UsageError(f"window and step must be seconds, at least 0, not {window:g} and {step:g}")
    if top < 1:
        raise UsageError(f"top must be at least 1 class, not {top}")


def _best(probabilities: NDArray, class_names: Sequence[str], top: int) -> list[tuple[str, float]]:
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [(class_names[index], float(probabilities[index])) for index in order]


def _listed(top: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"class": name, "probability": probability} for name, probability in top]
