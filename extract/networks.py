"""Each stream's network, its layers read by name, and the settings that its weights bring.

Short names of layers are the backbone source's own, any other name is a graph node. A stream's network is the RGB
network; where the stream has other channels its first convolution is wider: the weights' mean over RGB, repeated. So a
stream is a number of input channels, not a network of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avr.core import UsageError, WorkError, item_names

from .backbones import source_of
from .settings import STREAMS, Settings
from .streams import open_streams, stream_class
from .weights import first_convolution, fit_state, is_file, load_weights, widen


def build_backbone(
    name: str, *, weights: str = "DEFAULT", in_channels: int = 3, seed: int = 0, num_classes: int = 0
) -> nn.Module:
    """A network with its library's parameter names, ready to train or to read layers from.

    Args:
        name: such as "resnet50".
        weights: one of the model's own ("DEFAULT", "IMAGENET1K_V1"), "random", or a file.
        in_channels: 3 for RGB, 2L for flow stacks: the first convolution is then widened.
        seed: of random weights.
        num_classes: of the classifier; 0 is what the weights' own has (1000). Another number starts it at random.

    Raises:
        UsageError: unknown model or weights, no such file.
        WorkError: weights that cannot be had or do not fit.
    """
    state, _ = load_weights(name, weights)
    return _build(name, state, source=weights, in_channels=in_channels, seed=seed, num_classes=num_classes)[0]


def _build(
    name: str,
    state: Mapping[str, Tensor],
    *,
    source: str,
    in_channels: int,
    seed: int,
    num_classes: int = 0,
    say: bool = True,
) -> tuple[nn.Module, list[str]]:
    """The network and the names of the tensors its weights did not bring; `say`: a note of those of the classifier."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        build = source_of(name).build
        model = build(name, in_channels=in_channels, num_classes=num_classes, trained=bool(state))
    if in_channels != 3:
        _, first = first_convolution(model, name)
        first.weight = nn.Parameter(widen(first.weight.detach(), in_channels))
        first.in_channels = in_channels
    left = fit_state(model, state, name=name, source=source, say=say) if state else []
    return model.eval(), left


class LayerReader(nn.Module):
    """A network whose forward returns named layers, `(B, 3 or 2L, H, W)` to `{layer: (B, D) or (B, C, h, w)}`.

    It holds the network's own parameters, under their own names, so it trains; layers behind the last one read are not
    in it.
    """

    def __init__(self, model: nn.Module, name: str, layers: Sequence[str]) -> None:
        """Trace a classification network of a name, such as "resnet50".

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


@dataclass(frozen=True)
class Networks:
    """The networks of an extraction, one a stream, and what they are.

    Attributes:
        settings: with everything filled in: what a store keeps.
        readers: a `LayerReader` a stream, in evaluation mode; an `Extractor` moves them to its device.
        files: weights file of each stream that has one, absolute; provenance for those who use the store later.
    """

    settings: Settings
    readers: dict[str, LayerReader]
    files: dict[str, str]

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one view of every array: {"rgb/pooled": (N, D), …}."""
        shapes = {}
        for name, stream in open_streams(self.settings).items():
            reader, crop = self.readers[name], self.settings.crop
            device = next(reader.parameters()).device
            with torch.inference_mode():
                outputs = reader(torch.zeros(1, stream.channels, crop, crop, device=device))
            for layer, output in outputs.items():
                shapes[f"{name}/{layer}"] = (self.settings.num_steps, *output.shape[1:])
        return shapes


def load_networks(settings: Settings, *, cuda: bool = False) -> Networks:
    """Build every stream's network and fill the settings in; `cuda` is where "auto" precision is bfloat16.

    Raises:
        UsageError, WorkError: as `build_backbone`; unknown layers.
    """
    name = settings.backbone
    readers, files, hashes, names = {}, {}, [], []
    loaded: dict[str, tuple[dict[str, Tensor], str]] = {}
    for stream, opened in open_streams(settings).items():
        source = settings.weights_of(stream)
        if source not in loaded:
            loaded[source] = load_weights(name, source)
        state, sha256 = loaded[source]
        # A classifier that does not fit is nobody's concern where only the trunk is read; else it is refused below.
        model, left = _build(name, state, source=source, in_channels=opened.channels, seed=settings.seed, say=False)
        readers[stream] = LayerReader(model, name, settings.layers_of(stream)).eval().requires_grad_(False)
        missing = sorted(set(left) & readers[stream].trunk_state().keys())
        if missing:
            layers = ", ".join(settings.layers_of(stream))
            raise WorkError(f"{source}: has no {missing[0]}, which layers {layers} need")
        if is_file(name, source):
            files[stream] = str(Path(source).resolve())
        names.append(f"{stream}={Path(source).name}")
        hashes.append(f"{stream}={sha256}")
    precision = settings.precision if settings.precision != "auto" else "bfloat16" if cuda else "float32"
    filled = _fill_in(settings).change(weights=tuple(names), weights_sha256=tuple(hashes), precision=precision)
    return Networks(filled, readers, files)


def _fill_in(settings: Settings) -> Settings:
    """Preprocessing from the weights; for a file or random weights, from the model's default ones."""
    source = settings.weights_of(settings.streams[0])
    own = source_of(settings.backbone).preprocessing(settings.backbone, source)
    crop = settings.crop or own.crop
    # A smaller crop asked for alone keeps the weights' proportion of crop to short side.
    resize = settings.resize or max(crop, own.resize if not settings.crop else round(crop * own.resize / own.crop))
    if resize < crop:
        raise UsageError(f"crop {crop} does not fit into frames resized to {resize}; give --crop too")
    interpolation = own.interpolation if settings.interpolation == "auto" else settings.interpolation
    values: dict[str, Any] = {"crop": crop, "resize": resize, "interpolation": interpolation}
    for stream in item_names(STREAMS):
        values |= stream_class(stream).filled_in(settings, own)
    return settings.change(**values)
