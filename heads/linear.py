"""`linear`: mean over segments, one linear layer, one network a stream.

The baseline of one stream alone: the 'Appear.' and 'Motion' columns of STFN table 5 and STILT table 4.
"""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from avr.core import Share
from avr.training import Training

from ._base import Head, Shapes, width_of
from ._features import over_segments


class Linear(Head):
    """Mean over segments (and positions, of a map or tokens), then one linear layer: K (D + 1) parameters."""

    source = "baseline"
    joint = False
    defaults = Training(optimizer="lbfgs", epochs=200, batch_size=0, views="all", schedule="constant")
    # STFN sec. 4.2, of its two-stream ConvNets: momentum 0.9, batch 32, 1e-3 × 0.1 when the validation error saturates.
    paper = Training(
        epochs=120,
        batch_size=32,
        optimizer="sgd",
        lr=1e-3,
        momentum=0.9,
        schedule="plateau",
        min_lr=1e-5,
        validation=0.1,
        standardise=False,
    )

    def __init__(self, shapes: Shapes, num_classes: int, *, dropout: Share = 0.0) -> None:
        """Build the layer.

        Args:
            shapes: the one stream's shape, `(N, D)`, `(N, P, D)` or `(N, C, H, W)`.
            num_classes: K.
            dropout: share of the mean feature's values dropped in training.
        """
        super().__init__(shapes, num_classes)
        ((self.stream, shape),) = self.shapes.items()
        self.dropout = dropout
        self.classifier = nn.Linear(width_of(shape), num_classes)

    def keep(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean, `(B, 1, D)`."""
        return {stream: over_segments(array) for stream, array in features.items()}

    def linear_layers(self) -> dict[str, nn.Linear]:
        """The layer, where nothing is dropped."""
        return {} if self.dropout else {self.stream: self.classifier}

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits `(B, K)` under the stream's name, of its mean feature `(B, 1, D)`."""
        mean = features[self.stream].squeeze(1)  # (B, D)
        return {self.stream: self.classifier(F.dropout(mean, self.dropout, self.training))}


HEAD = Linear
