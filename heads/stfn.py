"""`stfn`: Spatio-Temporal Fusion Network (Cho & Foroosh), on the segments' pooled vectors of two or more streams.

Each stream's segments pass a Residual Inception block over time, the streams are fused, and the fused sequences pass a
second block each; the readouts' softmax scores are added (eq. 1, figures 2 to 5).
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avr.core import NonNegativeInt, PositiveFloat, PositiveInt, Share, UsageError
from avr.training import Training

from ._base import Head, Shapes, fuse_probabilities, spread_segments, width_of
from ._features import over_positions


class ShiftedProducts(torch.autograd.Function):
    """The convolution of SameConv as a matrix product a tap: over so few segments four times as fast on a CPU.

    Every product takes only segments whose neighbour of that tap lies in the sequence, and is added in place.
    """

    @staticmethod
    def forward(ctx: Any, sequence: Tensor, taps: Tensor) -> Tensor:
        """`(N, B, width)` and `(k, out, width)` to `(N, B, out)`."""
        ctx.save_for_backward(sequence, taps)
        made = sequence.new_zeros(*sequence.shape[:2], taps.shape[1])
        for tap, seen, reached in shifts(len(taps), len(sequence)):
            made[reached].flatten(0, 1).addmm_(sequence[seen].flatten(0, 1), taps[tap].T)
        return made

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor]:  # type: ignore[override]
        """Of the sequence, unless it is data, and of the taps."""
        sequence, taps = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_sequence = torch.zeros_like(sequence) if ctx.needs_input_grad[0] else None
        of_taps = torch.zeros_like(taps)
        for tap, seen, reached in shifts(len(taps), len(sequence)):
            rows = gradient[reached].flatten(0, 1)
            torch.mm(rows.T, sequence[seen].flatten(0, 1), out=of_taps[tap])
            if of_sequence is not None:
                of_sequence[seen].flatten(0, 1).addmm_(rows, taps[tap])
        return of_sequence, of_taps


def shifts(kernel: int, length: int) -> Iterator[tuple[int, slice, slice]]:
    """Taps that see more than padding; of each which segments it sees, and which ones' results they go to."""
    for tap in range(kernel):
        ahead = tap - (kernel - 1) // 2
        if abs(ahead) < length:
            yield tap, slice(max(ahead, 0), length + min(ahead, 0)), slice(max(-ahead, 0), length - max(ahead, 0))


class SameConv(nn.Module):
    """1-D convolution over time, length kept, then batch norm; conv_b of figure 3 without its ReLU.

    An even kernel k cannot be centred: k/2 - 1 zeros go before the first segment and k/2 behind the last, so that a
    kernel of 2 sees a segment and the one after it. (The paper does not say; TensorFlow's 'same' does this.)
    """

    def __init__(self, width: int, out: int, *, kernel: int) -> None:
        super().__init__()
        # Batch norm takes the mean away: a bias would do nothing.
        self.conv = nn.Conv1d(width, out, kernel, bias=False)
        # Of torch's shape (out, width, k), but in memory a matrix a tap, so that taking the taps apart copies nothing.
        self.conv.weight.data = self.conv.weight.data.permute(2, 0, 1).contiguous().permute(1, 2, 0)
        self.norm = nn.BatchNorm1d(out)

    def forward(self, sequence: Tensor) -> Tensor:
        """`(N, B, width)` to `(N, B, out)`."""
        if sequence.is_cuda:  # where autocast chooses the arithmetic
            (kernel,) = self.conv.kernel_size
            padded = F.pad(sequence.permute(1, 2, 0), ((kernel - 1) // 2, kernel // 2))
            made = self.conv(padded).permute(2, 0, 1)
        else:
            made = ShiftedProducts.apply(sequence.contiguous(), self.conv.weight.permute(2, 0, 1))
        normed: Tensor = self.norm(made.flatten(0, 1))  # over the N·B rows
        return normed.view(*made.shape)


class ResInc(nn.Module):
    """Residual Inception block (section 3.2, figure 3, eq. 3): `(N, B, D)` to `(N, B, D)`, and more widths with `out`.

    A convolution a kernel size, each to D/4 channels (D over the number of kernels), with batch norm and ReLU,
    concatenated to D; plus a skip convolution D to D with batch norm and no ReLU; ReLU of the sum. Where D is not a
    multiple of the number of kernels, the first ones get a channel more.
    """

    def __init__(
        self,
        width: int,
        *,
        out: int = 0,
        kernels: Sequence[int] = (2, 3, 4, 5),
        skip: int = 2,
        bottleneck: int = 0,
    ) -> None:
        """Build the block.

        Args:
            width: D of the input.
            out: D of the output; 0 is as the input.
            kernels: kernel sizes of the inception branches.
            skip: kernel size of the skip convolution; 0 adds the input itself (then `out` must be `width`).
            bottleneck: channels after a convolution of kernel 1, with batch norm and ReLU, before each inception
                branch; 0 has none.
        """
        super().__init__()
        out = out or width
        share, more = divmod(out, len(kernels))
        self.branches = nn.ModuleList(
            SameConv(bottleneck or width, share + (index < more), kernel=kernel) for index, kernel in enumerate(kernels)
        )
        self.reduced = nn.ModuleList(SameConv(width, bottleneck, kernel=1) for _ in kernels if bottleneck)
        self.skip = SameConv(width, out, kernel=skip) if skip else nn.Identity()

    def forward(self, sequence: Tensor) -> Tensor:
        """`(N, B, width)` to `(N, B, out)`."""
        seen = [F.relu(reduce(sequence)) for reduce in self.reduced] or [sequence] * len(self.branches)
        made = [F.relu(branch(given)) for branch, given in zip(self.branches, seen, strict=True)]
        inception = torch.cat(made, dim=2)  # (N, B, out)
        return F.relu(inception + self.skip(sequence))


class Scaling(nn.Module):
    """A signal times a learnt number, plus one: a 1×1 convolution of one channel; at first the signal itself."""

    def __init__(self) -> None:
        super().__init__()
        self.factor, self.shift = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))

    def forward(self, signal: Tensor) -> Tensor:
        return self.factor * signal + self.shift


