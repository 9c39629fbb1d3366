"""A trained run opened for training on: its head, its backbones, its videos, all found through its provenance."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avr.core import AvrError, UsageError, WorkError, note
from avr.datasets import Dataset, Split, Video, index_dataset
from avr.extract import Settings
from avr.extract.backbones import Networks
from avr.extract.restore import find_weights, narrow, refuse_unused, restore_networks
from avr.heads import TrainedRun, load_run
from avr.store import FeatureStore

# Data sets whose videos are parts of files or folders of frames: a store keeps their paths alone.
NEEDS_ROOT = ("kinetics", "list")


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
    store = trained.metadata["store"]
    settings = narrow(Settings.from_dict(store["settings"]), trained.metadata["layers"])
    features, known = None, {}
    # A run fine-tuned end to end may have no store of its own; it names the one that it took its videos from.
    for name in ("path", "videos"):
        if features is None and store.get(name):
            features = _open_store(Path(store[name]))
            if features is not None and name == "path":
                known = dict(features.provenance.get("weights_files", {}))
    folders = [trained.folder, Path(run), Path()]
    refuse_unused(weights, [settings])
    files = find_weights(settings, known, given=weights, folders=folders)
    dataset = _dataset(store["dataset"], features, root)
    name = str(trained.metadata["split"])
    if name not in dataset.splits:
        raise UsageError(f"{dataset.name} has no split '{name}', which the run was trained on; give its --root")
    return Pipeline(trained, settings, restore_networks(settings, files), dataset, dataset.splits[name])


def _open_store(path: Path) -> FeatureStore | None:
    try:
        return FeatureStore(path)
    except AvrError as error:
        note(f"the run's store cannot be read ({error}); its videos are looked for elsewhere")
        return None


def _dataset(name: str, store: FeatureStore | None, root: Path | None) -> Dataset:
    """The data set, from its folder, or from the paths in the store."""
    if root is not None or store is None or name in NEEDS_ROOT:
        return index_dataset(name, root)
    videos = tuple(
        Video(str(video), Path(path), int(label), str(group))
        for video, path, label, group in zip(store.ids, store.paths, store.labels, store.groups, strict=True)
    )
    gone = [video for video in videos if not video.path.is_file()]
    if gone:
        raise WorkError(f"{len(gone)} videos are not where they were, first {gone[0].path}: give their folder, --root")
    splits = {}
    for split in store.split_names:
        train, test = store.split(split)
        splits[split] = Split(split, tuple(map(str, store.ids[train])), tuple(map(str, store.ids[test])))
    return Dataset(name, Path(), store.class_names, videos, splits)
