"""Trained runs opened for new videos: head, extraction settings and backbones, found through their provenance."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, note
from avr.extract import Extractor, Origin, Running, refuse_unused
from avr.heads import TrainedRun, load_run

Features = dict[str, NDArray[np.float32]]  # "rgb/pooled" -> (V, N, …) of one video
Outputs = dict[str, NDArray[np.float32]]  # output -> log-probabilities (K,) of one video


@dataclass(frozen=True)
class Opened:
    """A run ready for new videos.

    Attributes:
        name: the run's folder name; its path where another run of that name is opened beside it.
        trained: its head.
        extractor: makes the features it reads; shared by runs on the same features.
    """

    name: str
    trained: TrainedRun
    extractor: Extractor

    def scores(self, features: Mapping[str, NDArray[np.float32]]) -> Outputs:
        """Log-probabilities `(K,)` by output of one video's features, "rgb/pooled" -> `(V, N, …)`."""
        return self.trained.predict({s: features[f"{s}/{layer}"] for s, layer in self.trained.layers.items()})


def open_runs(
    runs: Sequence[Path], *, split: str = "", weights: Sequence[str] = (), device: str = "auto"
) -> list[Opened]:
    """Open runs; those on the same features share one extractor."""
    opened: list[Opened] = []
    extractors: dict[str, Extractor] = {}
    loaded = [load_run(run, split=split or None) for run in runs]
    origins = [Origin.of(trained.metadata, trained.folder) for trained in loaded]
    refuse_unused(weights, [origin.settings for origin in origins])
    names = [trained.folder.parent.name for trained in loaded]
    older = [
        name
        for name, origin in zip(names, origins, strict=True)
        if any(settings.decoder == "opencv" for settings in origin.settings.values())
    ]
    if older:
        note(f"{', '.join(older)}: features were made from OpenCV's frames; FFmpeg's, read now, differ by roundings")
    for trained, origin, name in zip(loaded, origins, names, strict=True):
        key = json.dumps({name: settings.to_dict() for name, settings in origin.settings.items()}, sort_keys=True)
        if key not in extractors:
            networks = origin.restore_networks(weights)
            extractors[key] = Extractor(origin.settings, running=Running(device=device), networks=networks)
        shown = name if names.count(name) == 1 else str(trained.folder.parent)
        opened.append(Opened(shown, trained, extractors[key]))
    for other in opened[1:]:
        if other.trained.class_names != opened[0].trained.class_names:
            raise UsageError(f"{other.name} was trained on other classes than {opened[0].name}")
    return opened
