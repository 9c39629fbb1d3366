"""torchvision's classification networks, of images and of clips."""

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from avr.core import UsageError, check_known
from avr.extract.weights import download

from . import Backbone, LayerReader, Preprocessing, map_of, on_grid, tokens_of

# These change RGB's normalisation from ImageNet's mean and deviation to ±1 themselves.
_RESCALED = ("inception_v3", "googlenet")

# Short names as nodes of each family's graph. "mean NODE": its mean over positions, where the network itself has no
# such vector (VGG and AlexNet flatten 7×7 positions, SqueezeNet and S3D pool class scores). "first NODE": the class
# token of its tokens, "tokens NODE": the others, laid on their grid.
_FAMILIES: dict[str, dict[str, str]] = {
    r"(wide_)?resnet|resnext|r3d|mc3|r2plus1d": {"map": "layer4", "pooled": "flatten"},
    r"vgg": {"map": "features", "pooled": "mean features", "fc6": "classifier.1", "fc7": "classifier.4"},
    r"alexnet": {"map": "features", "pooled": "mean features", "fc6": "classifier.2", "fc7": "classifier.5"},
    r"squeezenet": {"map": "features", "pooled": "mean features"},
    r"inception_v3": {"map": "Mixed_7c", "pooled": "flatten"},
    r"googlenet": {"map": "inception5b", "pooled": "flatten"},
    r"densenet": {"map": "relu", "pooled": "flatten"},
    r"efficientnet|mobilenet": {"map": "features", "pooled": "flatten"},
    r"convnext": {"map": "features", "pooled": "classifier.1"},
    r"swin": {"map": "permute", "pooled": "flatten"},
    r"vit": {"map": "tokens encoder", "pooled": "first encoder"},
    r"mvit": {"map": "tokens norm", "pooled": "first norm"},
    r"maxvit": {"map": "blocks.3", "pooled": "classifier.4"},
    r"regnet": {"map": "trunk_output", "pooled": "flatten"},
    r"shufflenet": {"map": "conv5", "pooled": "mean"},
    r"mnasnet": {"map": "layers", "pooled": "mean"},
    r"s3d": {"map": "features", "pooled": "mean avgpool"},
}


class Torchvision(Backbone):
    """A classification model of torchvision."""

    classifiers = ("fc", "classifier", "head", "heads", "AuxLogits", "aux1", "aux2")

    def __init__(self, name: str) -> None:
        from torchvision import models

        super().__init__(name)
        check_known("backbone", name, sorted([*models.list_models(models), *models.list_models(models.video)]))
        self._members: Any = models.get_model_weights(name)

    @property
    def frames(self) -> int:
        return int(self._trained_at("clip_len"))

    @property
    def frame_rate(self) -> float:
        return self._trained_at("frame_rate")

    def _trained_at(self, what: str) -> float:
        """A number that only the description of the default weights tells."""
        found = re.search(rf"{what}=([\d.]*\d)", self._members.DEFAULT.meta["_docs"])
        return float(found[1]) if found else 0.0

    def weights(self) -> list[str]:
        return list(self._members.__members__)

    def load(self, weights: str) -> tuple[Mapping[str, Any], str]:
        return download(self._members[weights], f"{self.name} {weights}")

    def _member(self, weights: str) -> Any:
        return self._members[weights] if weights in self._members.__members__ else self._members.DEFAULT

    def build(self, weights: str, *, in_channels: int, num_classes: int) -> nn.Module:
        from torchvision import models

        options: dict[str, Any] = {"num_classes": num_classes} if num_classes else {}
        if self.name in _RESCALED:
            # The auxiliary classifiers only help training from nothing; torchvision's own start of them takes seconds.
            options |= {"aux_logits": False, "init_weights": weights == "random"}
        if self.name.startswith("vit"):  # its positions are as many as those of the weights
            options["image_size"] = self.preprocessing(weights).crop
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model: Any = models.get_model(self.name, weights=None, **options)
        if self.name in _RESCALED:
            # Their own change of normalisation is written for three channels. It does not depend on where the weights
            # come from: a network that starts at random is trained, saved and loaded again with the same input.
            model.transform_input = in_channels == 3
        built: nn.Module = model
        return built

    def preprocessing(self, weights: str) -> Preprocessing:
        own = self._member(weights).transforms()
        interpolation = "bicubic" if own.interpolation.value == "bicubic" else "bilinear"
        # Those of clips smooth nothing, and have no such option.
        antialias = bool(getattr(own, "antialias", False))
        sizes, colours = (int(own.crop_size[0]), tuple(own.resize_size)), (tuple(own.mean), tuple(own.std))
        return Preprocessing(*sizes, interpolation, *colours, antialias, self.name in _RESCALED)

    def reader(self, model: nn.Module, layers: Sequence[str]) -> LayerReader:
        return GraphReader(model, self.name, layers)

    def licence(self, weights: str) -> str:
        return str(self._member(weights).meta.get("license", ""))


