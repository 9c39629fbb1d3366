"""The networks that are fine-tuned: a backbone with a classifier of its own, or backbones with a head on top."""

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from avr.core import quiet
from avr.extract import build_backbone, channels_last, find_state, fit_state, load_weights, open_backbone
from avr.heads import Head

from .batchnorm import set_mode
from .draws import DropoutKeys, KeyedDropout, KeyedHeadDropout, key_dropout
from .tuning import Mode

HEAD_LAYERS = 1000  # dropout layers of a head are numbered from here, a backbone's from 0

Inputs = Mapping[str, Tensor]
Outputs = dict[str, Tensor]
Classifier = nn.Linear | nn.Conv2d | nn.Conv3d


class TunedNetwork(nn.Module):
    """What the loop trains: inputs by stream to class scores by output, and all that is its own of a training.

    Attributes:
        run: stream -> what runs for it: a backbone, or what torch.compile made of it. In a dict, so that it is not
            registered (and saved) as a second network beside the first.
        keys: what the dropout masks are keyed by.
        weights_prefix: start of the names, in the state, of the tensors that make one weights file under torchvision's
            names; None where there is no such file, as with several backbones.
    """

    weights_prefix: str | None = None

    def __init__(self, run: Mapping[str, Any], keys: DropoutKeys) -> None:
        super().__init__()
        self.run, self.keys = dict(run), keys

    @property
    def new(self) -> nn.Module:
        """The part on top, which trains at a rate of its own: the classifier, or the head."""
        raise NotImplementedError

    def loss(self, outputs: Outputs, labels: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar, of what `forward` gave and labels `(B,)`."""
        raise NotImplementedError

    def test(self, inputs: Inputs, *, num_steps: Mapping[str, int], bf16: Mapping[str, bool]) -> Outputs:
        """Scores of fixed views `(b·V·N, …, H, W)`, whose softmax is the probability, by output: as prediction has
        them. `num_steps` is N by stream; with `bf16` a stream's backbone is autocast to bfloat16.
        """
        raise NotImplementedError

    def begin(self, mode: Mode) -> None:
        """Put the network in training mode, with its batch norm as asked; called before each epoch."""
        set_mode(self, mode)

    def groups(self, new_factor: float) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters that train, with the factor on the learning rate."""
        new = [parameter for parameter in self.new.parameters() if parameter.requires_grad]
        known = {id(parameter) for parameter in new}
        others = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        return [(others, 1.0), (new, new_factor)]

    @staticmethod
    def prediction(outputs: Outputs) -> Tensor:
        """The output `(B, K)` that accuracy is told of."""
        return outputs.get("fused", next(iter(outputs.values())))


class SegmentNetwork(TunedNetwork):
    """TSN's segmental consensus: the class scores of a video's N frames or stacks are averaged before the softmax.

    With one segment it is the plain two-stream ConvNet.
    """

    weights_prefix = "model."

    def __init__(
        self, model: nn.Module, stream: str, num_segments: int, *, keys: DropoutKeys, label_smoothing: float = 0.0
    ) -> None:
        super().__init__({stream: model}, keys)
        self.model, self.stream, self.num_segments = model, stream, num_segments
        self.label_smoothing = label_smoothing

    @property
    def new(self) -> nn.Module:
        return classifier_of(self.model)

    def forward(self, inputs: Inputs, num_segments: int = 0) -> Outputs:
        """Logits `(B, K)` under the stream's name, of inputs `(B·N, C, H, W)`; N is the training's unless given."""
        images = channels_last(inputs[self.stream])
        logits = self.run[self.stream](images).float()  # (B·N, K)
        return {self.stream: logits.unflatten(0, (-1, num_segments or self.num_segments)).mean(1)}  # (B, K)

    def loss(self, outputs: Outputs, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs[self.stream], labels, label_smoothing=self.label_smoothing)

    def test(self, inputs: Inputs, *, num_steps: Mapping[str, int], bf16: Mapping[str, bool]) -> Outputs:
        with torch.autocast(inputs[self.stream].device.type, torch.bfloat16, enabled=bf16[self.stream]):
            return self(inputs, num_steps[self.stream])


class EndToEnd(TunedNetwork):
    """Backbones, one a stream, and a head that reads their layers.

    Args:
        readers: stream -> `LayerReader`, its dropout keyed already (`key_dropout`).
        layers: stream -> the layer that the head reads.
        num_steps: N, steps of a view, by stream.
        recompute: hold activations of one video at a time and make them again in the backward pass.
    """

    def __init__(
        self,
        readers: Mapping[str, nn.Module],
        head: Head,
        layers: Mapping[str, str],
        *,
        num_steps: Mapping[str, int],
        keys: DropoutKeys,
        label_smoothing: float = 0.0,
        recompute: bool = False,
    ) -> None:
        super().__init__(readers, keys)
        self.readers, self.head = nn.ModuleDict(readers), head
        self.layers, self.num_steps, self.recompute = dict(layers), dict(num_steps), recompute
        for part in head.modules():  # the loss is that of the parts, where there is one a stream
            if isinstance(part, Head):
                part.label_smoothing = label_smoothing

    @property
    def new(self) -> nn.Module:
        return self.head

    def forward(self, inputs: Inputs) -> Outputs:
        """The head's outputs `(B, K)` by name, of inputs `(B·N, C, H, W)` by stream."""
        features = {stream: self.features(stream, inputs[stream]) for stream in self.layers}
        with KeyedHeadDropout(self.keys, HEAD_LAYERS):
            outputs: Outputs = self.head(features)
        return outputs

    def features(self, stream: str, images: Tensor) -> Tensor:
        """The layer that the head reads of a stream, `(B, N, …)` float32, of its images `(B·N, C, H, W)`."""
        step, videos, num_steps = self.keys.step, self.keys.videos, self.num_steps[stream]

        def layer(part: Tensor, named: list[int]) -> Any:
            self.keys.set(step, named)
            return self.run[stream](part)[self.layers[stream]]

        images = channels_last(images)
        if self.recompute and self.training and torch.is_grad_enabled():
            pairs = zip(torch.split(images, num_steps), videos, strict=True)
            found: Any = torch.cat([checkpoint(layer, part, [video], use_reentrant=False) for part, video in pairs])
            self.keys.set(step, videos)
        else:
            found = layer(images, videos)
        features: Tensor = found.float().unflatten(0, (-1, num_steps))  # (B, N, …)
        return features

    def loss(self, outputs: Outputs, labels: Tensor) -> Tensor:
        return self.head.loss(outputs, labels)

    def test(self, inputs: Inputs, *, num_steps: Mapping[str, int], bf16: Mapping[str, bool]) -> Outputs:
        """Log-probabilities `(1, K)` of one video, the mean over its views.

        As from a store: only the backbones run in the extraction's precision, features are rounded to fp16, and the
        head reads them in float32. `avr predict` gives the same.
        """
        outputs: Outputs = self.head(self._stored(inputs, bf16))
        means = {name: torch.softmax(scores.double(), dim=1).mean(0, keepdim=True) for name, scores in outputs.items()}
        return {name: torch.log(mean.clamp_min(1e-300)) for name, mean in means.items()}

    def vectors(self, inputs: Inputs, *, bf16: Mapping[str, bool]) -> dict[str, Tensor]:
        """What the head makes of one video, `(D,)` by stream, the mean over its views; none of most heads."""
        kept = self.head.standardise(self.head.keep(self._stored(inputs, bf16)))
        return {stream: vectors.mean(0) for stream, vectors in self.head.vectors(kept).items()}

    def _stored(self, inputs: Inputs, bf16: Mapping[str, bool]) -> dict[str, Tensor]:
        """What a store of these images holds, by stream."""
        layers = {}
        for stream, images in inputs.items():
            with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16[stream]):
                layers[stream] = self.features(stream, images).half()
        return layers

    def begin(self, mode: Mode) -> None:
        """Training mode; `mode` is for the backbones' batch norm, and the head's, which is local for partial.

        Frozen holds for the head too: the small batches of an end-to-end training make statistics worse than those it
        has.
        """
        self.train()
        set_mode(self.head, "local" if mode == "partial" else mode)
        for reader in self.readers.values():
            set_mode(reader, mode)

    def freeze_unused(self) -> None:
        """Take the head's parameters that no output depends on out of training: processes wait for every gradient."""
        head = copy.deepcopy(self.head).eval().cpu()
        with torch.random.fork_rng(devices=[]):
            features = {stream: torch.randn(2, *shape) for stream, shape in head.shapes.items()}
            torch.autograd.backward(head.loss(head(features), torch.zeros(2, dtype=torch.int64)))
        used = {name for name, parameter in head.named_parameters() if parameter.grad is not None}
        for name, parameter in self.head.named_parameters():
            parameter.requires_grad_(name in used)


