"""What a run reads of a store, where it is not told: layers, splits; and what to do about a layer that is not there."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from avr.core import UsageError, check_known
from avr.store import FeatureStore

from ._base import Head

APPEARANCE = "rgb"  # the kind of stream that heads read first: what fuses others into it takes it for its main one


def choose_layers(
    store: FeatureStore, made: type[Head], *, streams: tuple[str, ...], layers: Mapping[str, str]
) -> dict[str, str]:
    """Stream -> layer to read: the streams asked for, or all, appearance first; the layers asked for, or the head's.

    Raises:
        UsageError: the store lacks one.
    """
    wanted = streams or tuple(sorted(store.streams, key=lambda stream: store.kind(stream) != APPEARANCE))
    for stream in wanted:
        check_known("stream", stream, store.streams)
    for stream in layers:
        if stream:
            check_known("stream that is read", stream, wanted)
    asked = {stream: layers.get(stream) or layers.get("") for stream in wanted}
    own = {stream: made.reads.get(store.kind(stream)) or made.reads.get("*") or "pooled" for stream in wanted}
    chosen = {stream: asked[stream] or own[stream] for stream in wanted}
    lacking = {stream: layer for stream, layer in chosen.items() if layer not in store.layers(stream)}
    if not lacking:
        return chosen
    stream, layer = next(iter(lacking.items()))
    held = store.layers(stream)
    fit = [other for other in held if len(store.array(stream, other).shape) == 4 or not made.needs_maps]
    rest = [other for other in wanted if other not in lacking]
    ways = [f"choose {' or '.join(fit)} with --layer {stream}=…"] if fit else []
    if len(rest) >= made.streams_min:
        ways.append(f"read --stream {','.join(rest)} alone")
    ways.append(_extraction(store, chosen, lacking, own=own, fits=bool(fit)))
    raise UsageError(f"the store has no {stream}/{layer}; of {stream} it holds {', '.join(held)}: {', or '.join(ways)}")


def _extraction(
    store: FeatureStore, chosen: Mapping[str, str], lacking: Mapping[str, str], *, own: Mapping[str, str], fits: bool
) -> str:
    """The command that extracts what streams lack as streams of their own, and what then is read.

    VGG's convolutions are layers of no other backbone: of another one the map is proposed in their place, or VGG-16
    where the store holds a layer that `fits` already. Features from outside are not extracted but imported.
    """
    settings = {stream: store.settings(stream) for stream in lacking}
    if any(kept.get("kind") == "imported" for kept in settings.values()):
        return "import it: avr store import-features"
    vgg = all("vgg" in str(kept.get("backbone", "vgg")) for kept in settings.values())
    foreign = not vgg and any(re.fullmatch(r"conv\d_\d", layer) for layer in lacking.values())
    change = "--backbone vgg16 " if foreign and fits else ""
    if foreign and not fits:
        lacking = dict.fromkeys(lacking, "map")
    names = {stream: f"{stream}-{layer}".replace(".", "_") for stream, layer in lacking.items()}
    made = " ".join(f"--stream {names[stream]}={store.kind(stream)}" for stream in lacking)
    alike = len(set(lacking.values())) == 1
    layers = dict.fromkeys(layer if alike else f"{names[stream]}={layer}" for stream, layer in lacking.items())
    first = store.places[0]
    grows = len(store.places) == 1 and first.is_dir()
    out = first if grows else Path("features") / f"{store.dataset}-{next(iter(lacking.values()))}"
    read_as = {names.get(stream, stream): lacking.get(stream, layer) for stream, layer in chosen.items()}
    usual = {names.get(stream, stream): layer for stream, layer in own.items()}
    then = "".join(f" --layer {stream}={layer}" for stream, layer in read_as.items() if layer != usual[stream])
    then += "" if grows else f" --store {shlex.quote(str(out))}"
    read = ",".join(names.get(stream, stream) for stream in chosen)
    return (
        f"extract it: avr extract … {change}{made} --layers {' --layers '.join(layers)} --out {shlex.quote(str(out))}, "
        f"and read --stream {read}{then}"
    )


def choose_splits(store: FeatureStore, split: str | tuple[str, ...]) -> tuple[str, ...]:
    """Names of the splits asked for: the first for "", every one for "all".

    Raises:
        UsageError: no such split, or none in the store.
    """
    if not store.split_names:
        raise UsageError("the store has no splits: extract it from a data set with training and test parts")
    if split == "all":
        return tuple(store.split_names)
    wanted = ((split,) if split else (store.split_names[0],)) if isinstance(split, str) else tuple(split)
    for name in wanted:
        if name not in store.split_names:
            raise UsageError(f"the store has no split '{name}'; it holds {', '.join(store.split_names)}, or say all")
    return wanted
