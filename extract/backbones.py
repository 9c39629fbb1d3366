"""Backbones: torchvision's classification networks, for RGB and for flow stacks, and the settings their weights bring.

The flow network is the RGB network with a wider first convolution: its weights' mean over RGB, repeated for 2L
channels. So a stream is a number of input channels, not a network of its own.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from avr.core import UsageError, WorkError

from .layers import LayerReader
from .settings import Settings
from .weights import first_convolution, fit_state, is_file, load_weights, weights_enum, widen


def build_backbone(
    name: str, *, weights: str = "DEFAULT", in_channels: int = 3, seed: int = 0, num_classes: int = 0
) -> nn.Module:
    """A torchvision network, with torchvision's parameter names, ready to train or to read layers from.

    Args:
        name: torchvision's name, such as "resnet50".
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
    state: dict[str, Tensor],
    *,
    source: str,
    in_channels: int,
    seed: int,
    num_classes: int = 0,
    say: bool = True,
) -> tuple[nn.Module, list[str]]:
    """The network and the names of the tensors its weights did not bring; `say`: a note of those of the classifier."""
    weights_enum(name)
    options: dict[str, Any] = {"num_classes": num_classes} if num_classes else {}
    if name in ("inception_v3", "googlenet"):
        # The auxiliary classifiers only help training from nothing; torchvision's own start of them takes seconds.
        options |= {"aux_logits": False, "init_weights": not state}
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        model: Any = models.get_model(name, weights=None, **options)
    if in_channels != 3:
        _widen_first(model, in_channels, name)
    if hasattr(model, "transform_input"):
        # Inception's own change of normalisation, from ImageNet's mean and deviation to ±1, is written for three
        # channels. It does not depend on where the weights come from: a network that starts at random is trained, saved
        # and loaded again with the same input.
        model.transform_input = in_channels == 3
    left = fit_state(model, state, name=name, source=source, say=say) if state else []
    return model.eval(), left


def _widen_first(model: nn.Module, in_channels: int, name: str) -> None:
    path, old = first_convolution(model, name)
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        old.dilation,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    with torch.no_grad():
        new.weight.copy_(widen(old.weight, in_channels))
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    parent, _, child = path.rpartition(".")
    setattr(model.get_submodule(parent), child, new)


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

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one view of every array: {"rgb/pooled": (N, D), …}."""
        shapes = {}
        for stream, reader in self.readers.items():
            channels, crop = in_channels(self.settings, stream), self.settings.crop
            device = next(reader.parameters()).device
            with torch.inference_mode():
                outputs = reader(torch.zeros(1, channels, crop, crop, device=device))
            for layer, output in outputs.items():
                shapes[f"{stream}/{layer}"] = (self.settings.num_steps, *output.shape[1:])
        return shapes


def in_channels(settings: Settings, stream: str) -> int:
    """Channels that a stream's network reads: 3, or 2L."""
    return 3 if stream == "rgb" else 2 * settings.stack


def load_networks(settings: Settings, *, cuda: bool = False) -> Networks:
    """Build every stream's network and fill the settings in.

    Args:
        settings: as asked.
        cuda: whether they will run on CUDA, which "auto" precision asks.

    Raises:
        UsageError, WorkError: as `build_backbone`; unknown layers.
    """
    name = settings.backbone
    readers, files, hashes, names = {}, {}, [], []
    loaded: dict[str, tuple[dict[str, Tensor], str]] = {}
    for stream in settings.streams:
        source = settings.weights_of(stream)
        if source not in loaded:
            loaded[source] = load_weights(name, source)
        state, sha256 = loaded[source]
        channels = in_channels(settings, stream)
        # A classifier that does not fit is nobody's concern where only the trunk is read; else it is refused below.
        model, left = _build(name, state, source=source, in_channels=channels, seed=settings.seed, say=False)
        readers[stream] = LayerReader(model, name, settings.layers_of(stream)).eval().requires_grad_(False)
        _refuse_untrained(readers[stream], left, source)
        if is_file(name, source):
            files[stream] = str(Path(source).resolve())
        names.append(f"{stream}={Path(source).name}")
        hashes.append(f"{stream}={sha256}")
    return Networks(_fill_in(settings, tuple(names), tuple(hashes), cuda=cuda), readers, files)


def _refuse_untrained(reader: LayerReader, left: list[str], source: str) -> None:
    used = {key.removeprefix("graph.") for key in reader.state_dict()}
    missing = sorted(used & set(left))
    if missing:
        raise WorkError(f"{source}: has no {missing[0]}, which layers {', '.join(reader.layers)} need")


def _fill_in(settings: Settings, names: tuple[str, ...], hashes: tuple[str, ...], *, cuda: bool) -> Settings:
    """Preprocessing from the weights; for a file or random weights, from the model's default ones."""
    enum = weights_enum(settings.backbone)
    source = settings.weights_of(settings.streams[0])
    preset = (enum[source] if source in enum.__members__ else enum.DEFAULT).transforms()
    crop = settings.crop or int(preset.crop_size[0])
    # A smaller crop asked for alone keeps the weights' proportion of crop to short side.
    own = int(preset.resize_size[0]) if not settings.crop else round(crop * preset.resize_size[0] / preset.crop_size[0])
    resize = settings.resize or max(own, crop)
    if resize < crop:
        raise UsageError(f"crop {crop} does not fit into frames resized to {resize}; give --crop too")
    interpolation = settings.interpolation
    if interpolation == "auto":
        interpolation = "bicubic" if preset.interpolation.value == "bicubic" else "bilinear"
    mean, std = tuple(preset.mean), tuple(preset.std)
    flow_mean, flow_std = flow_normalisation(settings.backbone, std)
    precision = settings.precision if settings.precision != "auto" else "bfloat16" if cuda else "float32"
    return settings.change(
        weights=names,
        weights_sha256=hashes,
        crop=crop,
        resize=resize,
        interpolation=interpolation,
        mean=settings.mean or mean,
        std=settings.std or std,
        flow_mean=settings.flow_mean or flow_mean,
        flow_std=settings.flow_std or flow_std,
        precision=precision,
    )


def flow_normalisation(backbone: str, std: tuple[float, ...]) -> tuple[float, float]:
    """Mean and deviation for flow images in 0…1: 0.5 and the mean of RGB's deviations, as TSN has them.

    Inception-V3's and GoogLeNet's networks work on inputs scaled to ±1 (they change RGB's normalisation themselves),
    so their flow is scaled so too.
    """
    if backbone in ("inception_v3", "googlenet"):
        return 0.5, 0.5
    return 0.5, round(sum(std) / len(std), 6)
