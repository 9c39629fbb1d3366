"""Named layers of a torchvision network as outputs: short names resolved a family, any other name a graph node."""

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from avr.core import UsageError

# Short names as nodes of each family's graph. "mean map": the map's mean over positions, where the network itself has
# no such vector (VGG and AlexNet flatten 7×7 positions, SqueezeNet pools class scores).
_FAMILIES: dict[str, dict[str, str]] = {
    r"(wide_)?resnet|resnext": {"map": "layer4", "pooled": "flatten"},
    r"vgg": {"map": "features", "pooled": "mean map", "fc6": "classifier.1", "fc7": "classifier.4"},
    r"alexnet": {"map": "features", "pooled": "mean map", "fc6": "classifier.2", "fc7": "classifier.5"},
    r"squeezenet": {"map": "features", "pooled": "mean map"},
    r"inception_v3": {"map": "Mixed_7c", "pooled": "flatten"},
    r"googlenet": {"map": "inception5b", "pooled": "flatten"},
    r"densenet": {"map": "relu", "pooled": "flatten"},
    r"efficientnet|mobilenet": {"map": "features", "pooled": "flatten"},
    r"convnext": {"map": "features", "pooled": "classifier.1"},
    r"swin": {"map": "permute", "pooled": "flatten"},
    r"vit": {"pooled": "getitem_5"},
    r"regnet": {"map": "trunk_output", "pooled": "flatten"},
    r"shufflenet": {"map": "conv5", "pooled": "mean"},
    r"mnasnet": {"map": "layers", "pooled": "mean"},
}


class LayerReader(nn.Module):
    """A network whose forward returns named layers, `(B, 3 or 2L, H, W)` to `{layer: (B, D) or (B, C, h, w)}`.

    It holds the network's own parameters, under their own names, so it trains; layers behind the last one read are not
    in it.
    """

    def __init__(self, model: nn.Module, name: str, layers: Sequence[str]) -> None:
        """Trace a network.

        Args:
            model: a torchvision classification model.
            name: its name, such as "resnet50".
            layers: short names or graph nodes.

        Raises:
            UsageError: no such layer; the short names and the nodes are listed.
        """
        super().__init__()
        nodes = resolve_layers(model, name, layers)
        self.layers = tuple(layers)
        self.means = {layer for layer, node in nodes.items() if node.startswith("mean ")}
        self.nodes = {layer: node.removeprefix("mean ") for layer, node in nodes.items()}
        names = sorted(set(self.nodes.values()))
        self.graph = create_feature_extractor(model, {node: node for node in names})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Layers by name."""
        outputs = self.graph(images)
        return {
            layer: outputs[node].mean((2, 3)) if layer in self.means else outputs[node]
            for layer, node in self.nodes.items()
        }

    def trunk_state(self) -> dict[str, Tensor]:
        """Its tensors under the network's own names, as a weights file has them."""
        return {name.removeprefix("graph."): value for name, value in self.state_dict().items()}


def resolve_layers(model: nn.Module, name: str, layers: Sequence[str]) -> dict[str, str]:
    """Graph nodes of layers by short or own name; "mean NODE" is that node's mean over positions.

    Raises:
        UsageError: no such layer; the known ones are listed.
    """
    known = _node_names(model)
    short = short_names(model, name)
    nodes = {}
    for layer in layers:
        node = short.get(layer, layer)
        node = f"mean {short['map']}" if node == "mean map" else node
        wanted = node.removeprefix("mean ")
        if not any(other == wanted or other.startswith(wanted + ".") for other in known):
            raise UsageError(
                f"{name} has no layer '{layer}'; short names: {', '.join(short) or 'none'}; nodes: {', '.join(known)}"
            )
        nodes[layer] = node
    return nodes


def short_names(model: nn.Module, name: str) -> dict[str, str]:
    """Short layer names of a network, and their graph nodes."""
    for pattern, names in _FAMILIES.items():
        if re.match(pattern, name):
            return {**names, **(_vgg_convolutions(model) if name.startswith("vgg") else {})}
    return {}


def _vgg_convolutions(model: Any) -> dict[str, str]:
    """`conv5_3` and its like: the ReLU behind the third convolution of the fifth block, before pooling."""
    found, block, number = {}, 1, 0
    for index, layer in enumerate(model.features):
        if isinstance(layer, nn.MaxPool2d):
            block, number = block + 1, 0
        elif isinstance(layer, nn.ReLU):
            number += 1
            found[f"conv{block}_{number}"] = f"features.{index}"
    return found


def _node_names(model: nn.Module) -> list[str]:
    training = model.training
    _, names = get_graph_node_names(model)
    model.train(training)
    return list(names[1:])  # the first is the input
