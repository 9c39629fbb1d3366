"""Where networks come from: one file a library, found by its name (`timm.py` = `--backbone timm:NAME`).

A source's file ends with `BACKBONE`, its class of `Backbone`: one object is one network by name. It builds the network,
has weights and what they were made with, and reads layers. Fitting weights, widening the first convolution for flow and
seeds are not its own: `avr.extract.build_backbone` does that for all.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from avr.core import UsageError, load_item


class Preprocessing(NamedTuple):
    """What weights were made with.

    Attributes:
        crop: side of the square that the network sees, pixels.
        resize: of frames before: `(short side,)`, or `(height, width)` exactly.
        interpolation: "bilinear" or "bicubic".
        mean, std: of each RGB channel, in 0…1.
        antialias: whether frames are smoothed where they shrink, as PIL does.
        rescaled: whether the network changes normalised RGB to ±1 by itself.
    """

    crop: int
    resize: tuple[int, ...]
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    antialias: bool = True
    rescaled: bool = False


class LayerReader(nn.Module):
    """A network whose forward returns named layers.

    It holds the network's own parameters, so it trains, and no classifier.

    Args:
        graph: what is run.
        layers: names of the layers.
    """

    def __init__(self, graph: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        self.graph, self.layers = graph, tuple(layers)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images `(B, C, H, W)`, or clips `(B, 3, T, H, W)`, to layers by name.

        `pooled` is `(B, D)`, what the classifier reads; `map` is `(B, D, h, w)`, of clips the mean over time; `tokens`
        are its positions `(B, P, D)`, of clips time by time.
        """
        raise NotImplementedError

    def trunk_state(self) -> dict[str, Tensor]:
        """Its tensors under the network's own names, as a weights file has them."""
        return {name.removeprefix("graph."): value for name, value in self.state_dict().items()}


class GridReader(LayerReader):
    """Of a network that gives a vector and a grid: `pooled`, `map` and `tokens`.

    Args:
        name: of the backbone.
        graph, layers: as of any reader.

    Raises:
        UsageError: no such layer.
    """

    def __init__(self, name: str, graph: nn.Module, layers: Sequence[str]) -> None:
        for layer in layers:
            if layer not in ("pooled", "map", "tokens"):
                raise UsageError(f"{name} has no layer '{layer}'; it has pooled, map, tokens")
        super().__init__(graph, layers)

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The vector `(B, D)` and the grid, `(B, D, h, w)` or of clips `(B, D, t, h, w)`."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        pooled, grid = self.read(images)
        made = {"pooled": pooled, "map": map_of(grid), "tokens": tokens_of(grid)}
        return {layer: made[layer] for layer in self.layers}


class Backbone(ABC):
    """One network of a source.

    Args:
        name: with the source before it where that is not torchvision, as settings keep it.

    Attributes:
        classifiers: names of the modules that weights may lack or have of another width.
        folder: where the network lies, if its name is a local folder's.
    """

    classifiers: Sequence[str] = ()
    folder: Path | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name

    @property
    def local(self) -> bool:
        """Whether its name is a local folder's."""
        return self.folder is not None

    @property
    def frames(self) -> int:
        """T of the clips that a network over space and time reads; 0: it reads images."""
        return 0

    @property
    def frame_rate(self) -> float:
        """Of the clips that its weights were trained on, frames a second; 0: not known."""
        return 0.0

    @abstractmethod
    def weights(self) -> list[str]:
        """Names of its weights; "DEFAULT" is one of them, or stands for one."""

    @abstractmethod
    def load(self, weights: str) -> tuple[Mapping[str, Any], str]:
        """Tensors of named weights, or of "DEFAULT", and the SHA-256 of their file ("": not known).

        Raises:
            WorkError: they cannot be had.
        """

    @abstractmethod
    def build(self, weights: str, *, in_channels: int, num_classes: int) -> nn.Module:
        """The network, its tensors random, for RGB.

        Args:
            weights: what will be put into it: a name, "random" or a file.
            in_channels: what its first convolution will be widened to.
            num_classes: of the classifier; 0 is what the weights' own has.
        """

    @abstractmethod
    def preprocessing(self, weights: str) -> Preprocessing:
        """Of named weights; of a file or random ones, that of the default weights."""

    @abstractmethod
    def reader(self, model: nn.Module, layers: Sequence[str]) -> LayerReader:
        """The network, as `build` made it, to read layers from; it may lose its classifier.

        Raises:
            UsageError: no such layer; those there are are listed.
        """

    def translated(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Tensors of a file in another layout that the library knows, under the network's own names; else as given."""
        return tensors

    def licence(self, weights: str) -> str:
        """Licence of named weights, as the source tells it; "": not known."""
        return ""


def open_backbone(name: "str | Backbone", folder: Path | None = None) -> Backbone:
    """A network by name: `resnet50` and `torchvision:resnet50`, `timm:NAME`, `transformers:OWNER/NAME` or `:FOLDER`.

    Args:
        name: as given to `--backbone`, or as settings keep it; or one that is open.
        folder: where a network that lay in a local folder lies now.

    Raises:
        UsageError: no such source or network, or its library is missing.
    """
    if isinstance(name, Backbone):
        return name
    source, separator, own = name.partition(":")
    source, own = (source, own) if separator else ("torchvision", name)
    item = load_item("avr.extract.backbones", source, "source of backbones")
    if not own:
        raise UsageError(f"--backbone {name}: name a network behind {source}:")
    found: Backbone = item.BACKBONE(str(folder or own))
    return found


def on_grid(tokens: Tensor, times: int = 0) -> Tensor:
    """Tokens `(B, P, D)` laid on the square that they were cut from, row by row: `(B, D, h, w)`, or of clips, time by
    time, `(B, D, times, h, w)`.

    Raises:
        UsageError: they make no square.
    """
    side = math.isqrt(tokens.shape[1] // max(times, 1))
    if side * side * max(times, 1) != tokens.shape[1]:
        raise UsageError(f"{tokens.shape[1]} tokens of a network make no square map; take another layer or backbone")
    return tokens.transpose(1, 2).reshape(-1, tokens.shape[2], *([times] if times else []), side, side)


def map_of(grid: Tensor) -> Tensor:
    """The layer `map` of what a network gives over its positions: `(B, D, h, w)`, or of clips `(B, D, t, h, w)`."""
    return grid.mean(2) if grid.ndim == 5 else grid


def tokens_of(grid: Tensor) -> Tensor:
    """The layer `tokens` of the same."""
    return torch.transpose(grid.flatten(2), 1, 2)
