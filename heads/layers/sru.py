"""Simple recurrent unit (Lei et al. 2018), in plain PyTorch, as GLKA uses it (Zheng et al. 2020, eq. 11-15).

The state of a step enters the next one element by element alone, so a layer is one matrix product for all steps and a
scan of multiplications: no compiled extension.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SRULayer(nn.Module):
    """One layer: `(B, N, D)` to `(B, N, hidden)`.

    `R̃ = W R`, `f = σ(W_f R + b_f)`, `r = σ(W_r R + b_r)`, `c_t = f_t c_{t−1} + (1 − f_t) R̃_t`,
    `h_t = r_t tanh(c_t) + (1 − r_t) R_t` (eq. 11-15), c_0 = 0.

    Departure from the paper: eq. 15 adds the input to the state, which needs equal widths; where they differ (512 or
    1024 in, 1024 hidden) the input is projected first, without a bias.

    Args:
        input_size: D.
        hidden_size: width of the state.
        dropout: share of the input's units that the matrix product does not see in training, the same units at every
            step; the highway sees all of them.
        rescale: the highway's input times √3 where it is not projected, which keeps the variance through the layers
            (Lei et al., section 3.2, for a bias of 0); eq. 15 has no factor.
    """

    def __init__(self, input_size: int, hidden_size: int, *, dropout: float = 0.0, rescale: bool = False) -> None:
        super().__init__()
        self.factor = 3**0.5 if rescale else 1.0
        self.input_size, self.hidden_size, self.dropout = input_size, hidden_size, dropout
        parts = 3 if input_size == hidden_size else 4  # R̃, f, r and, where the widths differ, the highway
        self.weight = nn.Parameter(torch.empty(parts * hidden_size, input_size))
        self.bias = nn.Parameter(torch.zeros(2, hidden_size))  # b_f, b_r
        for block in self.weight.chunk(parts):
            # Lei et al., section 3.4: variance 1/D keeps the scale of the input through the layers.
            nn.init.uniform_(block, -((3 / input_size) ** 0.5), (3 / input_size) ** 0.5)

    def forward(self, sequence: Tensor) -> Tensor:
        B, _, D = sequence.shape
        seen = sequence
        if self.training and self.dropout > 0:
            seen = sequence * F.dropout(sequence.new_ones(B, 1, D), self.dropout)
        parts = F.linear(seen, self.weight).chunk(len(self.weight) // self.hidden_size, dim=-1)  # of (B, N, hidden)
        forget = torch.sigmoid(parts[1] + self.bias[0])
        reset = torch.sigmoid(parts[2] + self.bias[1])
        highway = parts[3] if len(parts) == 4 else sequence if self.factor == 1 else self.factor * sequence
        entering = (1 - forget) * parts[0]
        cell = torch.zeros_like(entering[:, 0])
        cells = []
        for gate, new in zip(forget.unbind(1), entering.unbind(1), strict=True):
            cell = gate * cell + new
            cells.append(cell)
        return reset * torch.tanh(torch.stack(cells, dim=1)) + (1 - reset) * highway  # (B, N, hidden)


class SRU(nn.Module):
    """A stack of layers: `(B, N, D)` to the last layer's states `(B, N, hidden)`.

    Args:
        input_size: D.
        hidden_size: width of every layer's state.
        layers: how many.
        dropout, rescale: of each layer (see SRULayer).
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, layers: int = 3, dropout: float = 0.0, rescale: bool = False
    ) -> None:
        super().__init__()
        made = ((width, hidden_size) for width in [input_size, *[hidden_size] * (layers - 1)])
        self.layers = nn.ModuleList(SRULayer(*sizes, dropout=dropout, rescale=rescale) for sizes in made)

    def forward(self, sequence: Tensor) -> Tensor:
        for layer in self.layers:
            sequence = layer(sequence)
        return sequence
