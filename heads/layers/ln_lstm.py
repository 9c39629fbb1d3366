"""LSTM whose gates are layer-normalised, in one or two directions.

Source: Ou & Sun 2019, section 3.3 (eq. 3-6), and Ou & Sun, TPN-BiLSTM, section 3.4; the normalisation itself is Ba,
Kiros & Hinton 2016. The equations are labelled BN and speak of samples, the text and the titles of layer normalisation:
avr normalises over the units of a gate, so that a video's result does not depend on its batch.

What is normalised is a choice (`Cell`): the text names the inputs of the sigmoids alone (`printed`); TensorFlow's
LayerNormBasicLSTMCell, the papers' framework, all four and the new cell state too (`tensorflow`), as Ba et al. do;
`gates+candidate` all four.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Cell = Literal["gates+candidate", "printed", "tensorflow"]
CANDIDATE = 2
GATES = 4  # input, forget, candidate, output: torch.nn.LSTM's order


class LayerNormLSTM(nn.Module):
    """A sequence `(B, N, D)` to its hidden states `(B, N, hidden)`, or `(B, N, 2·hidden)` in two directions.

    With z = W x + U h + b, cut into the four gates' parts, and LN over the units of one part:
    `i = σ(LN(z_i))`, `f = σ(LN(z_f))`, `g = tanh(LN(z_g))`, `o = σ(LN(z_o))`, `c = f c + i g`, `h = o tanh(c)`;
    `printed`: `g = tanh(z_g)`; `tensorflow`: `c = LN(f c + i g)`, which is carried on.
    The inputs of all steps and both directions are projected in one matrix product; only `U h` is left to the scan.

    Args:
        input_size: D.
        hidden_size: units of one direction.
        bidirectional: also read the sequence from its end; the states of both directions at a step are concatenated.
        cell: see above.
        dropout: of the candidate g in training, drawn anew at each step, as TensorFlow's cell has it.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bidirectional: bool = False,
        cell: Cell = "gates+candidate",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.hidden_size, self.cell, self.dropout = hidden_size, cell, dropout
        self.directions = 2 if bidirectional else 1
        width = GATES * hidden_size
        self.input_weight = nn.Parameter(torch.empty(self.directions * width, input_size))
        self.hidden_weight = nn.Parameter(torch.empty(self.directions, width, hidden_size))
        # b of z is left out: the normalisation removes what is common to a gate, and its own shift does the rest.
        norms = GATES + (cell == "tensorflow")
        self.scale = nn.Parameter(torch.empty(self.directions, norms, hidden_size))
        self.shift = nn.Parameter(torch.empty(self.directions, norms, hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot for the inputs, orthogonal for the states, scale 1, shift 0 and 1 for the forget gate."""
        with torch.no_grad():
            for block in self.input_weight.chunk(self.directions * GATES):
                nn.init.xavier_uniform_(block)
            for block in self.hidden_weight.view(-1, self.hidden_size, self.hidden_size):
                nn.init.orthogonal_(block)
            nn.init.ones_(self.scale)
            nn.init.zeros_(self.shift)
            self.shift[:, 1] = 1.0  # gates open at first, so that gradients reach the first step

    def forward(self, sequence: Tensor) -> tuple[Tensor, Tensor]:
        """Run over the sequence.

        Returns:
            states: `(B, N, directions·hidden)`, both directions aligned in time.
            last: `(B, directions·hidden)`, each direction's state after its whole reading (the backward one's stands at
            the first step).
        """
        B, N, _ = sequence.shape
        projected = F.linear(sequence, self.input_weight)  # (B, N, directions·4·hidden)
        projected = projected.view(B, N, self.directions, -1).permute(2, 1, 0, 3)  # (directions, N, B, 4·hidden)
        if self.directions == 2:
            projected = torch.stack([projected[0], projected[1].flip(0)])  # both are now read from index 0
        recurrent = self.hidden_weight.transpose(1, 2)  # (directions, hidden, 4·hidden)
        hidden = sequence.new_zeros(self.directions, B, self.hidden_size)
        cell = torch.zeros_like(hidden)
        states = []
        for step in range(N):
            hidden, cell = self._step(projected[:, step] + torch.bmm(hidden, recurrent), cell)
            states.append(hidden)
        aligned = torch.stack(states, dim=2)  # (directions, B, N, hidden)
        if self.directions == 2:
            aligned = torch.stack([aligned[0], aligned[1].flip(1)])
        return aligned.permute(1, 2, 0, 3).reshape(B, N, -1), hidden.transpose(0, 1).reshape(B, -1)

    def _step(self, pre_activation: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """One step from `W x + U h` `(directions, B, 4·hidden)` and the cell `(directions, B, hidden)`."""
        gates = pre_activation.view(*cell.shape[:2], GATES, self.hidden_size)  # (directions, B, 4, hidden)
        scale, shift = self.scale[:, None, :GATES], self.shift[:, None, :GATES]
        normed = F.layer_norm(gates, (self.hidden_size,)) * scale + shift
        enter, forget, candidate, leave = normed.unbind(2)
        if self.cell == "printed":
            candidate = gates[:, :, CANDIDATE] + shift[:, :, CANDIDATE]  # the shift is b of z then
        candidate = torch.tanh(candidate)
        if self.dropout:
            candidate = F.dropout(candidate, self.dropout, self.training)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * candidate
        if self.cell == "tensorflow":
            cell = F.layer_norm(cell, (self.hidden_size,)) * self.scale[:, None, GATES] + self.shift[:, None, GATES]
        return torch.sigmoid(leave) * torch.tanh(cell), cell