class GraphReader(LayerReader):
    """Layers by short name, or any node of the network's graph; of clips the mean over time.

    What comes behind the last node read is not in it.
    """

    def __init__(self, model: Any, name: str, layers: Sequence[str]) -> None:
        from torchvision.models.feature_extraction import create_feature_extractor

        nodes = _nodes(model, name, layers)
        taken = {node: node for node in sorted({node for _, node in nodes.values()})}
        super().__init__(create_feature_extractor(model, taken, tracer_kwargs=_tracing(name)), layers)
        self.nodes = nodes
        self.times = int(model.pos_encoding.temporal_size) if name.startswith("mvit") else 0
        self.time_axis = 1 if name.startswith("swin3d") else 2  # of nodes by their own name

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        outputs = self.graph(images)
        return {layer: self._read(layer, how, outputs[node]) for layer, (how, node) in self.nodes.items()}

    def _read(self, layer: str, how: str, output: Tensor) -> Tensor:
        if how == "mean":
            return output.mean(tuple(range(2, output.ndim)))
        if how == "first":
            return output[:, 0]
        if how == "tokens":
            output = on_grid(output[:, 1:], self.times)
        if layer == "tokens":
            return tokens_of(output)
        if layer == "map":
            return map_of(output)
        return output.mean(self.time_axis) if output.ndim == 5 else output


def _nodes(model: nn.Module, name: str, layers: Sequence[str]) -> dict[str, tuple[str, str]]:
    """How each layer is read, "mean", "first", "tokens" or "", and of which node."""
    from torchvision.models.feature_extraction import get_graph_node_names

    training = model.training
    _, (_, *known) = get_graph_node_names(model, tracer_kwargs=_tracing(name))  # the first is the input
    model.train(training)
    short = short_layers(model, name)
    nodes = {}
    for layer in layers:
        how, _, node = short.get(layer, layer).rpartition(" ")
        if not any(other == node or other.startswith(node + ".") for other in known):
            raise UsageError(
                f"{name} has no layer '{layer}'; short names: {', '.join(short) or 'none'}; nodes: {', '.join(known)}"
            )
        nodes[layer] = how, node
    return nodes


def _tracing(name: str) -> dict[str, Any]:
    """Modules that are run as they are: tracing drops what MViT adds in place, without a word."""
    if not name.startswith("mvit"):
        return {}
    from torchvision.models.video import mvit

    return {"leaf_modules": [mvit.MultiscaleBlock, mvit.PositionalEncoding]}


def short_layers(model: Any, name: str) -> dict[str, str]:
    """Short layer names and how they are read of which graph nodes."""
    own = next((names for pattern, names in _FAMILIES.items() if re.match(pattern, name)), {})
    found = {**own, "tokens": own["map"]} if own else {}
    # `conv5_3` and its like: the ReLU behind the third convolution of the fifth block, before pooling.
    block, number = 1, 0
    for index, layer in enumerate(model.features if name.startswith("vgg") else ()):
        if isinstance(layer, nn.MaxPool2d):
            block, number = block + 1, 0
        elif isinstance(layer, nn.ReLU):
            number += 1
            found[f"conv{block}_{number}"] = f"features.{index}"
    return found


BACKBONE = Torchvision
