"""STILT: streams that guide one another's attention (Liu et al. 2022, section 3.2)."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from avr.core import PositiveInt, Share
from avr.training import Training

from ._base import Head, Shapes, fuse_probabilities, width_of
from ._features import lay_out, over_positions, positions_of


class CoAttentionOperation(nn.Module):
    """The attention operation A(K; g) over the items of one stream (eq. 1-3).

    `H = tanh(W_k K + (W_g g) 1ᵀ)`, `a = softmax(w_hkᵀ H)`, `O = Σ a_i k_i`.

    The paper states no biases, and there are none.

    Args:
        width: D of an item k_i.
        guide_width: D of the guidance g.
        hidden: rows of W_k and W_g.
    """

    def __init__(self, width: int, guide_width: int, *, hidden: int = 512) -> None:
        super().__init__()
        self.items = nn.Linear(width, hidden, bias=False)  # W_k
        self.guide = nn.Linear(guide_width, hidden, bias=False)  # W_g
        self.score = nn.Linear(hidden, 1, bias=False)  # w_hk

    def forward(self, items: Tensor, guidance: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attend to items `(B, n, D)`, guided by `(B, guide_width)`; None is the paper's g = 0.

        Returns:
            attended: O, `(B, D)`.
            weights: a, `(B, n)`, summing to 1.
        """
        hidden = self.items(items)  # (B, n, hidden)
        if guidance is not None:
            hidden = hidden + self.guide(guidance)[:, None]
        weights = torch.softmax(self.score(torch.tanh(hidden)).squeeze(-1), dim=1)  # (B, n)
        return torch.einsum("bn,bnd->bd", weights, items), weights


