"""The networks that a store's features were made with, found again for new videos; other weights are refused."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from avr.core import UsageError, sha256_of

from .backbones import Networks, load_networks
from .settings import Settings
from .weights import weights_enum


def find_weights(
    settings: Settings,
    known: Mapping[str, str | Path],
    *,
    given: Iterable[str] = (),
    folders: Iterable[Path] = (),
) -> dict[str, Path]:
    """The weights file of each stream that has one.

    Args:
        settings: kept with the features; a file stands there by name and SHA-256.
        known: stream -> where the file was, such as the store's provenance has it.
        given: the user's word for it: "rgb=FILE", or "FILE" for every stream.
        folders: where files of that name are looked for.

    Raises:
        UsageError: a file is gone, or is another one than the features were made with.
    """
    found: dict[str, Path] = {}
    hashes = dict(entry.split("=", 1) for entry in settings.weights_sha256)
    own = {}
    for entry in given:
        stream, separator, file = entry.partition("=")
        own[stream if separator else ""] = file if separator else entry
    folders = list(folders)
    for stream in settings.streams:
        name = settings.weights_of(stream)
        if not is_file_name(settings.backbone, name):
            continue
        named = own.get(stream, own.get(""))
        places = [Path(named)] if named else [Path(known.get(stream, name)), *(folder / name for folder in folders)]
        there = [place for place in places if place.is_file()]
        if not there:
            raise UsageError(
                f"the weights of stream {stream} are gone ({places[0]}): name them, --weights {stream}=FILE"
            )
        right = [place for place in there if not hashes.get(stream) or sha256_of(place) == hashes[stream]]
        if not right:
            raise UsageError(
                f"{there[0]} is not the weights file of stream {stream} that the features were made with (its SHA-256 "
                f"is {sha256_of(there[0])[:12]}…, theirs {hashes[stream][:12]}…): name the right one, --weights "
                f"{stream}=FILE"
            )
        found[stream] = right[0]
    return found


def refuse_unused(given: Iterable[str], several: Iterable[Settings]) -> None:
    """Refuse weights files that nothing would read: of a stream that is not there, or whose weights are no file.

    Args:
        given: the user's word, "rgb=FILE", or "FILE" for every stream.
        several: the settings of all the runs that it is for.

    Raises:
        UsageError: naming the entry.
    """
    sources: dict[str, list[tuple[str, bool]]] = {}
    for settings in several:
        for stream in settings.streams:
            name = settings.weights_of(stream)
            sources.setdefault(stream, []).append((name, is_file_name(settings.backbone, name)))
    for entry in given:
        stream, separator, _ = entry.partition("=")
        if separator and stream not in sources:
            raise UsageError(
                f"--weights {entry}: there is no stream '{stream}' to read them; known: {', '.join(sources)}"
            )
        read = sources[stream] if separator else [source for found in sources.values() for source in found]
        if not any(file for _, file in read):
            names = ", ".join(sorted({name for name, _ in read}))
            raise UsageError(f"--weights {entry}: the run's own weights are no file ({names}): leave the option out")


def is_file_name(backbone: str, name: str) -> bool:
    """Whether weights kept by this name came from a file, and not from torchvision or a seed."""
    return name != "random" and name not in ("DEFAULT", *weights_enum(backbone).__members__)


def narrow(settings: Settings, layers: Mapping[str, str]) -> Settings:
    """The settings of some streams, one layer each, of what a store holds: stream -> layer."""
    streams = tuple(stream for stream in settings.streams if stream in layers)
    return settings.change(
        streams=streams,
        layers=tuple(f"{stream}={layers[stream]}" for stream in streams),
        weights=tuple(f"{stream}={settings.weights_of(stream)}" for stream in streams),
        weights_sha256=tuple(entry for entry in settings.weights_sha256 if entry.split("=", 1)[0] in streams),
    )


def restore_networks(settings: Settings, files: Mapping[str, Path]) -> Networks:
    """Build the networks of kept settings again.

    Args:
        settings: filled in, as a store keeps them.
        files: of `find_weights`.

    Raises:
        UsageError: what is built differs from what the settings say (weights of another SHA-256); says in what.
        WorkError: weights that cannot be had or do not fit.
    """
    sources = tuple(f"{stream}={files.get(stream, settings.weights_of(stream))}" for stream in settings.streams)
    networks = load_networks(settings.change(weights=sources, weights_sha256=()))
    built, kept = networks.settings.to_dict(), settings.to_dict()
    # A file may have been renamed: its SHA-256 tells.
    differing = [name for name in kept if name != "weights" and built[name] != kept[name]]
    if differing:
        shown = ", ".join(f"{name} {kept[name]}, now {built[name]}" for name in differing)
        raise UsageError(f"what would be extracted differs from what the heads were trained on: {shown}")
    return Networks(settings, networks.readers, networks.files)
