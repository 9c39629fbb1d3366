"""The way back: from a run or a store to the settings, weights files, networks and videos that made its features."""

import contextlib
import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avr.core import AvrError, UsageError, WorkError, item_names, note, sha256_of, warn
from avr.datasets import Dataset, RawFrames, Split, Video, index_dataset
from avr.store import FeatureStore

from .backbones import open_backbone
from .networks import Networks, load_networks
from .settings import Settings
from .weights import is_named


@dataclass(frozen=True)
class Origin:
    """What a head's features were made with and of, as its checkpoint tells.

    Attributes:
        settings: of the head's streams, one layer each.
        dataset: the data set's name.
        stores: folders of the stores that were read; none for a head trained end to end without one.
        videos: of such a head: the store that its videos were taken from.
        folder: of the checkpoint; weights files that moved are looked for there and in the run's folder.
        digests: of each stream the identity of its features; none of a run of before.
    """

    settings: dict[str, Settings]
    dataset: str
    stores: tuple[Path, ...]
    videos: Path | None
    folder: Path
    digests: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, metadata: Mapping[str, Any], folder: Path) -> "Origin":
        """The origin in the metadata of a checkpoint, which lies in a folder: of `avr.heads.load_run`.

        Raises:
            UsageError: features that avr did not make, or settings that it does not know.
        """
        about, layers = metadata["store"], metadata["layers"]
        kept = about.get("streams") or dict.fromkeys(layers, about.get("settings", {}))
        settings = {
            stream: Settings.from_dict(kept[stream], stream).change(layers=(layer,), runtime="torch")
            for stream, layer in layers.items()
        }
        stores = tuple(map(Path, about.get("paths") or [about["path"]] * bool(about.get("path"))))
        videos = Path(about["videos"]) if about.get("videos") else None
        return cls(settings, str(about["dataset"]), stores, videos, folder, dict(about.get("digests", {})))

    def open_store(self, given: Sequence[Path] = ()) -> FeatureStore:
        """The features that the head was trained on: its stores, or others that the user names, which may differ.

        Raises:
            UsageError: no store there, or one that holds other features by now.
        """
        store = FeatureStore(given or self.stores, streams=list(self.settings))
        for stream, digest in self.digests.items():
            if store.digests[stream] != digest:
                where = f"{' and '.join(map(str, given or self.stores))}: its {stream} features"
                told = f"{where} (digest {store.digests[stream][:8]}…) are not those of the run ({digest[:8]}…)"
                if given:
                    warn(told)
                    continue
                store.close()
                raise UsageError(f"{told}: it was made again since; train again, or name a store with --store")
        return store

    def restore_networks(self, given: Iterable[str] = ()) -> Networks:
        """The networks again, on the CPU; `given` says where weights files lie now, "rgb=FILE", or "FILE" for all.

        Raises:
            UsageError: weights that are gone, or others than the features were made with; says in what they differ.
            WorkError: weights that cannot be had or do not fit.
        """
        files = _find_files(self.settings, self._known_files(), given, [self.folder, self.folder.parent, Path()])
        asked = {name: _with_file(settings, files.get(name)) for name, settings in self.settings.items()}
        networks = load_networks(asked)
        for name, settings in self.settings.items():
            built, kept = networks.settings[name].to_dict(), settings.to_dict()
            # A file or folder may have been renamed: its SHA-256 tells. What computed flow is the device's.
            renamed = ("weights", "flow_backend", *(["backbone"] if open_backbone(settings.backbone).local else []))
            differing = [one for one in kept if one not in renamed and built[one] != kept[one]]
            if differing:
                shown = ", ".join(f"{one} {kept[one]}, now {built[one]}" for one in differing)
                raise UsageError(
                    f"what would be extracted of {name} differs from what the heads were trained on: {shown}"
                )
        return Networks(self.settings, networks.readers, networks.files)

    def _known_files(self) -> dict[str, str]:
        """Where each stream's weights file was when its features were made."""
        # A store that is gone tells nothing; the files may lie in the folders.
        with contextlib.suppress(AvrError), FeatureStore(self.stores, streams=list(self.settings)) as store:
            return weights_files(store)
        return {}

    def restore_dataset(self, root: Path | None = None) -> Dataset:
        """The videos, with the labels, groups and splits that the store keeps.

        Without its store, a data set that avr knows is indexed anew, with the options' defaults.

        Args:
            root: the folder of the videos; None takes the places that the store remembers.

        Raises:
            UsageError: there is no store, and the data set's name tells nothing.
            WorkError: videos are not there.
        """
        for paths in (self.stores, (self.videos,) if self.videos else ()):
            if not paths:
                continue
            try:
                store = self.open_store() if paths == self.stores else FeatureStore(paths)
            except AvrError as error:
                note(f"the run's store cannot be read ({error}); its videos are looked for elsewhere")
                continue
            with store:
                return _dataset_of(store, root)
        if self.dataset not in item_names("avr.datasets"):
            raise UsageError(f"only the run's store knows the videos and splits of {self.dataset}, and it is gone")
        return index_dataset(self.dataset, root)


def weights_files(store: FeatureStore) -> dict[str, str]:
    """Stream -> where its network's weights file, or folder, was when the features were made; none of other streams."""
    known: dict[str, str] = {}
    for name in store.streams:
        made = store.provenance.get("streams", {}).get(name, store.provenance)
        for own, file in made.get("weights_files", {}).items():
            if f"-{name}".endswith(f"-{own}"):  # a store's name may stand before it
                known[name] = file
    return known