class CoAttention(Head):
    """Alternating co-attention: each stream's summary guides the attention over the next stream's items.

    Steps for S streams (paper: spatial, then temporal): summarise the first stream (g = 0), attend to the second guided
    by that, …, and at last to the first again, guided by the last. Each stream's attended vector goes through its own
    readout, linear 512 → linear 1024 → K, with a softmax of its own; the loss is the sum of the streams'
    cross-entropies; the fused prediction is the mean of their softmax scores ("late average fusion" of tables 4 and 5;
    the paper's adaptive weights are `avr fuse awf`).

    Departure from the paper:
        - Table 3 prints the readout as "2048 → 512" and "512 × 1024"; it is read as above. ReLU between the layers,
          which the paper does not mention: without it they would be one linear layer.
        - The items are not defined. `over = segments` (default): the N segments' pooled vectors. `positions`: the H·W
          positions (or the tokens) of one segment, the attended vectors then averaged over segments ("in frame h, the
          spatial features S = {S_1 … S_n}"). `both`: all N·H·W positions.
        - Algorithm 1 starts from uniform weights and repeats until the loss converges, which mixes inference and
          training: `start = uniform` and `rounds` give its forward pass.
        - One set of W_k, W_g, w_hk a stream, used at each of its turns; more than two streams alternate round the ring.

    Args:
        shapes: stream -> `(N, D)`, or `(N, P, D)` or `(N, C, H, W)`, which `over = segments` averages over positions.
            The paper's: ResNet-50, 2048 wide, at least two streams.
        num_classes: K.
        start: "attend": the first summary is A(S; 0), section 3.2's step 1; "uniform": the mean, Algorithm 1's line 1.
        rounds: how often the alternation goes round the streams (Algorithm 1's repeat).
        over: what attention chooses among (see above).
        hidden: rows of W_k and W_g.
        reduced: width of the readout's first layer.
        expanded: width of its second.
        dropout: of the attended vector and of both readout layers; the paper has none (0).

    Raises:
        UsageError: fewer than two streams, or `over` needs maps and the store's layer is pooled.
    """

    source: ClassVar[str] = "Liu et al. 2022 (STILT)"
    streams_min: ClassVar[int] = 2
    # What the paper reads of one view; the recipes say what a store of it costs.
    paper_shapes: ClassVar[Shapes] = {"rgb": (7, 2048), "flow": (7, 2048)}
    defaults: ClassVar[Training] = Training(epochs=30, min_steps=400, lr=3e-4, weight_decay=0.01)
    paper: ClassVar[Training] = Training(
        steps=50_000,
        batch_size=128,
        optimizer="sgd",
        lr=1e-3,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="step",
        drop_every=10_000,  # 5 000 on HMDB51, which its recipes set
        drop_unit="steps",
        standardise=False,
    )
    end_to_end = paper  # the paper trains all at once

    def __init__(  # noqa: PLR0913 (one parameter an option)
        self,
        shapes: Shapes,
        num_classes: int,
        *,
        start: Literal["attend", "uniform"] = "attend",
        rounds: PositiveInt = 1,
        over: Literal["segments", "positions", "both"] = "segments",
        hidden: PositiveInt = 512,
        reduced: PositiveInt = 512,
        expanded: PositiveInt = 1024,
        dropout: Share = 0.0,
    ) -> None:
        super().__init__(shapes, num_classes)
        if over != "segments":
            self.require_maps(shapes, or_tokens=True)
        if over == "positions":
            self.require_same_length(shapes)
        self.start, self.rounds, self.over = start, rounds, over
        widths = [width_of(shape) for shape in shapes.values()]
        self.operations, self.readouts = nn.ModuleDict(), nn.ModuleDict()
        for stream, width, guide in zip(shapes, widths, [widths[-1], *widths], strict=False):
            self.operations[stream] = CoAttentionOperation(width, guide, hidden=hidden)  # the stream before guides it
        for stream, width in zip(shapes, widths, strict=True):
            first, second, last = (
                nn.Linear(width, reduced),
                nn.Linear(reduced, expanded),
                nn.Linear(expanded, num_classes),
            )
            between = [layer for wide in (first, second) for layer in (nn.Dropout(dropout), wide, nn.ReLU())]
            self.readouts[stream] = nn.Sequential(*between, nn.Dropout(dropout), last)

    def keep(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean over positions, where none is chosen among them."""
        if self.over != "segments":
            return dict(features)
        return {stream: over_positions(array) for stream, array in features.items()}

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits `(B, K)` of each stream, and "fused", the log of their mean probability."""
        outputs = {stream: self.readouts[stream](vector) for stream, vector in self.vectors(features).items()}
        return outputs | {"fused": fuse_probabilities(outputs)}

    def vectors(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The attended vectors ŝ, t̂ by stream, `(B, D)`: what early fusion (table 5) concatenates."""
        attended, _ = self.alternate(self.items(features))
        B = next(iter(features.values())).shape[0]
        # positions: one vector a segment
        return {stream: vector.view(B, -1, vector.shape[-1]).mean(1) for stream, vector in attended.items()}

    def loss(self, outputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Sum of the streams' cross-entropies: two softmax loss layers (section 3.1)."""
        return torch.stack([self.cross_entropy(outputs[stream], labels) for stream in self.streams]).sum()

    def attention(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Final weights by stream: `(B, N)` over segments, or `(B, N, H, W)`; they sum to 1 over the items."""
        _, weights = self.alternate(self.items(features))
        if self.over == "segments":
            return {stream: weights[stream] for stream in self.streams}
        return {stream: lay_out(weights[stream], features[stream]) for stream in self.streams}

    def items(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What attention chooses among, `(B, n, D)` by stream; with `positions` a row is a segment, `(B·N, P, D)`."""
        items = {}
        for stream in self.streams:
            array = features[stream]
            if self.over == "segments":
                items[stream] = array
                continue
            positions = positions_of(array)  # (B, N, P, D)
            items[stream] = positions.flatten(0, 1) if self.over == "positions" else positions.flatten(1, 2)
        return items

    def alternate(self, items: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Go round the streams and let each guide the next.

        Args:
            items: stream -> `(B, n, D)`.

        Returns:
            attended: stream -> `(B, D)`.
            weights: stream -> `(B, n)`.
        """
        first, *others = self.streams
        if self.start == "attend":
            guidance, _ = self.operations[first](items[first], None)
        else:
            guidance = items[first].mean(1)
        attended, weights = {}, {}
        for _ in range(self.rounds):
            for stream in (*others, first):
                guidance, weights[stream] = self.operations[stream](items[stream], guidance)
                attended[stream] = guidance
        return {stream: attended[stream] for stream in self.streams}, weights


HEAD = CoAttention
