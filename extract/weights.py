"""Weights of a backbone: where they come from, what they are, and putting them into a network.

Files are data: safetensors, or torch files read with `weights_only=True`, which runs no code from them.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from avr.core import UsageError, WorkError, message_of, note, sha256_of

from .backbones import Backbone, open_backbone

HELP = "give a file with --weights FILE, or start at random with --weights random"
DEPTH = 3  # how deep in a file its tensors may lie
# Values beside tensors that are read as nothing at all: their classes are never imported.
IGNORED = ("numpy.", "argparse.", "pathlib.", "datetime.")


def is_named(backbone: str | Backbone, weights: str) -> bool:
    """Whether weights are "random" or bear a name of the model's own, and so come from no file of the user's."""
    return weights in ("random", *open_backbone(backbone).weights())


def is_file(backbone: str | Backbone, weights: str) -> bool:
    """Whether `weights` is a file rather than a name.

    Raises:
        UsageError: it is neither; says what there is.
    """
    if is_named(backbone, weights) or Path(weights).is_file():
        return not is_named(backbone, weights)
    opened = open_backbone(backbone)
    known = ", ".join([*opened.weights(), "random"])
    if "." in weights or "/" in weights or "\\" in weights:
        raise UsageError(f"{weights}: no such weights file; {opened.name} knows: {known}")
    raise UsageError(f"{opened.name} has no weights '{weights}'; known: {known}, or a file")


def load_weights(backbone: str | Backbone, weights: str) -> tuple[Mapping[str, Any], str]:
    """What a weights file holds, or the tensors of named weights, and the file's SHA-256; none and "" for "random".

    Raises:
        UsageError: unknown weights, or no such file.
        WorkError: they cannot be downloaded or read.
    """
    opened = open_backbone(backbone)
    if is_file(opened, weights):
        return read_weights(Path(weights)), sha256_of(Path(weights))
    return ({}, "") if weights == "random" else opened.load(weights)


def download(member: Any, name: str, *, instead: str = HELP) -> tuple[dict[str, Tensor], str]:
    """Tensors of a member of one of torchvision's weights enums, downloaded once, and the SHA-256 of their file.

    Raises:
        WorkError: they cannot be had; `instead` is what to do.
    """
    try:
        state = member.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # whatever the network, the hub's folder or a broken download may raise
        raise WorkError(f"weights {name} cannot be downloaded ({message_of(error)}); {instead}") from error
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(member.url).name
    return dict(state), sha256_of(file) if file.exists() else ""


class _Ignored:
    """Stands for a value that is no tensor; takes whatever the file would make it of."""

    def __new__(cls, *values: Any) -> "_Ignored":
        return super().__new__(cls)

    def __init__(self, *values: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


def read_weights(path: Path) -> Mapping[str, Any]:
    """What a safetensors file, or a torch file of tensors and plain values, holds; `find_state` finds the tensors.

    Raises:
        WorkError: the file cannot be read, holds code, or no tensors by name.
    """
    ignored: set[str] = set()
    while True:
        try:
            contents = _read(path, ignored)
            break
        except Exception as error:
            asked = re.search(r"GLOBAL (\S+)", str(error))
            if asked and asked[1].startswith(IGNORED) and asked[1] not in ignored:
                ignored.add(asked[1])
                continue
            reason = message_of(error)
            if "weights_only" in str(error):
                reason = "it holds code, not only tensors" + (f": it asks for {asked[1]}" if asked else "")
            raise WorkError(f"{path}: no weights that can be read ({reason})") from error
    if not isinstance(contents, Mapping):
        raise WorkError(f"{path}: holds no state dict")
    if not any(_mappings(contents)):
        raise WorkError(f"{path}: holds no tensors")
    return contents


def _read(path: Path, ignored: set[str]) -> Any:
    with open(path, "rb") as file:
        head = file.read(9)
    if head[8:9] == b"{":  # safetensors: eight bytes of length, then JSON
        from safetensors.torch import load_file

        return load_file(path)
    with torch.serialization.safe_globals([(_Ignored, name) for name in sorted(ignored)]):
        return torch.load(path, map_location="cpu", weights_only=True)


def trained_on(path: Path) -> tuple[str, str]:
    """The data set and the split that a weights file of `avr finetune` was trained on; "" where it does not say."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["avr"])
        return str(about.get("dataset", "")), str(about.get("split", ""))
    except (OSError, SafetensorError, KeyError, ValueError, AttributeError):
        return "", ""


def first_convolution(model: nn.Module, name: str = "the model") -> tuple[str, nn.Conv2d]:
    """Name and module of the convolution that reads the image.

    Raises:
        UsageError: there is none, or it does not read RGB itself.
    """
    found = next((pair for pair in model.named_modules() if isinstance(pair[1], nn.Conv2d)), None)
    if found is None or found[1].in_channels != 3:
        raise UsageError(
            f"{name} has no convolution to widen for flow; choose another backbone, or streams of frames alone"
        )
    return found


def widen(weight: Tensor, in_channels: int) -> Tensor:
    """An RGB convolution's weight for another number of input channels: the mean over RGB, repeated (TSN's start).

    `(out, 3, k, k)` to `(out, in_channels, k, k)`. The mean is not rescaled, as in TSN's cross-modality start.
    """
    return weight.mean(1, keepdim=True).repeat(1, in_channels, 1, 1)


