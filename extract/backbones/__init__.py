"""Where networks come from: one file a library (`torchvision.py`), which gives names, networks, weights and layers."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from avr.core import load_item

__all__ = ["Preprocessing", "Source", "source_of"]


class Preprocessing(NamedTuple):
    """What weights were made with.

    Attributes:
        crop, resize: side of the square that the network sees and short side of frames before, pixels.
        interpolation: "bilinear" or "bicubic".
        mean, std: of each RGB channel, in 0…1.
        rescaled: whether the network changes normalised RGB to ±1 by itself.
    """

    crop: int
    resize: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescaled: bool


class Source(ABC):
    """A library of networks; an unknown `name` is a UsageError that lists the known ones."""

    @abstractmethod
    def weights(self, name: str) -> list[str]:
        """Names of a network's weights."""

    @abstractmethod
    def load(self, name: str, weights: str) -> tuple[dict[str, Tensor], str]:
        """Tensors of named weights, or of "DEFAULT", and the SHA-256 of their file, "" where it is not known.

        Raises:
            WorkError: they cannot be had.
        """

    @abstractmethod
    def build(self, name: str, *, in_channels: int, num_classes: int, trained: bool) -> nn.Module:
        """The network, for 3 channels, its tensors random.

        Args:
            name: of the network.
            in_channels: what its first convolution will be widened to.
            num_classes: of the classifier; 0 is what the weights' own has.
            trained: whether all tensors will be replaced, so that a slow start can be left out.
        """

    @abstractmethod
    def preprocessing(self, name: str, weights: str) -> Preprocessing:
        """Of named weights; of a file or random ones, that of the default weights."""

    @abstractmethod
    def short_layers(self, model: nn.Module, name: str) -> dict[str, str]:
        """Short layer names and their graph nodes; "mean map" is the map's mean over positions."""


def source_of(name: str) -> Source:
    """The source of a backbone by its name."""
    found: Source = load_item("avr.extract.backbones", "torchvision", "source of backbones").SOURCE
    return found
