"""What a run makes before rows are trained: fine-tuned backbones and stores, each in a folder of its own.

    <folder>/backbones/<backbone>-<stream>-<split>-<key>/    as `avr finetune backbone` writes it
    <folder>/stores/<settings>-<split>-<key>/                as `avr extract` does; gone when its rows are measured
    <folder>/heads/<head>-<key>/seed-0-split-1/              as `avr heads train` does
    <folder>/tuned/<head>-<key>/seed-0-split-1/              as `avr finetune end-to-end` does

A key is the digest of all that goes in, a backbone's in its store's, a store's in its heads': stages are shared by rows
and recipes, a run that was stopped finds them again, and changed settings never meet what others made.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from avr.core import AvrError, UsageError, WorkError, check_known, name_from, quiet, sha256_of
from avr.datasets import Dataset
from avr.extract import Running, Settings, extract
from avr.finetune import finetune_backbone, finetune_end_to_end
from avr.heads import Head
from avr.store import FeatureStore, is_run, read_record

from .folder import key_of, store_slug
from .making import Making, tuned_backbone
from .reading import Recipe, StoreSpec
from .tuned import Tuned

SEED = 0  # of the networks' fine-tuning; heads have seeds of their own
NETWORK = ("kind", "backbone", "stack", "clip_frames", "frame_stride", "flow", "flow_size", "resize", "crop")


class Trained:
    """A stage that ends in a run's folder."""

    @property
    def folder(self) -> Path:
        """Where it is made."""
        raise NotImplementedError

    @property
    def done(self) -> bool:
        """Whether it is there, whole."""
        return is_trained(self.folder)


@dataclass(frozen=True)
class BackboneStage(Trained):
    """One network, fine-tuned on the training part of a split."""

    making: Making
    split: str
    stream: str
    settings: Settings
    tuned: Tuned
    start: "BackboneStage | None" = None  # whose weights it starts from, in the place of those of its settings

    @cached_property
    def asked(self) -> Settings:
        """What the fine-tuning is told: the network's own settings, frames of so many segments."""
        own = {name: getattr(self.settings, name) for name in NETWORK}
        weights = str(self.start.weights) if self.start else self.settings.weights
        return Settings(**own, weights=weights, segments=self.tuned.segments)

    @cached_property
    def key(self) -> str:
        """Of the videos, the network, where it starts, and how it is trained."""
        videos = {video.id: video for video in self.making.dataset.videos}
        train = [(name, videos[name].label, videos[name].group) for name in self._split.train]
        how = [asdict(self.tuned.training), self.tuned.tuning.identity(), SEED]
        network = self.asked.to_dict() | {"weights": self.start.key} if self.start else told(self.asked)
        return key_of([self.making.dataset.name, train, network, *how])

    @property
    def _split(self) -> Any:
        return self.making.dataset.splits[self.split]

    @property
    def folder(self) -> Path:
        """Where it is made."""
        name = f"{name_from(self.settings.backbone)}-{self.stream}-{name_from(self.split)}-{self.key}"
        return self.making.folder / "backbones" / name

    @property
    def weights(self) -> Path:
        """The file that it ends in."""
        return self.folder / "weights.safetensors"

    def make(self, *, device: str) -> None:
        """Make it, or go on with it.

        Raises:
            AvrError: as `finetune_backbone`.
        """
        finetune_backbone(
            self.making.dataset,
            stream=self.stream,
            settings=self.asked,
            training=self.tuned.training,
            tuning=self.tuned.tuning,
            split=self.split,
            seed=SEED,
            out=self.folder,
            cache=self.making.cache,
            device=device,
        )


