"""Deep fusion with frame attention: pixel-level fusion and three layer-normalised LSTMs (Ou & Sun 2019)."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avr.core import NonNegativeInt, PositiveInt, Share, UsageError, WorkError, message_of

from ._base import Shapes
from .layers import Cell, Fusion3d, LayerNormLSTM
from .layers.maps import MapsHead, MatchChannels, shrink

RANDOM, PUBLISHED = "random", ("DEFAULT", "IMAGENET1K_V1")  # of `fc6_weights`


class FrameAttention(MapsHead):
    """Fused maps and their fc6 vectors read by two LSTMs, whose states a third one joins (section 3.4-3.5, fig. 8).

    The streams' maps are interleaved and fused by a 3-D convolution (eq. 1-2). Branch conv: the fused map, flattened,
    through LN-LSTM* to a state at every step (eq. 7-8). Branch fc: pool5, fc6, through another LN-LSTM* (eq. 9-10).
    Both states of each step, joined by a matrix W, go through LN-LSTM, whose last state is read out (eq. 11-12).

    Departure from the paper:
        - It takes the softmax of the last state itself, whose values lie in (−1, 1), so that confidence is capped near
          e²/(e² + K − 1): `readout = linear` (default) puts a linear layer before it; `readout = hidden` is the paper.
        - Its LSTMs have 101 units on all data sets, as many as UCF101's classes: with `readout = hidden` so have these,
          and the units behind the K-th are never a target. `readout = linear` takes K, and at least 32: layer norm over
          two or six units leaves little but their signs, and training sticks.
        - `cell`: see `layers.ln_lstm`; "printed" is the paper's text.
        - VGG's fc6 brings its ReLU; the paper names neither it nor an activation after the fusion, and there is none
          after the fusion.
        - It trains everything end to end; here the maps are stored, and everything above them learns.
        - The optimiser and the batch are not named: Adam, 32. Convergence stands at "140 epochs", then 46.
        - Maps that are not 512×14×14 work too: streams of different sizes are averaged down to the smallest, streams of
          other widths go through a learnt 1×1 convolution; maps under 2×2 are not pooled before fc6.

    Args:
        shapes: stream -> `(N, C, H, W)`; the paper's `(17, 512, 14, 14)` for rgb and flow, VGG-16's conv5_3. One stream
            or more, of equal N.
        num_classes: K.
        readout: see above.
        hidden: units of the three LSTMs; 0 is the paper's 101, with `readout = linear` K and at least 32.
        cell: what the LSTMs normalise (see `layers.ln_lstm`).
        reduce: channels of every stream after a learnt 1×1 convolution; 0 (the paper) has none. 64 makes training on a
            CPU some 60 times cheaper.
        size: maps are averaged down to size×size first; 0 (the paper) leaves them.
        fc6_width: units of fc6.
        fc6_weights: VGG-16's weights that fc6 starts from, as in the paper: DEFAULT or IMAGENET1K_V1 (torchvision's), a
            file (of torchvision's state dict, .pth or .safetensors), "store" (those of the store's VGG-16 for rgb, as
            its provenance names them), or "random". They fit 512×14×14 maps alone.
        fusion_start: "sum" or "random", see Fusion3d.
        fc6_dropout: of fc6's output.
        lstm_dropout: of every LSTM's output; with `cell = tensorflow` of its candidate, as there.

    Raises:
        UsageError: pooled layers, streams of different lengths, weights that do not fit, `readout=hidden` with
            fewer units than classes.
    """

    source: ClassVar[str] = "Ou & Sun 2019"
    # What the paper reads of one view; the recipes say what a store of it costs.
    paper_shapes: ClassVar[Shapes] = {"rgb": (17, 512, 14, 14), "flow": (17, 512, 14, 14)}
    starting: ClassVar[tuple[str, ...]] = ("fc6_weights",)

    def __init__(  # noqa: PLR0913 (one parameter an option)
        self,
        shapes: Shapes,
        num_classes: int,
        *,
        readout: Literal["linear", "hidden"] = "linear",
        hidden: NonNegativeInt = 0,
        cell: Cell = "gates+candidate",
        reduce: NonNegativeInt = 0,
        size: NonNegativeInt = 0,
        fc6_width: PositiveInt = 4096,
        fc6_weights: str = RANDOM,
        fusion_start: Literal["sum", "random"] = "sum",
        fc6_dropout: Share = 0.5,
        lstm_dropout: Share = 0.25,
    ) -> None:
        super().__init__(shapes, num_classes)
        hidden = self.hidden_units(readout, hidden)
        height, width = (min(size or 10**6, *(shape[axis] for shape in shapes.values())) for axis in (2, 3))
        channels = reduce or next(iter(shapes.values()))[1]
        self.map_size = (height, width)
        self.narrow = nn.ModuleDict({stream: MatchChannels(shape[1], channels) for stream, shape in shapes.items()})
        self.fusion = Fusion3d(channels, streams=len(shapes), start=fusion_start)
        halved = 2 if min(height, width) > 1 else 1
        self.pool5 = nn.MaxPool2d(halved)
        self.fc6 = nn.Linear(channels * (height // halved) * (width // halved), fc6_width)
        if fc6_weights not in ("", RANDOM):
            load_fc6(self.fc6, fc6_weights)
        self.fc6_dropout = nn.Dropout(fc6_dropout)
        inside, outside = (lstm_dropout, 0.0) if cell == "tensorflow" else (0.0, lstm_dropout)
        lstm = partial(LayerNormLSTM, hidden_size=hidden, cell=cell, dropout=inside)
        self.lstm_conv = lstm(channels * height * width)
        self.lstm_fc = lstm(fc6_width)
        self.join = nn.Linear(2 * hidden, hidden)  # W of eq. 11
        self.lstm_joined = lstm(hidden)
        self.lstm_dropout = nn.Dropout(outside)
        self.classifier = nn.Linear(hidden, num_classes) if readout == "linear" else None

    def keep(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The maps averaged down: a mean over positions may come before a 1×1 convolution."""
        return {stream: shrink(array, self.map_size) for stream, array in features.items()}

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits `(B, K)` as "fused"."""
        fused = self.fusion([features[stream] for stream in self.streams])  # (B, N, C, H, W)
        B, N, _, _, _ = fused.shape
        states_conv, _ = self.lstm_conv(fused.flatten(2))  # (B, N, hidden)
        pooled = self.pool5(fused.flatten(0, 1)).reshape(B, N, -1)
        vectors = self.fc6_dropout(F.relu(self.fc6(pooled)))  # (B, N, fc6_width)
        states_fc, _ = self.lstm_fc(vectors)
        both = torch.cat([self.lstm_dropout(states_conv), self.lstm_dropout(states_fc)], dim=-1)
        _, last = self.lstm_joined(self.join(both))
        last = self.lstm_dropout(last)
        return {"fused": self.read_units(last) if self.classifier is None else self.classifier(last)}


def load_fc6(layer: nn.Linear, name: str) -> None:
    """Start a layer from VGG-16's fc6, `classifier.0` of torchvision's state dict.

    Raises:
        UsageError: no such file, no such entry, or shapes that do not fit.
        WorkError: torchvision's weights cannot be had.
    """
    path = Path(name)
    if name in PUBLISHED:
        state = published_vgg16(name)
    elif not path.is_file():
        raise UsageError(f"fc6_weights: no file {path}; or say {', '.join(PUBLISHED)}, store or {RANDOM}")
    elif path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    if "classifier.0.weight" not in state or "classifier.0.bias" not in state:
        raise UsageError(f"fc6_weights: {path} has no classifier.0 (VGG-16's fc6 in torchvision's layout)")
    weight = state["classifier.0.weight"]
    if weight.shape != layer.weight.shape:
        raise UsageError(
            f"fc6_weights: fc6 in {path} is {tuple(weight.shape)}, here it would be {tuple(layer.weight.shape)}: "
            f"it fits 512×14×14 maps and fc6_width=4096; fc6_weights={RANDOM} starts at random"
        )
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(state["classifier.0.bias"])


def published_vgg16(name: str) -> Mapping[str, Tensor]:
    """torchvision's VGG-16 of ImageNet, from its cache or downloaded.

    Raises:
        WorkError: it cannot be had.
    """
    from torchvision.models import VGG16_Weights

    try:
        state: Mapping[str, Tensor] = VGG16_Weights[name].get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise WorkError(
            f"fc6_weights={name}: torchvision's VGG-16 cannot be had ({message_of(error)}): give its file, "
            f"fc6_weights=vgg16-397923af.pth, or start at random, fc6_weights={RANDOM}"
        ) from error
    return state


HEAD = FrameAttention
