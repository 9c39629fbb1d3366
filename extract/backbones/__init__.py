"""Where networks come from: one file a library (`torchvision.py`), a module of five functions.

    weights(name)                 names of a network's weights
    load(name, weights)           tensors of named weights, or of "DEFAULT", and the SHA-256 of their file ("": unknown)
    build(name, in_channels=…, num_classes=…, trained=…)    the network, for 3 channels, its tensors random
    preprocessing(name, weights)  of named weights; of a file or random ones, that of the default weights
    short_layers(model, name)     short layer names and their graph nodes; "mean map": the map's mean over positions

An unknown name is a UsageError that lists the known ones; weights that cannot be had are a WorkError.
"""

from typing import Any, NamedTuple

from avr.core import load_item

__all__ = ["Preprocessing", "source_of"]


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


def source_of(name: str) -> Any:
    """The source of a backbone by its name: torchvision has them all."""
    return load_item("avr.extract.backbones", "torchvision", "source of backbones")
