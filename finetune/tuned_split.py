"""What an end-to-end training leaves of one split: backbones, head, scores and, if asked, a fresh store."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avr.core import measure, sha256_of
from avr.datasets import Video
from avr.extract import Running, Settings, extract
from avr.heads import CHECKPOINT, Head, Training, load_run, save_checkpoint
from avr.store import Scores, SplitRecord, Videos, score_path, write_scores

from .learner import Fitted
from .networks import EndToEnd
from .parts import plain
from .pipeline import Pipeline
from .weights import save_weights, trunk_state


@dataclass(frozen=True)
class TunedSplit:
    """Writes one split's folder.

    Attributes:
        pipeline: what the training started from.
        training: its settings.
        seed: its seed.
        cache_folder: of frames and flow, for a fresh store.
        device: where a fresh store is extracted.
    """

    pipeline: Pipeline
    training: Training
    seed: int
    cache_folder: Path
    device: torch.device

    def write(
        self,
        folder: Path,
        network: EndToEnd,
        videos: Sequence[Video],
        scores: Mapping[str, NDArray[np.float32]],
        fitted: Fitted,
        *,
        before: dict[str, dict[str, float]],
        fresh: Path | None,
    ) -> SplitRecord:
        """Write backbones, head, scores and, if asked, a fresh store; the training's state stays until it is recorded.

        Args:
            folder: the split's.
            network: trained.
            videos: the test videos.
            scores: log-probabilities `(len(videos), K)` by output.
            fitted: what the training went through.
            before: accuracy that it started from.
            fresh: where the store goes; None is none.

        Returns:
            What the run's record keeps of the split.
        """
        opened = self.pipeline
        files: dict[str, Path] = {}
        for stream, reader in network.readers.items():
            files[stream] = folder / f"{stream}.safetensors"
            about = {"stream": stream, "backbone": opened.settings.backbone}
            about |= {"dataset": opened.dataset.name, "split": opened.split.name}
            save_weights(files[stream], trunk_state(reader), about)
        source = self._source(files, store="" if fresh is None else self._extract(files, fresh))
        self._write_head(folder, network.head, source)
        labels = np.array([video.label for video in videos])
        if videos:
            joint = type(network.head).joint
            kept = {name: values for name, values in scores.items() if joint or name != "average"}
            write_scores(score_path(folder), self._scores(videos, kept, source))
        return SplitRecord(
            results={name: measure(values, labels) for name, values in scores.items()},
            seconds=round(sum(row["seconds"] for row in fitted.history), 3),
            before=before,
            history=fitted.history,
            store=source["path"],
        )

    def _source(self, files: Mapping[str, Path], *, store: str) -> dict[str, Any]:
        """What the head remembers of its features: how they were made, and where its videos are found."""
        before = self.pipeline.metadata["store"]
        settings = self.pipeline.settings.change(
            weights=tuple(f"{stream}={path.name}" for stream, path in files.items()),
            weights_sha256=tuple(f"{stream}={sha256_of(path)}" for stream, path in files.items()),
        )
        return {
            "path": store,
            "digest": "",
            "dataset": self.pipeline.dataset.name,
            "settings": settings.to_dict(),
            "videos": before.get("path") or before.get("videos", ""),
        }

    def _extract(self, files: Mapping[str, Path], fresh: Path) -> str:
        """A store of the new backbones' features, on the same device; gives its absolute path.

        It holds this split alone: heads of another split would be tested on videos that its backbones were trained on.
        """
        opened = self.pipeline
        asked: Settings = opened.settings.change(
            weights=tuple(f"{stream}={path}" for stream, path in files.items()), weights_sha256=()
        )
        running = Running(device=str(self.device), cache=str(self.cache_folder) if asked.quantise else "")
        dataset = replace(opened.dataset, splits={opened.split.name: opened.split})
        return str(extract(dataset, fresh, settings=asked, running=running).store.resolve())

    def add_store(self, folder: Path, fresh: Path) -> str:
        """Extract the fresh store of a split that is finished, from the weights that lie there; gives its path."""
        files = {stream: folder / f"{stream}.safetensors" for stream in self.pipeline.networks.readers}
        path = self._extract(files, fresh)
        self._write_head(folder, load_run(folder).head, self._source(files, store=path))
        return path

    def _write_head(self, folder: Path, head: Head, source: dict[str, Any]) -> None:
        metadata = self.pipeline.metadata
        about = {**metadata, "training": asdict(self.training), "seed": self.seed, "store": source}
        if type(head).joint:
            save_checkpoint(folder / CHECKPOINT, head, about)
            return
        for stream, part in head.heads.items():  # type: ignore[operator, union-attr]
            own = {"layers": {stream: metadata["layers"][stream]}, "shapes": {stream: list(part.shapes[stream])}}
            save_checkpoint(folder / stream / CHECKPOINT, part, {**about, **own})

    def _scores(
        self, videos: Sequence[Video], outputs: Mapping[str, NDArray[np.float32]], source: dict[str, Any]
    ) -> Scores:
        opened = self.pipeline
        return Scores.of(
            Videos.of(opened.dataset, videos),
            outputs,
            split=opened.split.name,
            head=opened.metadata["head"],
            provenance=plain({"store": source, "options": opened.metadata["options"], "seed": self.seed}),
        )
