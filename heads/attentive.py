"""`attentive`: the attentive probe by which frozen encoders are judged, one network a stream.

Bardes et al., Revisiting Feature Prediction for Learning Visual Representations from Video (V-JEPA, 2024), attentive
probing: one block of cross-attention from a learned query, after the attentive probe of Chen et al. (CAE, 2022).
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avr.core import NonNegativeInt, PositiveInt, Share
from avr.training import Training

from ._base import Head, Shapes, width_of
from ._features import lay_out, positions_of

MLP_RATIO = 4  # units of the MLP a channel
DEVIATION, AT_WIDTH = 0.02, 1024  # of the paper's weights at the start, at ViT-L's width


class QueryAttention(nn.Module):
    """Multi-head cross-attention of one learned query q over items x: `W_o concat_h(Σ_i a_hi W_v,h x_i)`.

    `a_h = softmax_i((W_q q)_h · (W_k x_i)_h / √d)`, d = D / heads.

    As the query is the same for every video, `W_kᵀ W_q q` is a vector a head, and as weights sum to one, W_v goes on
    the weighted mean of the items: a video costs 2·heads·D multiply-adds an item instead of 2·D², for the same result.
    A bias of the keys cancels in the softmax: there is none.

    Args:
        width: D.
        heads: a divisor of D.
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)  # W_q
        self.key = nn.Linear(width, width, bias=False)  # W_k
        self.value = nn.Linear(width, width)  # W_v
        self.out = nn.Linear(width, width)  # W_o

    def forward(self, query: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Attend with a query `(D,)` to items `(B, n, D)`: `(B, D)`, and the weights `(B, heads, n)`."""
        D = len(query)
        keys, values = (layer.weight.view(self.heads, -1, D) for layer in (self.key, self.value))  # (heads, d, D)
        asked = torch.einsum("hd,hdc->hc", self.query(query).view(self.heads, -1), keys)
        scores = torch.einsum("bnc,hc->bhn", items, asked / math.sqrt(keys.shape[1]))
        weights = torch.softmax(scores, dim=-1)
        means = torch.einsum("bhn,bnc->bhc", weights, items)
        attended = torch.einsum("bhc,hdc->bhd", means, values).flatten(1) + self.value.bias
        return self.out(attended), weights


class Attentive(Head):
    """One learned query attends to all segments, positions or tokens of a video; an MLP and a linear layer read it.

    One block, as V-JEPA's code has it: `z = q + attention(q, norm(x))`, `z = z + MLP(norm(z))`, the MLP of width 4 D
    with a GELU, layer norm before each; class scores are a linear layer of z. Reads any layer: `pooled` vectors of
    segments, positions of a `map`, `tokens`. A network a stream: a stream's row is then the same whatever is read
    beside it, which judges its encoder; "average" and `avr fuse` put the streams together.

    Departure from the paper: features come from a store, standardised; V-JEPA draws other frames in each epoch.
    Its probes are as wide as the encoder, with as many attention heads as it has (16 of ViT-L and ViT-H), and have no
    dropout: `width=0`, `heads`, `dropout=0`. Weights of other widths than ViT-L's start as large a product.
    """

    source = "Bardes et al. 2024, V-JEPA"
    joint = False
    # Chosen roughly, by grouped folds of JHMDB's 342 training clips: steps of 1e-3 overfit these within tens of steps.
    defaults = Training(epochs=30, min_steps=100, batch_size=128, lr=1e-4, weight_decay=0.1, label_smoothing=0.1)
    # Its released configurations.
    paper = Training(epochs=20, batch_size=256, lr=1e-3, weight_decay=0.01, standardise=False)

    def __init__(
        self,
        shapes: Shapes,
        num_classes: int,
        *,
        heads: PositiveInt = 16,
        width: NonNegativeInt = 512,
        dropout: Share = 0.5,
    ) -> None:
        """Build the probe.

        Args:
            shapes: the one stream's shape, `(N, D)`, `(N, P, D)` or `(N, C, H, W)`.
            num_classes: K.
            heads: of the attention, at most: the largest number up to it that divides the width.
            width: of the block, at most; wider features are projected. 0 is the paper's, theirs.
            dropout: share of the items' values dropped in training, and of what the last layer reads; the paper has 0.
        """
        super().__init__(shapes, num_classes)
        ((self.stream, shape),) = self.shapes.items()
        self.dropout = dropout
        stored = width_of(shape)
        width = min(width or stored, stored)
        self.project = nn.Linear(stored, width) if width != stored else nn.Identity()
        self.query = nn.Parameter(torch.empty(width))
        self.norm_items, self.norm_attended = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend_to = QueryAttention(width, heads=max(h for h in range(1, heads + 1) if width % h == 0))
        self.expand, self.contract = nn.Linear(width, MLP_RATIO * width), nn.Linear(MLP_RATIO * width, width)
        self.classifier = nn.Linear(width, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as V-JEPA's code does: normal weights and no biases, narrower by √2 where a residual branch ends."""
        nn.init.trunc_normal_(self.query, std=DEVIATION)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=DEVIATION * math.sqrt(AT_WIDTH / layer.in_features))
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.attend_to.out.weight.div_(math.sqrt(2))
            self.contract.weight.div_(math.sqrt(2))

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits `(B, K)` under the stream's name, of its features."""
        attended, _ = self.look(features)
        read = self.query + attended
        read = read + self.contract(F.gelu(self.expand(self.norm_attended(read))))  # (B, width)
        return {self.stream: self.classifier(F.dropout(read, self.dropout, self.training))}

    def attention(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights by stream, the mean over attention heads: `(B, N, H, W)` of maps, else `(B, N)`; they sum to 1."""
        _, weights = self.look(features)
        return {self.stream: lay_out(weights.mean(dim=1), features[self.stream])}

    def look(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What the query gets of its items, `(B, width)`, and the weights `(B, heads, n)`."""
        items = positions_of(features[self.stream]).flatten(1, 2)  # (B, n, D)
        items = self.norm_items(self.project(F.dropout(items, self.dropout, self.training)))
        found: tuple[Tensor, Tensor] = self.attend_to(self.query, items)
        return found


HEAD = Attentive
