"""torchvision's classification networks."""

import re
import warnings
from typing import Any

from torch import Tensor, nn

from avr.core import check_known
from avr.extract.weights import download

from . import Preprocessing

# These change RGB's normalisation from ImageNet's mean and deviation to ±1 themselves.
_RESCALED = ("inception_v3", "googlenet")

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


def weights(name: str) -> list[str]:
    """Names of a network's weights."""
    return list(_enum(name).__members__)


def load(name: str, weights: str) -> tuple[dict[str, Tensor], str]:
    """Tensors of named weights, downloaded once, and the SHA-256 of their file."""
    return download(_enum(name)[weights], f"{name} {weights}")


def build(name: str, *, in_channels: int, num_classes: int, trained: bool) -> nn.Module:
    """The network, for 3 channels, its tensors random, with torchvision's parameter names.

    Args:
        name: of the network.
        in_channels: what its first convolution will be widened to.
        num_classes: of the classifier; 0 is what the weights' own has.
        trained: whether all tensors will be replaced, so that a slow start can be left out.
    """
    from torchvision import models

    _enum(name)
    options: dict[str, Any] = {"num_classes": num_classes} if num_classes else {}
    if name in _RESCALED:
        # The auxiliary classifiers only help training from nothing; torchvision's own start of them takes seconds.
        options |= {"aux_logits": False, "init_weights": not trained}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = models.get_model(name, weights=None, **options)
    if name in _RESCALED:
        # Their own change of normalisation is written for three channels. It does not depend on where the weights
        # come from: a network that starts at random is trained, saved and loaded again with the same input.
        model.transform_input = in_channels == 3
    built: nn.Module = model
    return built


def preprocessing(name: str, weights: str) -> Preprocessing:
    """Of named weights; of a file or random ones, that of the default weights."""
    enum = _enum(name)
    own = (enum[weights] if weights in enum.__members__ else enum.DEFAULT).transforms()
    interpolation = "bicubic" if own.interpolation.value == "bicubic" else "bilinear"
    crop, resize = int(own.crop_size[0]), int(own.resize_size[0])
    return Preprocessing(crop, resize, interpolation, tuple(own.mean), tuple(own.std), name in _RESCALED)


def short_layers(model: nn.Module, name: str) -> dict[str, str]:
    """Short layer names and their graph nodes."""
    for pattern, names in _FAMILIES.items():
        if re.match(pattern, name):
            return {**names, **(_vgg_convolutions(model) if name.startswith("vgg") else {})}
    return {}


def _enum(name: str) -> Any:
    """A network's weights, as torchvision lists them."""
    from torchvision import models

    check_known("backbone", name, sorted(models.list_models(module=models)))
    return models.get_model_weights(name)


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