def _dataset_of(store: FeatureStore, root: Path | None) -> Dataset:
    paths = [_path_of(store, place, root) for place in range(len(store.ids))]
    gone = [path for path in paths if not path.exists()]
    if gone:
        raise WorkError(f"{len(gone)} videos are not where they were, first {gone[0]}: give their folder, --root")
    videos = tuple(_video_of(store, place, path) for place, path in enumerate(paths))
    splits = {}
    for name in store.split_names:
        train, test = store.split(name)
        splits[name] = Split(name, tuple(map(str, store.ids[train])), tuple(map(str, store.ids[test])))
    return Dataset(store.dataset, root or Path(), store.class_names, videos, splits)


def restore_video(store: FeatureStore, place: int, root: Path | None = None) -> Video:
    """One video of a store as it lies on disk: a file, a part of one, or a folder of raw frames.

    Args:
        store: opened.
        place: the video's position in it.
        root: the folder of the videos; None takes the place that the store remembers.

    Raises:
        UsageError: it is not where it should be.
    """
    path = _path_of(store, place, root)
    if not path.exists():
        raise UsageError(f"the video is not at {path}: name the folder of the videos with --root")
    return _video_of(store, place, path)


def _path_of(store: FeatureStore, place: int, root: Path | None) -> Path:
    """Where a video should be: under a root, by as much of its path as is there, or by its id with another suffix."""
    path, name = Path(store.paths[place]), str(store.ids[place])
    if root is None:
        return path
    parts = path.relative_to(path.anchor).parts
    exact = [root / name, *(root.joinpath(*parts[first:]) for first in range(len(parts) - 1))]
    found = next((one for one in exact if one.exists()), None)
    return found or min(root.glob(f"{glob.escape(name)}.*"), default=root / path.name)


def _video_of(store: FeatureStore, place: int, path: Path) -> Video:
    """What a store keeps of a video that lies at a path, with its stretch of the file or of the raw frames."""
    start, end = (float(store.facts[name][place]) for name in ("start", "end"))
    about = str(store.ids[place]), path, int(store.labels[place]), str(store.groups[place])
    if path.is_file():
        return Video(*about, start or None, end or None)
    numbers = (int(start),) if start else (0, 1)  # of the first frame; a store of before it was kept has 0
    images = (RawFrames.image, RawFrames.flow_x)  # there may be flow alone
    there = (number for number in numbers if any((path / image.format(number)).exists() for image in images))
    first = next(there, None)
    if first is None:
        image = RawFrames.image.format(numbers[-1])
        raise UsageError(f"{path} is a folder without {image}, and the store does not keep how its frames are named")
    return Video(*about, frames=RawFrames(count=int(store.frames[place]), first=first))


def _with_file(settings: Settings, file: Path | None) -> Settings:
    """Settings that name a weights file, or a network's own folder, by its path."""
    if file is None:
        return settings
    if file.is_dir():
        source = settings.backbone.partition(":")[0]
        return settings.change(backbone=f"{source}:{file}")
    return settings.change(weights=str(file))


def _find_files(
    streams: Mapping[str, Settings], known: Mapping[str, str], given: Iterable[str], folders: list[Path]
) -> dict[str, Path]:
    """The weights file, or folder, of each stream that has one; a file stands in the settings by name and SHA-256."""
    found: dict[str, Path] = {}
    own = dict((entry if "=" in entry else f"={entry}").split("=", 1) for entry in given)
    for stream, settings in streams.items():
        if not has_file(settings):
            continue
        local = open_backbone(settings.backbone).local
        name, wanted = settings.backbone.partition(":")[2] if local else settings.weights, settings.weights_sha256
        named = own.get(stream, own.get(""))
        places = [Path(named)] if named else [Path(known.get(stream, name)), *(folder / name for folder in folders)]
        there = [place for place in places if place.exists()]
        right = [place for place in there if place.is_dir() or wanted in ("", sha256_of(place))]
        if right:
            found[stream] = right[0]
        elif there:
            raise UsageError(
                f"{there[0]} is not the weights file of stream {stream} that the features were made with (its SHA-256 "
                f"is {sha256_of(there[0])[:12]}…, theirs {wanted[:12]}…): name the right one, --weights {stream}=FILE"
            )
        else:
            raise UsageError(
                f"the weights of stream {stream} are gone ({places[0]}): name them, --weights {stream}=FILE"
            )
    return found


def has_file(settings: Settings) -> bool:
    """Whether a stream's network or weights are the user's own folder or file, not named of their source, or random."""
    return open_backbone(settings.backbone).local or not is_named(settings.backbone, settings.weights)


def refuse_unused(given: Iterable[str], several: Iterable[Mapping[str, Settings]]) -> None:
    """Refuse weights files that no run of these settings reads: of a stream that is not there, or that has no file.

    Raises:
        UsageError: naming the entry.
    """
    sources: dict[str, dict[str, bool]] = {}  # each stream's weights, and whether they are a file
    for streams in several:
        for stream, settings in streams.items():
            sources.setdefault(stream, {})[settings.weights] = has_file(settings)
    for entry in given:
        stream, separator, _ = entry.partition("=")
        if separator and stream not in sources:
            raise UsageError(
                f"--weights {entry}: there is no stream '{stream}' to read them; known: {', '.join(sources)}"
            )
        read = sources[stream] if separator else dict(item for own in sources.values() for item in own.items())
        if not any(read.values()):
            names = ", ".join(sorted(read))
            raise UsageError(f"--weights {entry}: the run's own weights are no file ({names}): leave the option out")
