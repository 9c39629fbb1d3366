"""`statistics-pooling`: mean and change over segments, one logistic regression a stream, their product.

Snyder et al., X-Vectors (ICASSP 2018): a sequence by the first two statistics of its items; Perronnin et al., Improving
the Fisher Kernel (ECCV 2010): signed square roots of pooled features. Here the second statistic is the mean absolute
change from a segment to the next, which knows their order.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avr.store import FUSED
from avr.training import Training

from ._base import Head, Shapes, width_of
from ._features import over_positions

TINY = 1e-12  # the root of 0 has no gradient, which training end to end would end on


class StatisticsPooling(Head):
    """Of each stream `[√ mean_n x_n, √ mean_n |x_{n+1} − x_n|]` (√ keeps the sign), one linear layer, and the product.

    "fused" is the product of the streams' probabilities, which makes up for what either stream is unsure of. Streams
    are fitted each by itself, with a weight decay of its own: one layer on all of them together did worse on inner
    folds of every data set that was tried (benchmarks/RESULTS.md).
    """

    source = "after Snyder et al. 2018"
    defaults = Training(optimizer="lbfgs", epochs=200, batch_size=0, views="all", schedule="constant")
    paper = defaults

    def __init__(self, shapes: Shapes, num_classes: int) -> None:
        """Build the layers.

        Args:
            shapes: of each stream, `(N, D)`, `(N, P, D)` or `(N, C, H, W)`; N may be 1, and nothing changes then.
            num_classes: K.
        """
        super().__init__(shapes, num_classes)
        self.classifiers = nn.ModuleDict(
            {stream: nn.Linear(2 * width_of(shape), num_classes) for stream, shape in self.shapes.items()}
        )

    def keep(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean over positions."""
        return {stream: over_positions(array) for stream, array in features.items()}

    def standardise(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As they are, for their roots; what the layers read of them is standardised where these are solved."""
        layers = self.linear_layers()
        return {stream: features[stream].to(layers[stream].weight.dtype) for stream in self.streams}

    def linear_inputs(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The statistics, `(B, 2 D)`, of segments `(B, N, D)`."""
        found = {}
        for stream in self.streams:
            segments = features[stream]
            change = segments.diff(dim=1).abs().sum(dim=1) / max(segments.shape[1] - 1, 1)
            pooled = torch.cat([segments.mean(dim=1), change], dim=1)
            found[stream] = pooled.sign() * (pooled.abs() + TINY).sqrt()
        return found

    def linear_layers(self) -> dict[str, nn.Linear]:
        """One a stream."""
        return dict(self.classifiers.items())  # type: ignore[arg-type]

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits `(B, K)` by stream and their product "fused", of segments `(B, N, D)`."""
        outputs = {stream: self.classifiers[stream](vector) for stream, vector in self.linear_inputs(features).items()}
        product = torch.stack([F.log_softmax(scores.float(), dim=-1) for scores in outputs.values()]).mean(dim=0)
        return outputs | {FUSED: F.log_softmax(product, dim=-1)}

    def loss(self, outputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Sum of the streams' cross-entropies."""
        return torch.stack([self.cross_entropy(outputs[stream], labels) for stream in self.streams]).sum()


HEAD = StatisticsPooling
