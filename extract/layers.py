"""Named layers of a network as outputs: short names are the source's own, any other name is a graph node."""

from collections.abc import Sequence

from torch import Tensor, nn

from avr.core import UsageError

from .backbones import source_of


class LayerReader(nn.Module):
    """A network whose forward returns named layers, `(B, 3 or 2L, H, W)` to `{layer: (B, D) or (B, C, h, w)}`.

    It holds the network's own parameters, under their own names, so it trains; layers behind the last one read are not
    in it.
    """

    def __init__(self, model: nn.Module, name: str, layers: Sequence[str]) -> None:
        """Trace a network.

        Args:
            model: a classification network.
            name: its name, such as "resnet50".
            layers: short names or graph nodes.

        Raises:
            UsageError: no such layer; the short names and the nodes are listed.
        """
        from torchvision.models.feature_extraction import create_feature_extractor

        super().__init__()
        nodes = _nodes(model, name, layers)
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


def _nodes(model: nn.Module, name: str, layers: Sequence[str]) -> dict[str, str]:
    """Graph nodes of layers by short or own name; "mean NODE" is that node's mean over positions."""
    from torchvision.models.feature_extraction import get_graph_node_names

    training = model.training
    _, (_, *known) = get_graph_node_names(model)  # the first is the input
    model.train(training)
    short = source_of(name).short_layers(model, name)
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
