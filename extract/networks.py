"""Each stream's network, its layers read by name, and the settings that its weights bring.

A stream's network is the RGB network; where the stream has other channels its first convolution is wider: the weights'
mean over RGB, repeated. So a stream is a number of input channels, not a network of its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avr.core import UsageError, WorkError, as_text, message_of

from .backbones import Backbone, LayerReader, open_backbone
from .settings import Settings
from .streams import open_streams, stream_class
from .weights import first_convolution, fit_state, is_file, load_weights, widen


def build_backbone(
    name: str | Backbone, *, weights: str = "DEFAULT", in_channels: int = 3, seed: int = 0, num_classes: int = 0
) -> nn.Module:
    """A network with its library's parameter names, ready to train or to read layers from.

    Args:
        name: such as "resnet50" or "timm:convnext_tiny"; or an open one.
        weights: one of the model's own ("DEFAULT", "IMAGENET1K_V1"), "random", or a file.
        in_channels: 3 for RGB, 2L for flow stacks: the first convolution is then widened.
        seed: of random weights.
        num_classes: of the classifier; 0 is what the weights' own has (1000). Another number starts it at random.

    Raises:
        UsageError: unknown model or weights, no such file.
        WorkError: weights that cannot be had or do not fit.
    """
    backbone = open_backbone(name)
    state, _ = load_weights(backbone, weights)
    return _build(backbone, state, source=weights, in_channels=in_channels, seed=seed, num_classes=num_classes)[0]


def _build(
    backbone: Backbone,
    state: Mapping[str, Any],
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
        model = backbone.build(source, in_channels=in_channels, num_classes=num_classes)
    if in_channels != 3:
        _, first = first_convolution(model, backbone.name)
        first.weight = nn.Parameter(widen(first.weight.detach(), in_channels))
        first.in_channels = in_channels
    left = fit_state(model, state, backbone, source=source, say=say) if source != "random" else []
    return model.eval(), left


@dataclass(frozen=True)
class Networks:
    """The networks of an extraction, one a stream, and what they are.

    Attributes:
        settings: of each stream, with everything filled in: what a store keeps.
        readers: in evaluation mode; an `Extractor` moves them to its device.
        files: weights file, or folder, of each stream that has one, absolute; provenance for those who use the store
            later.
    """

    settings: dict[str, Settings]
    readers: dict[str, LayerReader]
    files: dict[str, str]

    @cached_property
    def shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Stream -> the shape of one view of each of its arrays: {"rgb": {"rgb/pooled": (N, D), …}}."""
        shapes: dict[str, dict[str, tuple[int, ...]]] = {}
        for name, stream in open_streams(self.settings).items():
            device = next(self.readers[name].parameters()).device
            outputs = self._try(name, torch.zeros(1, *stream.input_shape, device=device))
            steps = self.settings[name].num_steps
            shapes[name] = {f"{name}/{layer}": (steps, *output.shape[1:]) for layer, output in outputs.items()}
        return shapes

    def _try(self, stream: str, inputs: Tensor) -> dict[str, Tensor]:
        """What a stream's network gives.

        Raises:
            UsageError: it does not take such an input: many networks take one size, or one length of clips, alone.
        """
        try:
            with torch.inference_mode():
                found: dict[str, Tensor] = self.readers[stream](inputs)
        except UsageError:
            raise
        except (RuntimeError, ValueError, TypeError) as error:
            side, backbone = inputs.shape[-1], self.settings[stream].backbone
            frames = f" of {inputs.shape[2]} frames" if inputs.dim() == 5 else ""
            raise UsageError(
                f"{backbone} does not take crops of {side} pixels{frames} ({message_of(error)}): leave its sizes out"
            ) from error
        return found

    def only(self, streams: Iterable[str]) -> "Networks":
        """Those of some streams."""
        names = list(streams)
        files = {name: file for name, file in self.files.items() if name in names}
        part = Networks({n: self.settings[n] for n in names}, {n: self.readers[n] for n in names}, files)
        vars(part)["shapes"] = {name: self.shapes[name] for name in names}  # looked at once
        return part