@dataclass(frozen=True)
class StoreStage:
    """The store of a section: of one split where its networks were fine-tuned on it, else of all."""

    making: Making
    spec: StoreSpec
    split: str
    backbones: dict[str, BackboneStage]
    layers: dict[str, tuple[str, ...]]  # of each stream, those that are extracted

    @cached_property
    def settings(self) -> dict[str, Settings]:
        """Each stream's, with the weights it starts from."""
        return {stream: own.change(layers=self.layers[stream]) for stream, own in self.spec.read().items()}

    @cached_property
    def dataset(self) -> Dataset:
        """The videos of the split, or of all."""
        whole = self.making.dataset
        if not self.split:
            return whole
        split = whole.splits[self.split]
        there = {*split.train, *split.test}
        videos = tuple(video for video in whole.videos if video.id in there)
        return replace(whole, videos=videos, splits={self.split: split})

    @cached_property
    def key(self) -> str:
        """Of the videos, the splits, and what is extracted with which weights."""
        videos = [(video.id, video.label, video.group) for video in self.dataset.videos]
        splits = [(name, split.train, split.test) for name, split in self.dataset.splits.items()]
        keys = {stream: backbone.key for stream, backbone in self.backbones.items()}
        streams = {stream: told(settings) for stream, settings in self.settings.items()}
        return key_of([self.dataset.name, videos, splits, streams, keys])

    @property
    def folder(self) -> Path:
        """Where it is made."""
        name = f"{store_slug(self.spec)}-{name_from(self.split or 'frozen')}-{self.key}"
        return self.making.folder / "stores" / name

    @property
    def done(self) -> bool:
        """Whether it is there, whole."""
        try:
            with quiet(), FeatureStore(self.folder) as store:
                return not store.lacking
        except AvrError:
            return False

    def make(self, *, device: str) -> None:
        """Extract it, or go on with it.

        Raises:
            AvrError: as `extract`.
        """
        weights = {stream: str(backbone.weights) for stream, backbone in self.backbones.items()}
        streams = {s: own.change(weights=weights.get(s, own.weights)) for s, own in self.settings.items()}
        running = Running(device=device, cache=str(self.making.cache) if self.backbones else "")
        extract(self.dataset, self.folder, streams=streams, running=running)

    def choose_layers(self, made: type[Head], streams: tuple[str, ...], asked: Mapping[str, str]) -> dict[str, str]:
        """Stream -> the layer that a head reads.

        Raises:
            UsageError: a stream or layer that is not extracted.
        """
        chosen = {}
        for stream in streams:
            check_known("stream", stream, self.settings)
            own = made.reads.get(self.settings[stream].kind) or made.reads.get("*") or "pooled"
            chosen[stream] = asked.get(stream) or own
            check_known(f"layer of {stream} in store {self.spec.name}", chosen[stream], self.layers[stream])
        return chosen


@dataclass(frozen=True)
class TunedStage(Trained):
    """A head and its networks, trained together from where they are."""

    making: Making
    run: Path  # of the head
    split: str
    seed: int
    job_key: str
    head: str
    tuned: Tuned
    weights: dict[str, Path]  # stream -> its network's file, where it was made here

    @property
    def key(self) -> str:
        """Of the head's training and this one's settings."""
        return key_of([self.job_key, asdict(self.tuned.training), self.tuned.tuning.identity()])

    @property
    def folder(self) -> Path:
        """Where it is made."""
        return self.making.folder / "tuned" / f"{self.head}-{self.key}" / self.run.name

    def make(self, *, device: str) -> None:
        """Train, or go on.

        Raises:
            AvrError: as `finetune_end_to_end`.
        """
        finetune_end_to_end(
            self.run,
            split=self.split,
            weights=tuple(f"{stream}={file}" for stream, file in self.weights.items()),
            training=self.tuned.training,
            tuning=self.tuned.tuning,
            seed=self.seed,
            out=self.folder,
            cache=self.making.cache,
            device=device,
        )


def stores_of(
    recipe: Recipe,
    making: Making,
    split: str,
    *,
    layers: Mapping[str, str],
    paper: bool,
    starts: Mapping[str, Mapping[str, BackboneStage]],
) -> dict[str, StoreStage]:
    """The store of each section in one split.

    Args:
        layers: those to extract instead, "" for all streams.
        starts: section -> stream -> the network that its own is fine-tuned from.

    Raises:
        UsageError: changes that make two sections one, or that make no sense.
    """
    specs = {name: spec.changed(making.extract) for name, spec in recipe.stores.items()}
    _check_apart(recipe, specs)
    stages = {}
    for name, spec in specs.items():
        tuned = tuned_backbone(spec, making, paper=paper)
        streams = spec.read()
        before = starts.get(name, {})
        backbones = {s: BackboneStage(making, split, s, own, tuned, before.get(s)) for s, own in streams.items()}
        chosen = {s: layers.get(s) or layers.get("") for s in streams}
        read = {s: (one,) if (one := chosen[s]) else spec.layers_of(s) for s in streams}
        stages[name] = StoreStage(
            making, spec, split if making.finetune else "", backbones if making.finetune else {}, read
        )
    return stages


def _check_apart(recipe: Recipe, specs: Mapping[str, StoreSpec]) -> None:
    """Refuse changes that make sections of a table one: rows of other names would be of one network."""
    seen: dict[str, str] = {}
    for name, spec in specs.items():
        slug = store_slug(spec)
        if slug in seen:
            raise UsageError(
                f"the stores {seen[slug]} and {name} of {recipe.name} would be one: change each its own, "
                f"--extract SETTING@{name}=VALUE"
            )
        seen[slug] = name


def told(settings: Settings) -> dict[str, Any]:
    """A stream's settings with what a weights file holds in the place of its name."""
    file = Path(settings.weights)
    return settings.to_dict() | {"weights": sha256_of(file) if file.is_file() else settings.weights}


def is_trained(folder: Path) -> bool:
    """Whether a training is finished; of one whose record is damaged, who trains tells."""
    try:
        return is_run(folder) and read_record(folder).finished
    except WorkError:
        return False