def classifier_of(model: nn.Module) -> Classifier:
    """The last layer, which gives the class scores: linear, or SqueezeNet's and S3D's convolution."""
    return [module for module in model.modules() if isinstance(module, Classifier)][-1]


def build_classifier(name: str, num_classes: int, *, weights: str, in_channels: int, seed: int) -> nn.Module:
    """A network with a classifier of its own, its trunk as extraction would have it.

    The trunk comes from `weights` (an RGB file's first convolution is widened for flow: the cross-modality start) or,
    for "random", from the seed: the very trunk that `avr extract --weights random` takes. The classifier is new, drawn
    by the seed, even where the weights bring one of as many classes.

    Departure from torchvision: SqueezeNet's ReLU behind its class scores is taken out, so that they can be negative.
    """
    build = partial(build_backbone, name, weights=weights, in_channels=in_channels, seed=seed)
    model: Any = build(num_classes=num_classes)
    if weights == "random":
        # A classifier of another size shifts the draws of what is built after it.
        with quiet():
            fit_state(model, build().state_dict(), open_backbone(name), source="random")
    elif _brings_classifier(model, name, weights):
        redraw(classifier_of(model), seed)
    if name.startswith("squeezenet"):
        model.classifier[2] = nn.Identity()
    built: nn.Module = model
    return built