class State(NamedTuple):
    """What fits a network best of all that a weights file holds.

    Attributes:
        tensors: under the network's names, those of other shapes among them.
        fitting: names of those whose shape is the network's.
        prefix: what was taken off the file's names.
        taken: where in the file they lie, with the prefix.
        others: where as many lie.
        extra: names in the file that do not begin with the prefix.
        translated: whether the backbone's library changed the layout.
    """

    tensors: dict[str, Tensor]
    fitting: set[str]
    prefix: str = ""
    taken: str = ""
    others: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    translated: bool = False


def find_state(model: nn.Module, contents: Mapping[str, Any], backbone: Backbone | None = None) -> State:
    """The tensors of a network among all that a weights file holds.

    Among all mappings in the file, to a depth of three, it is the one with most tensors that have a name and the shape
    of the network's, under whatever prefix that ends in a dot. An RGB file's first convolution is widened (`widen`)
    where the network's has other channels. Where the trunk is not whole, the backbone's library may know the layout.
    """
    found = _nearest(model, contents)
    if backbone is not None and _missing(model, found, backbone):
        largest = max((tensors for _, tensors in _mappings(contents)), key=len, default={})
        other = _nearest(model, backbone.translated(largest))
        if len(other.fitting) > len(found.fitting):
            return other._replace(translated=True)
    return found


def _nearest(model: nn.Module, contents: Mapping[str, Any]) -> State:
    own = model.state_dict()
    first = next((f"{path}.weight" for path, module in model.named_modules() if isinstance(module, nn.Conv2d)), "")
    parts = max((name.count(".") for name in own), default=0)
    best: list[tuple[int, str, str, dict[str, Tensor]]] = []
    for where, tensors in _mappings(contents):
        counts: Counter[str] = Counter()
        for key, value in tensors.items():
            pieces = key.rsplit(".", parts + 1)
            for start in range(len(pieces)):
                name = ".".join(pieces[start:])
                if name in own and value.shape == own[name].shape:
                    counts[key.removesuffix(name)] += 1
        best += [(count, where, prefix, tensors) for prefix, count in counts.items()]
    most = max((count for count, *_ in best), default=0)
    taken, *others = [one for one in best if one[0] == most] or [(0, "", "", {})]
    _, where, prefix, found = taken
    tensors = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    if first in tensors and tensors[first].ndim == 4 and tensors[first].shape[1] == 3 != own[first].shape[1]:
        tensors[first] = widen(tensors[first].float(), own[first].shape[1])
    fitting = {name for name, value in tensors.items() if name in own and value.shape == own[name].shape}
    extra = tuple(key for key in found if not key.startswith(prefix))
    return State(tensors, fitting, prefix, where + prefix, tuple(one[1] + one[2] for one in others), extra)


def _mappings(
    contents: Mapping[Any, Any], where: str = "", depth: int = DEPTH
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Where each mapping lies, "state_dict.", and its tensors by name."""
    tensors = {str(key): value for key, value in contents.items() if isinstance(value, Tensor)}
    if tensors:
        yield where, tensors
    for key, value in contents.items() if depth else ():
        if isinstance(value, Mapping):
            yield from _mappings(value, f"{where}{key}.", depth - 1)


def _missing(model: nn.Module, found: State, backbone: Backbone) -> list[str]:
    """Names of the trunk's tensors that were not found."""
    return [name for name in _left(model, found) if not _within(name, backbone.classifiers)]


def _left(model: nn.Module, found: State) -> list[str]:
    names = model.state_dict()
    return [name for name in names if name not in found.fitting and not name.endswith("num_batches_tracked")]


def _within(name: str, modules: Sequence[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def fit_state(
    model: nn.Module, contents: Mapping[str, Any], backbone: Backbone, *, source: str, say: bool = True
) -> list[str]:
    """Load what fits into a network (`find_state`); classifiers may be left out, the trunk may not.

    `say`: a note of classifiers that are left out; what else a file holds is always said.

    Returns:
        Names of the network's tensors that were left as they were, all of classifiers.

    Raises:
        WorkError: the file is of another network, or a tensor holds a NaN; says which.
    """
    found = find_state(model, contents, backbone)
    own, left = model.state_dict(), _left(model, found)
    if missing := _missing(model, found, backbone):
        name = missing[0]
        shapes = (
            f" (shape {tuple(found.tensors[name].shape)} for {tuple(own[name].shape)})" if name in found.tensors else ""
        )
        near = f"nearest is '{found.taken}', " if found.taken else ""
        raise WorkError(
            f"{source}: no weights of {backbone.name}; {near}{len(found.fitting)} of {len(own)} tensors fit, first "
            f"missing {name}{shapes}"
        )
    for name in sorted(found.fitting):
        if found.tensors[name].isnan().any():
            raise WorkError(f"{source}: {name} holds a NaN: these weights cannot be used; give another file")
    model.load_state_dict({name: found.tensors[name] for name in found.fitting}, strict=False)
    said = [f"its layout changed as {backbone.name.partition(':')[0]} does"] if found.translated else []
    said += [f"keys without '{found.prefix}'"] if found.prefix else []
    if found.others:
        said.append(f"'{found.taken}' is taken, '{found.others[0]}' would fit as well")
    if left and say:
        said.append(f"left out {', '.join(left)} (the classifier does not match; the trunk is taken)")
    extra = [*(name for name in found.tensors if name not in own), *found.extra]
    strange = extra if say else [name for name in extra if not _within(name, backbone.classifiers)]
    if strange:
        said.append(f"left out {len(strange)} that the network does not have, first {strange[0]}")
    if said:
        note(f"{source}: {'; '.join(said)}")
    return left
