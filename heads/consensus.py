"""`consensus`: TSN's segmental consensus, one network a stream.

Wang et al., Temporal Segment Networks (ECCV 2016): each segment gets class scores from one shared linear layer, and a
consensus over segments, taken before the softmax, gives the video's.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avr.core import Share
from avr.training import Training

from ._base import Head, Shapes, width_of
from ._features import over_positions, over_segments


class Consensus(Head):
    """Per-segment linear scores, then a consensus over the N segments.

    With `over="average"` and no dropout this is the same function as `linear`, because a mean passes through a linear
    layer. It differs by its dropout, which TSN draws anew for every segment, and by the other two consensus functions.
    """

    source = "Wang et al. 2016, TSN"
    joint = False
    # By inner folds of three training parts (benchmarks/RESULTS.md, "Heads on three real data sets").
    defaults = Training(epochs=30, min_steps=200, batch_size=128, lr=1e-2, weight_decay=0.3)
    paper = Training(
        steps=4500, batch_size=128, optimizer="sgd", lr=1e-3, schedule="step", drop_every=2000, drop_unit="steps"
    )

    def __init__(
        self,
        shapes: Shapes,
        num_classes: int,
        *,
        over: Literal["average", "maximum", "weighted"] = "average",
        dropout: Share = 0.5,
    ) -> None:
        """Build the layer.

        Args:
            shapes: the one stream's shape, `(N, D)`, `(N, P, D)` or `(N, C, H, W)`.
            num_classes: K.
            over: consensus function g of TSN: evenly averaging, maximum, or a learned weight a segment (N more
                parameters, which start even).
            dropout: share of each segment's values dropped in training.
        """
        super().__init__(shapes, num_classes)
        ((self.stream, shape),) = self.shapes.items()
        self.over, self.dropout = over, dropout
        self.classifier = nn.Linear(width_of(shape), num_classes)
        if over == "weighted":
            self.weights = nn.Parameter(torch.full((shape[0],), 1 / shape[0]))

    def keep(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean over positions; over segments too, if they are averaged as they are."""
        mean = over_segments if self.over == "average" and not self.dropout else over_positions
        return {stream: mean(array) for stream, array in features.items()}

    def linear_layers(self) -> dict[str, nn.Linear]:
        """The layer, where segments are averaged as they are."""
        return {self.stream: self.classifier} if self.over == "average" and not self.dropout else {}

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits `(B, K)` under the stream's name, of its segments `(B, N, D)`."""
        segments = F.dropout(features[self.stream], self.dropout, self.training)
        scores = self.classifier(segments)  # (B, N, K)
        if self.over == "maximum":
            return {self.stream: scores.amax(dim=1)}  # (B, K)
        if self.over == "weighted":
            return {self.stream: torch.einsum("bnk,n->bk", scores, self.weights.to(scores.dtype))}
        return {self.stream: scores.mean(dim=1)}


HEAD = Consensus
