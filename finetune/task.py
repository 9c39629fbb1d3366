"""What both fine-tunings share: which videos train, the loop around a network, and what the test videos say of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from avr.core import UsageError, as_json, measure, validation_part
from avr.datasets import Dataset, Split, Video
from avr.extract import CACHE_FOLDER, ClipCache, Settings, leave_out
from avr.store import Scores, Videos, score_path, write_scores
from avr.training import Training

from .distributed import Processes
from .draws import compiled
from .loop import Fitted, Loop
from .networks import TunedNetwork
from .samples import VideoSamples, fixed_inputs
from .tuning import Tuning


@dataclass(frozen=True)
class Task(ABC):
    """One fine-tuning on one split, settled.

    Attributes:
        streams: each one's settings, filled in.
        cache_folder: of decoded frames and flow; None is `cache/<dataset>`.
        processes: this one's place among them, and where it trains.
    """

    dataset: Dataset
    split: Split
    streams: dict[str, Settings]
    training: Training
    tuning: Tuning
    seed: int
    cache_folder: Path | None
    processes: Processes

    @property
    @abstractmethod
    def tested(self) -> tuple[dict[str, Settings], dict[str, bool], int]:
        """How the network is tested: the fixed frames and crops, which streams in bfloat16, videos at once."""

    @property
    @abstractmethod
    def prediction(self) -> str:
        """The output that is the prediction."""

    def identity(self, **own: Any) -> dict[str, Any]:
        """All that makes it the same training, as JSON can hold it: what a continued one must share.

        Raises:
            UsageError: a seed below 0.
        """
        if self.seed < 0:
            raise UsageError(f"the seed must be at least 0, not {self.seed}")
        tuning = self.tuning.identity(processes=self.processes.world)
        return as_json({**own, "training": asdict(self.training), "tuning": tuning, "seed": self.seed})

    @cached_property
    def cache(self) -> ClipCache:
        """Frames and flow of the videos."""
        folder = self.cache_folder or CACHE_FOLDER / self.dataset.name
        return ClipCache(folder, self.streams, device=str(self.processes.device))

    @cached_property
    def videos(self) -> tuple[list[Video], list[Video]]:
        """The training and the test videos that decode, their frames and flow in the cache.

        The processes of a machine share the work; then all see what is there.
        """
        by_id = {video.id: video for video in self.dataset.videos}
        train, test = ([by_id[name] for name in part] for part in (self.split.train, self.split.test))
        mine = [*train, *test][self.processes.local_rank :: self.processes.local_world]
        gathered = self.processes.gather(self.cache.build(mine))
        failures = {name: reason for found in gathered for name, reason in found.items()}
        return leave_out(train, failures), leave_out(test, failures)

    def fit(
        self, network: TunedNetwork, folder: Path, *, settings: Mapping[str, Any], stop_after: int | None
    ) -> Fitted:
        """Train a network, or go on where its state in the folder was left; whole groups are held back to validate."""
        folder.mkdir(parents=True, exist_ok=True)
        train, held_out = self.videos[0], []
        if self.training.validation:
            groups = np.array([video.group for video in train])
            apart = validation_part(labels_of(train), groups=groups, share=self.training.validation, seed=self.seed)
            held_out = [video for video, out in zip(train, apart, strict=True) if out]
            train = [video for video, out in zip(train, apart, strict=True) if not out]
        if self.tuning.compile:
            network.run = {stream: compiled(part) for stream, part in network.run.items()}
        samples = VideoSamples(
            train,
            self.cache,
            streams=self.streams,
            tuning=self.tuning,
            seed=self.seed,
            every_clip=self.training.views == "all",
        )
        loop = Loop(
            network,
            samples,
            training=self.training,
            tuning=self.tuning,
            seed=self.seed,
            validate=(lambda: self.loss(network, held_out)) if held_out else None,
            folder=folder,
            settings=settings,
        )
        return loop.run(self.processes, stop_after=stop_after)

    def outputs(self, network: TunedNetwork, videos: Sequence[Video]) -> dict[str, NDArray[np.float32]]:
        """Scores `(len(videos), K)` by output, as prediction has them; none without videos."""
        streams, bf16, at_once = self.tested
        num_steps = {name: settings.num_steps for name, settings in streams.items()}
        network.eval()
        rows: dict[str, list[NDArray[np.float32]]] = {}
        with torch.no_grad():
            for inputs in fixed_inputs(videos, self.cache, streams, device=self.processes.device, at_once=at_once):
                for name, scores in network.test(inputs, num_steps=num_steps, bf16=bf16).items():
                    rows.setdefault(name, []).append(scores.float().cpu().numpy())
        return {name: np.concatenate(parts) for name, parts in rows.items()}

    def loss(self, network: TunedNetwork, videos: Sequence[Video]) -> float:
        """Mean cross-entropy of the prediction of some videos."""
        scores = torch.from_numpy(self.outputs(network, videos)[self.prediction])
        return float(F.cross_entropy(scores, torch.from_numpy(labels_of(videos))))

    def write_scores(
        self,
        folder: Path,
        outputs: Mapping[str, NDArray[np.float32]],
        *,
        head: str,
        provenance: Mapping[str, Any],
    ) -> None:
        """Write the scores of the test videos, where there are any."""
        if self.videos[1]:
            videos = Videos.of(self.dataset, self.videos[1])
            scores = Scores.of(videos, outputs, split=self.split.name, head=head, provenance=as_json(provenance))
            write_scores(score_path(folder), scores)

    def accuracies(self, outputs: Mapping[str, NDArray[np.float32]]) -> dict[str, dict[str, float]]:
        """Top-1, top-5 and mean class accuracy of the test videos by output."""
        return {name: measure(scores, labels_of(self.videos[1])) for name, scores in outputs.items()}


def labels_of(videos: Sequence[Video]) -> NDArray[np.int64]:
    """Labels `(M,)` of videos."""
    return np.array([video.label for video in videos], dtype=np.int64)