class Stfn(Head):
    """STFN with every choice that tables 1 to 4 and the text of the paper vary; the paper's best row is the default.

    Designs (figure 4): `a` Res-Inc a stream, fusion, Res-Inc a stream; `b` without the second Res-Inc; `c` the streams'
    features concatenated, then one Res-Inc of width S·D.
    Readout: mean over time, linear, softmax, a stream; the softmax scores are added (eq. 1) and divided by S.

    Any S ≥ 2 streams. With two, `a<-m` fuses motion into appearance: the first stream (a) goes on with the fused
    sequence, the second (m) with its own; `a->m` is its mirror image; `both` gives each the fused one. With more, a is
    the first stream and m all the others: `a<-m` lets the first one go on with the fusion of all, `a->m` all others
    with the fusion of themselves and the first.

    Departure from the paper: dropout before the readout is an option (`dropout`), because the command's defaults are
    for small data sets; the paper has none. Streams of unequal width cannot be fused element-wise: those whose width
    differs from the first one's are brought to it by their first Res-Inc block (design c takes them as they are).
    """

    source = "Cho & Foroosh, STFN"
    streams_min = 2
    same_length = True
    defaults = Training(epochs=20, min_steps=60, batch_size=32, lr=1e-3, weight_decay=1e-2)
    # Section 4.2: RMSprop from 1e-4 to 1e-7, × 0.1 as the validation error saturates. Its batch of 32 is the two-stream
    # networks'; how many epochs a saturation takes, and the validation part, it does not say.
    paper = Training(
        epochs=200,
        batch_size=32,
        optimizer="rmsprop",
        lr=1e-4,
        schedule="plateau",
        min_lr=1e-7,
        patience=5,
        validation=0.1,
        standardise=False,
    )

    end_to_end_tuning: ClassVar[Mapping[str, Any]] = {"batch_norm": "local"}  # its second step fixes nothing

    def __init__(  # noqa: PLR0913 (what the paper's tables vary)
        self,
        shapes: Shapes,
        num_classes: int,
        *,
        design: Literal["a", "b", "c"] = "a",
        fusion: Literal["average", "maximum", "multiply", "weighted", "scaled"] = "average",
        weights: tuple[PositiveFloat, ...] | None = None,
        direction: Literal["both", "a<-m", "a->m"] = "both",
        segments: NonNegativeInt = 0,
        kernels: tuple[PositiveInt, ...] = (2, 3, 4, 5),
        skip: NonNegativeInt = 2,
        blocks: PositiveInt = 2,
        bottleneck: NonNegativeInt = 0,
        dropout: Share = 0.5,
    ) -> None:
        """Build the network.

        Args:
            shapes: stream -> `(N, D)`, or `(N, P, D)` or `(N, C, H, W)`, of which the mean over positions is taken.
            num_classes: K.
            design: figure 4 (table 1).
            fusion: eq. 4, 6 or 5 (table 2); of the text (section 4.3) `weighted`, the average by `weights`, and
                `scaled`, the average after each stream's signal was scaled and shifted by a learnt number each (a 1×1
                convolution of one channel). Design c concatenates instead and does not read it.
            weights: of each stream under `fusion = weighted`; the paper's are the accuracies of the streams' networks.
            direction: figure 5 (table 3); not read by design c.
            segments: N to use (table 4), evenly spread over the stored ones; 0 takes all.
            kernels: kernel sizes of the inception branches.
            skip: kernel size of the skip convolution; 0 adds the block's input itself.
            blocks: Res-Inc blocks that a stream passes in design a, one before the fusion and the others behind it
                (section 4.3: "from two to four").
            bottleneck: channels of a convolution of kernel 1 before each branch (section 3.2); 0 has none.
            dropout: share of the mean vector's values dropped before each readout, in training.

        Raises:
            UsageError: one stream alone, streams with unequal N, more segments than stored, not a weight a stream.
        """
        super().__init__(shapes, num_classes)
        self.chosen = spread_segments(next(iter(shapes.values()))[0], segments)
        self.design, self.fusion, self.direction, self.dropout = design, fusion, direction, dropout
        widths = [width_of(shape) for shape in self.shapes.values()]
        block = functools.partial(ResInc, kernels=kernels, skip=skip, bottleneck=bottleneck)
        self.weights = dict(zip(shapes, weights or (), strict=False))
        if (fusion == "weighted") != bool(weights) or len(weights or shapes) != len(shapes):
            raise UsageError(f"stfn fusion=weighted takes a weight a stream, such as weights=54,62, for {len(shapes)}")
        if design == "c":
            self.concatenated = block(sum(widths))
            self.readouts = nn.ModuleDict({"fused": nn.Linear(sum(widths), num_classes)})
            return
        if skip == 0 and len(set(widths)) > 1:
            raise UsageError("stfn skip=0 adds a block's input to its output: that needs streams of equal width")
        width = widths[0]
        self.first = nn.ModuleDict({s: block(d, out=width) for s, d in zip(shapes, widths, strict=True)})
        behind = blocks - 1 if design == "a" else 0
        later = {s: [block(width) for _ in range(behind)] for s in shapes if behind}
        self.second = nn.ModuleDict({s: made[0] if behind == 1 else nn.Sequential(*made) for s, made in later.items()})
        self.scales = nn.ModuleDict({s: Scaling() for s in shapes if fusion == "scaled"})
        self.readouts = nn.ModuleDict({s: nn.Linear(width, num_classes) for s in shapes})

    def keep(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean over positions."""
        return {stream: over_positions(array) for stream, array in features.items()}

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`(B, N, D)` a stream in; logits `(B, K)` a stream (not in design c) and "fused" log-probabilities out."""
        # time first, (N, B, D): a step's rows lie side by side
        sequences = {s: features[s].transpose(0, 1)[self.chosen].contiguous() for s in self.streams}
        if self.design == "c":
            mixed = self.concatenated(torch.cat(list(sequences.values()), dim=2))  # (N, B, S·D)
            return {"fused": self._read("fused", mixed)}
        dynamics = {stream: self.first[stream](sequence) for stream, sequence in sequences.items()}
        mixed = self._fuse(dynamics)
        if self.second:
            mixed = {stream: self.second[stream](sequence) for stream, sequence in mixed.items()}
        outputs = {stream: self._read(stream, sequence) for stream, sequence in mixed.items()}
        return outputs | {"fused": fuse_probabilities(outputs)}

    def _read(self, name: str, sequence: Tensor) -> Tensor:
        """H of eq. 1 before its softmax: mean over time and linear, `(N, B, D)` to `(B, K)`."""
        logits: Tensor = self.readouts[name](F.dropout(sequence.mean(dim=0), self.dropout, self.training))
        return logits

    def _fuse(self, dynamics: dict[str, Tensor]) -> dict[str, Tensor]:
        """G of eq. 1 (eq. 4 to 6) along the fusion direction (figure 5); `(N, B, D)` a stream in and out."""
        appearance, *motion = dynamics
        if self.direction == "a->m":
            injected = {s: self._mix({appearance: dynamics[appearance], s: dynamics[s]}) for s in motion}
            return {appearance: dynamics[appearance]} | injected
        fused = self._mix(dynamics)
        if self.direction == "a<-m":
            return {appearance: fused} | {stream: dynamics[stream] for stream in motion}
        return dict.fromkeys(dynamics, fused)

    def _mix(self, signals: Mapping[str, Tensor]) -> Tensor:
        if self.scales:
            signals = {stream: self.scales[stream](signal) for stream, signal in signals.items()}
        stacked = torch.stack(list(signals.values()))  # (S, N, B, D)
        if self.fusion == "weighted":
            weights = stacked.new_tensor([self.weights[stream] for stream in signals])
            return torch.einsum("s,snbd->nbd", weights / weights.sum(), stacked)
        if self.fusion in ("average", "scaled"):
            return stacked.mean(dim=0)
        return stacked.amax(dim=0) if self.fusion == "maximum" else stacked.prod(dim=0)


HEAD = Stfn