def _brings_classifier(model: nn.Module, name: str, weights: str) -> bool:
    """Whether weights hold a classifier of as many classes, which `build_backbone` then has taken."""
    path = next(path for path, module in model.named_modules() if module is classifier_of(model))
    backbone = open_backbone(name)
    contents, _ = load_weights(backbone, weights)
    return f"{path}.weight" in find_state(model, contents, backbone).fitting


def start_flow(network: nn.Module, seed: int) -> None:
    """Draw the first convolution of a flow network anew, as Ou and Sun have it, in place of the mean over RGB's."""
    redraw(next(module for module in network.modules() if isinstance(module, nn.Conv2d)), seed)


def redraw(layer: Classifier, seed: int) -> None:
    """Draw a classifier anew, as torch does by default, from a seed of its own: the trunk keeps the backbone's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer.reset_parameters()


def set_dropout(model: nn.Module, keys: DropoutKeys, p: float | None) -> None:
    """Give a classifier its dropout: all dropout layers get probability `p`; a network without any gets one before its
    classifier. None keeps the network's own."""
    if key_dropout(model, keys, p=p) or not p:
        return
    layer, dropout = classifier_of(model), KeyedDropout(p, keys, 0)
    model.add_module("keyed_dropout", dropout)  # follows the network's mode, and `compiled` finds it

    def drop(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (dropout(inputs[0]), *inputs[1:])

    layer.register_forward_pre_hook(drop)  # a hook: the names of the parameters stay torchvision's
