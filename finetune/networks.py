"""The networks that are fine-tuned: a backbone with a classifier of its own, or backbones with a head on top."""

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from avr.core import UsageError, quiet
from avr.extract.backbones import build_backbone
from avr.extract.weights import fit_state, load_weights
from avr.heads import Head

from .batchnorm import Mode, set_mode
from .draws import DropoutKeys, KeyedDropout, KeyedHeadDropout, key_dropout

HEAD_LAYERS = 1000  # dropout layers of a head are numbered from here, a backbone's from 0


class SegmentNetwork(nn.Module):
    """TSN's segmental consensus: the class scores of a video's N frames or stacks are averaged before the softmax.

    With one segment it is the plain two-stream ConvNet.
    """

    def __init__(self, model: nn.Module, stream: str, num_segments: int) -> None:
        super().__init__()
        self.model, self.stream, self.num_segments = model, stream, num_segments
        # What runs: the model, or what torch.compile made of it. In a dict, so that it is not registered (and saved) as
        # a second network beside the first.
        self.run: dict[str, Any] = {stream: model}

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits `(B, K)` under the stream's name, of inputs `(B·N, C, H, W)`."""
        images = inputs[self.stream].contiguous(memory_format=torch.channels_last)
        logits = self.run[self.stream](images).float()  # (B·N, K)
        return {self.stream: logits.unflatten(0, (-1, self.num_segments)).mean(1)}  # (B, K)


class EndToEnd(nn.Module):
    """Backbones, one a stream, and a head that reads their layers.

    Args:
        readers: stream -> `LayerReader`: images to layers by name.
        head: stream -> features to class scores.
        layers: stream -> the layer that the head reads.
        num_steps: N, frames of a view.
    """

    def __init__(
        self, readers: Mapping[str, nn.Module], head: Head, layers: Mapping[str, str], *, num_steps: int
    ) -> None:
        super().__init__()
        self.readers, self.head = nn.ModuleDict(readers), head
        self.layers, self.num_steps = dict(layers), num_steps
        self.run: dict[str, Any] = dict(readers)
        self.keys: DropoutKeys | None = None
        self.recompute = False

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The head's outputs `(B, K)` by name, of inputs `(B·N, C, H, W)` by stream."""
        features = {stream: self.features(stream, inputs[stream]) for stream in self.layers}
        if self.keys is None or not self.training:
            outputs: dict[str, Tensor] = self.head(features)
            return outputs
        with KeyedHeadDropout(self.keys, HEAD_LAYERS):
            outputs = self.head(features)
        return outputs

    def features(self, stream: str, images: Tensor) -> Tensor:
        """The layer that the head reads of a stream, `(B, N, …)` float32, of its images `(B·N, C, H, W)`."""
        images = images.contiguous(memory_format=torch.channels_last)
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            found = self.run[stream](images)[self.layers[stream]]
        else:
            found = self._video_by_video(stream, images)
        return found.float().unflatten(0, (-1, self.num_steps))  # (B, N, …)

    def _video_by_video(self, stream: str, images: Tensor) -> Tensor:
        """Activations are held for one video at a time and made again in the backward pass."""
        assert self.keys is not None
        step, videos, parts = self.keys.step, self.keys.videos, []
        for video, part in zip(videos, torch.split(images, self.num_steps), strict=True):
            layer = partial(self._layer, stream, step=step, video=video)
            parts.append(checkpoint(layer, part, use_reentrant=False))
        self.keys.set(step, videos)
        return torch.cat(parts)

    def _layer(self, stream: str, images: Tensor, *, step: int, video: int) -> Tensor:
        assert self.keys is not None
        self.keys.set(step, [video])
        found: Tensor = self.run[stream](images)[self.layers[stream]]
        return found


def classifier_of(model: nn.Module) -> nn.Module:
    """The last layer, which gives the class scores: linear, or SqueezeNet's convolution."""
    layers = [module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    return layers[-1]


def build_classifier(name: str, num_classes: int, *, weights: str, in_channels: int, seed: int) -> nn.Module:
    """A torchvision network with a classifier of its own, its trunk as extraction would have it.

    The trunk comes from `weights` (an RGB file's first convolution is widened for flow: the cross-modality start) or,
    for "random", from the seed: the very trunk that `avr extract --weights random` takes. The classifier is new, drawn
    by the seed, even where the weights bring one of as many classes.

    Departure from torchvision: SqueezeNet's ReLU behind its class scores is taken out, so that they can be negative.
    """
    own = {"weights": weights, "in_channels": in_channels, "seed": seed}
    model = build_backbone(name, num_classes=num_classes, **own)  # type: ignore[arg-type]
    if weights == "random":
        # A classifier of another size shifts the draws of what is built after it.
        with quiet():
            trunk = build_backbone(name, **own)  # type: ignore[arg-type]
            fit_state(model, trunk.state_dict(), name=name, source="random")
    elif _brings_classifier(model, name, weights, num_classes):
        redraw(classifier_of(model), seed)
    if name.startswith("squeezenet"):
        model.classifier[2] = nn.Identity()  # type: ignore[assignment, index, operator]
    return model


def _brings_classifier(model: nn.Module, name: str, weights: str, num_classes: int) -> bool:
    """Whether weights hold a classifier of so many classes, which `build_backbone` then has taken."""
    classifier = classifier_of(model)
    path = next(path for path, module in model.named_modules() if module is classifier)
    state, _ = load_weights(name, weights)
    return f"{path}.weight" in state and len(state[f"{path}.weight"]) == num_classes


def redraw(layer: nn.Module, seed: int) -> None:
    """Draw a classifier anew, as torch does by default, from a seed of its own: the trunk keeps the backbone's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer.reset_parameters()  # type: ignore[operator]


def set_dropout(model: nn.Module, keys: DropoutKeys, p: float | None) -> None:
    """Give a classifier its dropout: all dropout layers get probability `p`; a network without any gets one before its
    classifier. None keeps the network's own."""
    if p is not None and not 0 <= p < 1:
        raise UsageError(f"dropout must be at least 0 and below 1, not {p}")
    if key_dropout(model, keys, p=p) or not p:
        return
    layer, dropout = classifier_of(model), KeyedDropout(p, keys, 0)

    def drop(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (dropout.train(module.training)(inputs[0]), *inputs[1:])

    layer.register_forward_pre_hook(drop)  # a hook: the names of the parameters stay torchvision's


def begin_end_to_end(network: EndToEnd, mode: Mode) -> None:
    """Put all in training mode; `mode` is for the backbones' batch norm, and the head's, which is local for partial.

    Frozen holds for the head too: the small batches of an end-to-end training make statistics worse than those it has.
    """
    network.train()
    set_mode(network.head, "local" if mode == "partial" else mode)
    for reader in network.readers.values():
        set_mode(reader, mode)


def freeze_unused(network: EndToEnd) -> None:
    """Take the parameters of the head that no output depends on out of training: processes wait for every gradient."""
    head = copy.deepcopy(network.head).eval().cpu()
    with torch.random.fork_rng(devices=[]):
        features = {stream: torch.randn(2, *shape) for stream, shape in head.shapes.items()}
        torch.autograd.backward(head.loss(head(features), torch.zeros(2, dtype=torch.int64)))
    used = {name for name, parameter in head.named_parameters() if parameter.grad is not None}
    for name, parameter in network.head.named_parameters():
        parameter.requires_grad_(name in used)