def load_networks(streams: Mapping[str, Settings], *, cuda: bool = False) -> Networks:
    """Build every stream's network and fill the settings in; `cuda` is where "auto" precision is bfloat16.

    Raises:
        UsageError, WorkError: as `build_backbone`; unknown layers; a network of clips for images, or the reverse.
    """
    settings, readers, files = {}, {}, {}
    loaded: dict[tuple[str, str], tuple[Mapping[str, Any], str]] = {}
    for stream, asked in streams.items():
        made = stream_class(asked.kind)
        backbone = open_backbone(asked.backbone or made.backbone)
        _check_kind(stream, asked, backbone, clips=made.clips)
        filled = _fill_in(asked, backbone, cuda=cuda)
        source = asked.weights
        key = (asked.backbone or made.backbone, source)
        if key not in loaded:
            loaded[key] = load_weights(backbone, source)
        state, sha256 = loaded[key]
        # A classifier that does not fit is nobody's concern where only the trunk is read; else it is refused below.
        channels = made(filled).input_shape[0]
        model, left = _build(backbone, state, source=source, in_channels=channels, seed=asked.seed, say=False)
        readers[stream] = backbone.reader(model, asked.layers).eval().requires_grad_(False)
        missing = sorted(set(left) & readers[stream].trunk_state().keys())
        if missing:
            raise WorkError(f"{source}: has no {missing[0]}, which layers {', '.join(asked.layers)} need")
        if backbone.folder is not None:
            if is_file(backbone, source):
                raise UsageError(f"{source}: {backbone.folder} brings weights of its own; leave --weights out")
            files[stream] = str(backbone.folder)
        elif is_file(backbone, source):
            files[stream] = str(Path(source).resolve())
        settings[stream] = filled.change(weights=Path(source).name, weights_sha256=sha256)
    return Networks(settings, readers, files)


def _check_kind(stream: str, settings: Settings, backbone: Backbone, *, clips: bool) -> None:
    """Refuse a network of clips for a kind of stream that gives images, or the reverse."""
    if bool(backbone.frames) != clips:
        reads, fits = ("clips", "clip") if backbone.frames else ("images", "rgb")
        raise UsageError(
            f"stream {stream} is of kind {settings.kind}, but {backbone} reads {reads}: give it another --backbone "
            f"{stream}=NAME, or make it --stream {stream}={fits}"
        )


def _fill_in(settings: Settings, backbone: Backbone, *, cuda: bool) -> Settings:
    """Preprocessing from the weights; for a file or random weights, from the network's default ones."""
    own = backbone.preprocessing(settings.weights)
    crop = settings.crop or own.crop
    # A smaller crop asked for alone keeps the weights' proportion of crop to frame.
    sides = own.resize if not settings.crop else (round(crop * side / own.crop) for side in own.resize)
    resize = settings.resize or tuple(max(crop, side) for side in sides)
    if min(resize) < crop:
        raise UsageError(f"crop {crop} does not fit into frames resized to {as_text(resize)}; give --crop too")
    values: dict[str, Any] = {"backbone": str(backbone), "crop": crop, "resize": resize, "antialias": own.antialias}
    values |= {"mean": settings.mean or own.mean, "std": settings.std or own.std}
    # What other kinds read says nothing here.
    values |= {"stack": 0, "clip_frames": 0, "frame_stride": 0, "flow": "", "flow_size": 0, "flow_backend": ""}
    values["quantise"] = True
    values["interpolation"] = own.interpolation if settings.interpolation == "auto" else settings.interpolation
    values["precision"] = settings.precision if settings.precision != "auto" else "bfloat16" if cuda else "float32"
    return settings.change(**values | stream_class(settings.kind).filled_in(settings, backbone, own))
