"""Weights of a backbone: where they come from, what they are, and putting them into a network.

Files are data: safetensors, or torch files read with `weights_only=True`, which runs no code from them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from avr.core import UsageError, WorkError, note, sha256_of

from .backbones import source_of

HELP = "give a file with --weights FILE, or start at random with --weights random"
CLASSIFIERS = ("fc", "classifier", "head", "heads", "AuxLogits", "aux1", "aux2")


def is_named(backbone: str, weights: str) -> bool:
    """Whether weights are "random" or bear a name of the model's own, and so come from no file of the user's."""
    return weights in ("random", *source_of(backbone).weights(backbone))


def is_file(backbone: str, weights: str) -> bool:
    """Whether `weights` is a file rather than a name.

    Raises:
        UsageError: it is neither; says what there is.
    """
    if is_named(backbone, weights) or Path(weights).is_file():
        return not is_named(backbone, weights)
    known = ", ".join(source_of(backbone).weights(backbone))
    if "." in weights or "/" in weights or "\\" in weights:
        raise UsageError(f"{weights}: no such weights file; {backbone} knows: {known}, or random")
    raise UsageError(f"{backbone} has no weights '{weights}'; known: {known}, random, or a file")


def load_weights(backbone: str, weights: str) -> tuple[dict[str, Tensor], str]:
    """Tensors by name and the SHA-256 of their file; none and "" for "random".

    Raises:
        UsageError: unknown weights, or no such file.
        WorkError: they cannot be downloaded or read.
    """
    if is_file(backbone, weights):
        return read_state(Path(weights)), sha256_of(Path(weights))
    return ({}, "") if weights == "random" else source_of(backbone).load(backbone, weights)


def download(member: Any, name: str, *, instead: str = HELP) -> tuple[dict[str, Tensor], str]:
    """Tensors of a member of one of torchvision's weights enums, downloaded once, and the SHA-256 of their file.

    Raises:
        WorkError: they cannot be had; `instead` is what to do.
    """
    try:
        state = member.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # whatever the network, the hub's folder or a broken download may raise
        raise WorkError(f"weights {name} cannot be downloaded ({_one_line(error)}); {instead}") from error
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(member.url).name
    return dict(state), sha256_of(file) if file.exists() else ""


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict from a safetensors file or a torch file that holds tensors alone.

    Wrappers (`state_dict`, `model`) and the prefix `module.` of data-parallel training are taken off.

    Raises:
        WorkError: the file cannot be read, or holds no tensors.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(9)
        if head[8:9] == b"{":  # safetensors: eight bytes of length, then JSON
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = "it holds code, not only tensors" if "weights_only" in str(error) else _one_line(error)
        raise WorkError(f"{path}: no weights that can be read ({reason})") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping):
        raise WorkError(f"{path}: holds no state dict")
    tensors = {str(key).removeprefix("module."): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WorkError(f"{path}: holds no tensors")
    return tensors


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


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
        UsageError: there is none.
    """
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            return path, module
    raise UsageError(
        f"{name} has no convolution to widen for flow; choose another backbone, or streams of frames alone"
    )


def widen(weight: Tensor, in_channels: int) -> Tensor:
    """An RGB convolution's weight for another number of input channels: the mean over RGB, repeated (TSN's start).

    `(out, 3, k, k)` to `(out, in_channels, k, k)`. The mean is not rescaled, as in TSN's cross-modality start.
    """
    return weight.mean(1, keepdim=True).repeat(1, in_channels, 1, 1)


def fit_state(model: nn.Module, state: Mapping[str, Tensor], *, name: str, source: str, say: bool = True) -> list[str]:
    """Load what fits into a model; classifiers may be left out, the trunk may not.

    A file for RGB gives a flow network's first convolution by `widen`. `say`: a note of classifiers that are left out;
    what else a file holds is always said.

    Returns:
        Names of the model's tensors that were left as they were, all of classifiers.

    Raises:
        WorkError: the file is of another network; says which tensors.
    """
    own = model.state_dict()
    path, _ = first_convolution(model, name)
    state = dict(state)
    first = f"{path}.weight"
    if first in state and state[first].ndim == 4 and state[first].shape[1] == 3 != own[first].shape[1]:
        state[first] = widen(state[first].float(), own[first].shape[1])
    fits = {key: value for key, value in state.items() if key in own and value.shape == own[key].shape}
    left = [key for key in own if key not in fits and not key.endswith("num_batches_tracked")]
    trunk = [key for key in left if key.split(".")[0] not in CLASSIFIERS]
    if trunk:
        key = trunk[0]
        found = f"shape {tuple(state[key].shape)} for {tuple(own[key].shape)}" if key in state else "missing"
        raise WorkError(
            f"{source}: not weights of {name} with {own[first].shape[1]} input channels: {len(trunk)} of {len(own)} "
            f"tensors do not fit, first {key} ({found})"
        )
    model.load_state_dict(fits, strict=False)
    extra = [key for key in state if key not in fits and key not in own]
    told = left + extra if say else [key for key in extra if key.split(".")[0] not in CLASSIFIERS]
    if told:
        note(f"{source}: left out {', '.join(told)} (the classifier does not match; the trunk is taken)")
    return left
