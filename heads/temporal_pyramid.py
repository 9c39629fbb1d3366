"""TPN-BiLSTM: a temporal tail, pixel-level fusion, a temporal pyramid and a two-way LSTM (Ou & Sun)."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avr.core import NonNegativeInt, PositiveInt, Share

from ._base import Shapes
from .layers import Cell, FactorisedConv3d, Fusion3d, LayerNormLSTM, MultiScaleConv3d, narrow_last, temporal_pyramid
from .layers.maps import MapsHead, MatchChannels, shrink


class TemporalTail(nn.Module):
    """The temporal stream's last four layers, MST-3D, 3-D, MST-3D, 3-D (fig. 2-3): maps to maps of `width` channels.

    Args:
        channels: C in.
        width: channels out; 512 in the paper, three times that inside.
        pool: halve height and width after the first layer, where VGG has its pool4.
    """

    def __init__(self, channels: int, width: int, *, pool: bool) -> None:
        super().__init__()
        self.first = MultiScaleConv3d(channels, width)
        self.pool4 = nn.MaxPool3d((1, 2, 2)) if pool else nn.Identity()
        self.rest = nn.Sequential(
            FactorisedConv3d(3 * width, width), MultiScaleConv3d(width, width), FactorisedConv3d(3 * width, width)
        )

    def forward(self, maps: Tensor) -> Tensor:
        volume = narrow_last(maps.transpose(1, 2))  # (B, C, N, H, W)
        return self.rest(self.pool4(self.first(volume))).transpose(1, 2)


class TemporalPyramid(MapsHead):
    """Spatial maps and a temporal stream's deeper maps, fused, pooled into a pyramid, read in both directions.

    The temporal stream's conv4_2 maps go through four 3-D layers (fig. 2-3) and meet the spatial stream's conv5_3 at
    14×14. Both are interleaved and fused by a 3-D convolution (as in frame-attention), pooled to 8 steps of 7×7×512,
    and averaged over 1, 2 and 4 spans: 7 vectors of 25 088. A bidirectional LN-LSTM reads the seven.

    Departure from the paper:
        - Its text prints the pyramid's size as "1756167 * 7 *7 * 512": 7·7·7·512 = 175 616.
        - How 24×14×14 becomes 8×7×7 is not said: maximum over the window, as VGG's pool5.
        - The LSTM's units, and `cell`: as in frame-attention.
        - How the two directions become K scores is garbled: the last state of each, concatenated, through a linear
          layer (`readout = linear`, default); `readout = hidden` is the softmax of their sum, nearest to the paper.
        - The spatial kernels of MST-3D are in its figure alone: 1, 3, 5. So is pool4's place: after the first layer.
        - It trains everything end to end; here the maps are stored, and everything above them learns. The optimiser,
          the batch and the number of epochs are not named: as in Ou & Sun 2019.
        - Maps that are not 512×14×14 and 512×28×28 work too: the temporal maps are halved at pool4 only when they are
          at least twice as large as the spatial ones; what still differs is averaged down to the smallest; steps and
          sizes below 8 and 7 stay as they are. Equal layers for both streams are therefore fine.

    Args:
        shapes: stream -> `(N, C, H, W)`; the paper's `(24, 512, 14, 14)` for rgb and `(24, 512, 28, 28)` for flow. One
            stream or more, of equal N.
        num_classes: K.
        readout: see above.
        hidden: units of each direction; 0 is the paper's 101, with `readout = linear` K and at least 32.
        cell: what the LSTM normalises (see `layers.ln_lstm`).
        spatial: the stream without a temporal tail, by name; the first, if there is none of that name.
        reduce: channels of every stream after a learnt 1×1 convolution; 0 (the paper) keeps the spatial stream's.
        steps: time steps that enter the pyramid.
        size: height and width that enter the pyramid.
        fusion_start: "sum" or "random", see Fusion3d.
        dropout: between pyramid and LSTM.
        lstm_dropout: of the LSTM's output; with `cell = tensorflow` of its candidate, as there.

    Raises:
        UsageError: pooled layers, streams of different lengths, `readout=hidden` with fewer units than classes.
    """

    source: ClassVar[str] = "Ou & Sun (TPN-BiLSTM)"
    reads: ClassVar[Mapping[str, str]] = {"rgb": "conv5_3", "flow": "conv4_2", "*": "conv5_3"}
    # What the paper reads of one view; the recipes say what a store of it costs.
    paper_shapes: ClassVar[Shapes] = {"rgb": (24, 512, 14, 14), "flow": (24, 512, 28, 28)}

    def __init__(  # noqa: PLR0913 (one parameter an option)
        self,
        shapes: Shapes,
        num_classes: int,
        *,
        readout: Literal["linear", "hidden"] = "linear",
        hidden: NonNegativeInt = 0,
        cell: Cell = "gates+candidate",
        spatial: str = "",
        reduce: NonNegativeInt = 0,
        steps: PositiveInt = 8,
        size: PositiveInt = 7,
        fusion_start: Literal["sum", "random"] = "sum",
        dropout: Share = 0.5,
        lstm_dropout: Share = 0.25,
    ) -> None:
        super().__init__(shapes, num_classes)
        hidden = self.hidden_units(readout, hidden)
        self.readout, self.hidden = readout, hidden
        first = spatial if spatial in shapes else next(iter(shapes))
        frames, channels, height, width = shapes[first]
        channels = reduce or channels
        self.narrow, self.tails = nn.ModuleDict(), nn.ModuleDict()
        sizes = [(height, width)]
        for stream, shape in shapes.items():
            if stream == first or reduce:
                self.narrow[stream] = MatchChannels(shape[1], channels)
            if stream != first:
                pool = shape[2] >= 2 * height and shape[3] >= 2 * width
                self.tails[stream] = TemporalTail(reduce or shape[1], channels, pool=pool)
                sizes.append((shape[2] // 2, shape[3] // 2) if pool else (shape[2], shape[3]))
        self.map_size = (min(h for h, _ in sizes), min(w for _, w in sizes))
        self.fusion = Fusion3d(channels, streams=len(shapes), start=fusion_start)
        self.pyramid_size = (min(steps, frames), min(size, self.map_size[0]), min(size, self.map_size[1]))
        values = channels * self.pyramid_size[1] * self.pyramid_size[2]
        inside, outside = (lstm_dropout, 0.0) if cell == "tensorflow" else (0.0, lstm_dropout)
        self.dropout, self.lstm_dropout = nn.Dropout(dropout), nn.Dropout(outside)
        self.lstm = LayerNormLSTM(values, hidden, bidirectional=True, cell=cell, dropout=inside)
        self.classifier = nn.Linear(2 * hidden, num_classes) if readout == "linear" else nn.Identity()

    def keep(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The maps without a tail averaged down: a mean over positions may come before a 1×1 convolution."""
        return {s: array if s in self.tails else shrink(array, self.map_size) for s, array in features.items()}

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits `(B, K)` as "fused"."""
        maps = []
        for stream in self.streams:
            array = self.tails[stream](features[stream]) if stream in self.tails else features[stream]
            maps.append(shrink(array, self.map_size))
        fused = self.fusion(maps)  # (B, N, C, H, W)
        pooled = F.adaptive_max_pool3d(fused.transpose(1, 2), self.pyramid_size).transpose(1, 2)  # (B, 8, C, 7, 7)
        spans = temporal_pyramid(pooled).flatten(2)  # (B, 7, C·7·7)
        _, last = self.lstm(self.dropout(spans))  # (B, 2·hidden)
        last = self.lstm_dropout(last)
        if self.readout == "hidden":
            last = self.read_units(torch.stack(last.split(self.hidden, dim=-1)).sum(0))
        return {"fused": self.classifier(last)}


HEAD = TemporalPyramid
