"""A trained run opened for training on: its head, its backbones, its videos, all found through its provenance."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avr.core import UsageError
from avr.datasets import Dataset, Split
from avr.extract import Networks, Origin, Settings, refuse_unused
from avr.heads import TrainedRun, load_run


@dataclass(frozen=True)
class Pipeline:
    """One split of a run with all that made it.

    Attributes:
        trained: the head and its metadata.
        settings: of the extraction.
        networks: the backbones, on the CPU.
        dataset: the videos.
        split: training and test videos by id.
    """

    trained: TrainedRun
    settings: Settings
    networks: Networks
    dataset: Dataset
    split: Split

    @property
    def metadata(self) -> dict[str, Any]:
        """The checkpoint's metadata."""
        return self.trained.metadata

    @property
    def layers(self) -> dict[str, str]:
        """Stream -> the layer the head reads."""
        return {stream: self.metadata["layers"][stream] for stream in self.trained.head.streams}


def open_pipeline(run: Path, *, split: str = "", root: Path | None = None, weights: tuple[str, ...] = ()) -> Pipeline:
    """Open a split of a run.

    Args:
        run: the run's folder.
        split: its name; "" is the run's first.
        root: the data set's folder; None takes the videos where the store says they were.
        weights: where weights files lie now, "rgb=FILE", if not where they were.

    Raises:
        UsageError: no such run or split; videos or weights that are gone, weights that are others.
        WorkError: damaged files.
    """
    trained = load_run(Path(run), split=split or None)
    origin = Origin.of(trained.metadata)
    refuse_unused(weights, [origin.settings])
    networks = origin.restore_networks(given=weights, folders=[trained.folder, Path(run), Path()])
    dataset = origin.restore_dataset(root)
    name = str(trained.metadata["split"])
    if name not in dataset.splits:
        raise UsageError(f"{dataset.name} has no split '{name}', which the run was trained on; give its --root")
    return Pipeline(trained, origin.settings, networks, dataset, dataset.splits[name])
