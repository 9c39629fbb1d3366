"""GLKA: global pooling, statistic-based and learning-based attention as three streams (Zheng et al. 2020)."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avr.core import PositiveInt, Share
from avr.training import Training

from ._base import Head, Shapes, fuse_probabilities
from ._features import positions_of
from .layers import SRU

POOLED_BY = {"gp": ("gp",), "sa": ("sa",), "la": ("la",), "gs": ("gp", "sa"), "gl": ("gp", "la")}
Composite = Literal["concatenate", "max", "multiply", "average"]
COMPOSITES: dict[Composite, Callable[[Tensor, Tensor], Tensor]] = {
    "concatenate": lambda first, second: torch.cat([first, second], dim=-1),
    "max": torch.maximum,
    "multiply": torch.mul,
    "average": lambda first, second: (first + second) / 2,
}


def statistic_attention(maps: Tensor) -> Tensor:
    """T_SA (eq. 3-4): softmax over positions of M = Σ_c |F_c|². `(B, N, C, H, W)` to `(B, N, H, W)`; no parameters."""
    return over_map(energy_of(maps).sum(2)).to(maps.dtype)


def energy_of(maps: Tensor) -> Tensor:
    """|F|² of every value; Σ|F|² over 512 channels leaves the range of fp16."""
    wide = maps.to(torch.promote_types(maps.dtype, torch.float32))
    return wide * wide  # a CPU squares several times slower


def over_map(scores: Tensor) -> Tensor:
    """Softmax over the positions of each map, `(B, N, H, W)`."""
    return torch.softmax(scores.flatten(2), dim=2).view_as(scores)


class StatisticAttention(nn.Module):
    """T_SA with a learnt sharpness: softmax over positions of s · E / Ē. `(B, N, C, H, W)` to `(B, N, H, W)`.

    E is the mean of |F_c|² over the channels of a map as it is in the store, Ē that mean over the training videos, so
    that the maps' scale has no part; s starts at 1. The sum of eq. 3 puts all weight on one position of real maps; the
    authors' published code takes the mean over channels and learns its scale, as here.
    """

    mean_energy: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.ones(()))  # s
        self.register_buffer("mean_energy", torch.ones(()))  # Ē

    def forward(self, maps: Tensor) -> Tensor:
        energy = energy_of(maps).mean(2) / self.mean_energy
        return over_map(self.sharpness * energy).to(maps.dtype)


class LearnedAttention(nn.Module):
    """T_LA (eq. 6-7): softmax over positions of `W_1 tanh(W_0 f)`. `(B, N, C, H, W)` to `(B, N, H, W)`.

    Args:
        channels: C.
        hidden: rows of W_0, the paper's 128. The paper omits the biases from its formula "for simplicity": W_0 has one.
            W_1's would cancel in the softmax.
        bounded: another tanh behind W_1, which then has a bias, as in the authors' published code.
    """

    def __init__(self, channels: int, *, hidden: int = 128, bounded: bool = False) -> None:
        super().__init__()
        self.first = nn.Linear(channels, hidden)
        self.second = nn.Linear(hidden, 1, bias=bounded)
        self.bounded = bounded

    def forward(self, maps: Tensor) -> Tensor:
        B, N, _, H, W = maps.shape
        scores = self.second(torch.tanh(self.first(positions_of(maps)))).squeeze(-1)  # (B, N, H·W)
        scores = torch.tanh(scores) if self.bounded else scores
        return torch.softmax(scores, dim=2).view(B, N, H, W)


def weighted_sum(maps: Tensor, weights: Tensor) -> Tensor:
    """Σ over positions of weight × vector (eq. 5, 8): `(B, N, C, H, W)` and `(B, N, H, W)` to `(B, N, C)`."""
    return torch.einsum("bnchw,bnhw->bnc", maps, weights)


class AttentionStreams(Head):
    """Branches GP, SA, LA, or composites GS = [GP, SA] and GL = [GP, LA], each with its own SRU, fused at the softmax.

    A branch pools every map to a vector: GP by the mean (eq. 2), SA and LA by their attention's weighted sum (eq. 3-8);
    a composite joins two (eq. 9-10). Three SRU layers read the steps (eq. 11-15), a linear layer gives scores at each
    step, their mean goes through a softmax (eq. 16). The default is the early fusion model (GS + GL + GP)/3 (eq. 19);
    `branches=gp+sa+la` is the late fusion model (eq. 20), which has no composites and no regulariser.

    Loss (eq. 17-18): cross-entropy of the fused prediction, plus for GS and for GL
    `max(0, P_GP − P_att + margin)` on the probabilities of the true class, mean over the batch. Without composites the
    branches are models of their own whose scores are fused when they are finished (section IV-E): the loss is the sum
    of their cross-entropies, whose gradients do not meet, and under Adam each learns as if alone (`clip_norm` would tie
    them). `avr fuse maximum` and `multiply` of their outputs are the paper's other two forms of score fusion.

    Departure from the paper:
        - It trains in stages (table II: convolutions and attention "well-trained" before, then frozen); here the maps
          are stored, so nothing below the attention learns, and attention and recurrence learn together.
        - Table IV regularises GS or GL alone, against a GP model trained before: without `gp` among the branches, a GP
          branch is trained beside them by its own cross-entropy; no gradient of the regulariser reaches it, and it has
          no part in the prediction.
        - `regularise` says nothing to branches without attention to compare (GP, and SA or LA alone: late fusion).
        - Several input streams (rgb, flow): each has its own branches; the fused prediction averages over all of them.
        - SA's sharpness is learnt (`sa = learnt`): with eq. 3's sum over 512 channels, `sa = sum`, the softmax is an
          argmax on real maps. With standardised features (not the paper's settings) the sum is of squared distances
          from the mean; `learnt` always looks at the maps as they are stored.

    The authors' published code (github.com/ZhenxingZheng/attention-network) differs from the paper's text, and can be
    had by options: `sa=learnt`, `la_tanh=true`, `fusion=logits`, `dropout=0.5`, `readout_dropout=0.5`, `rescale=true`.

    Outputs are named `<stream>-<branch>`, and "fused".

    Args:
        shapes: stream -> `(N, C, H, W)`; the paper's `(30, 512, 7, 7)` from ResNet-34, Kinetics `(12, 512, 7, 7)`.
        num_classes: K.
        branches: which branches there are (tables I-V).
        composite: how GS and GL join their two vectors (tables II, III).
        fusion: mean of the branches' probabilities (eq. 19, 20), or of their logits.
        sa: see above.
        la_tanh: a second tanh, behind W_1 of LA's attention.
        regularise: the global-attention regulariser (table IV).
        margin: of the regulariser.
        attention_hidden: units of LA's first layer.
        hidden: units of each SRU layer.
        layers: SRU layers.
        dropout: of the SRU's matrix products.
        readout_dropout: of the SRU's states before the linear layer.
        rescale: the SRU's highway times √3 (see SRULayer).

    Raises:
        UsageError: a stream whose layer is no map.
    """

    source: ClassVar[str] = "Zheng et al. 2020 (GLKA)"
    reads: ClassVar[Mapping[str, str]] = {"*": "map"}
    needs_maps = True
    # What the paper reads of one view; the recipes say what a store of it costs.
    paper_shapes: ClassVar[Shapes] = {"rgb": (30, 512, 7, 7)}
    defaults: ClassVar[Training] = Training(epochs=20, min_steps=150, lr=3e-4, weight_decay=0.01)
    paper: ClassVar[Training] = Training(
        epochs=16,  # 8 at 1e-5, 8 at 1e-6
        batch_size=28,
        views="all",  # every clip is a sample, "for expanding the scale of samples" (implementation details)
        optimizer="adam",
        lr=1e-5,
        schedule="step",
        drop_every=8,
        standardise=False,
    )
    end_to_end = paper  # the paper trains all at once
    end_to_end_tuning: ClassVar[Mapping[str, Any]] = {"augmentation": "random-resized"}
    before: ClassVar[Mapping[str, object]] = {"sa": "sum"}

    def __init__(  # noqa: PLR0913 (one parameter an option)
        self,
        shapes: Shapes,
        num_classes: int,
        *,
        branches: Literal["gs+gl+gp", "gs+gl", "gp+sa+la", "gp+sa", "gp+la", "gp", "sa", "la", "gs", "gl"] = "gs+gl+gp",
        composite: Composite = "concatenate",
        fusion: Literal["average", "logits"] = "average",
        sa: Literal["learnt", "sum"] = "learnt",
        la_tanh: bool = False,
        regularise: bool = True,
        margin: float = 0.1,
        attention_hidden: PositiveInt = 128,
        hidden: PositiveInt = 1024,
        layers: PositiveInt = 3,
        dropout: Share = 0.6,
        readout_dropout: Share = 0.0,
        rescale: bool = False,
    ) -> None:
        super().__init__(shapes, num_classes)
        self.branches = tuple(branches.split("+"))
        self.composite, self.fusion, self.margin, self.readout_dropout = composite, fusion, margin, readout_dropout
        self.regularised = tuple(name for name in self.branches if regularise and name in ("gs", "gl"))
        trained = self.branches if not self.regularised or "gp" in self.branches else (*self.branches, "gp")
        self.reference_apart = len(trained) > len(self.branches)  # a GP that only the regulariser looks at

        pooled = {part for name in trained for part in POOLED_BY[name]}
        self.statistic, self.learned = nn.ModuleDict(), nn.ModuleDict()
        self.recurrent, self.readouts = nn.ModuleDict(), nn.ModuleDict()
        for stream, (_, channels, _, _) in shapes.items():
            if "sa" in pooled and sa == "learnt":
                self.statistic[stream] = StatisticAttention()
            if "la" in pooled:
                self.learned[stream] = LearnedAttention(channels, hidden=attention_hidden, bounded=la_tanh)
            for name in trained:
                joined = 2 if name in ("gs", "gl") and composite == "concatenate" else 1
                branch = f"{stream}-{name}"
                self.recurrent[branch] = SRU(joined * channels, hidden, layers=layers, dropout=dropout, rescale=rescale)
                self.readouts[branch] = nn.Linear(hidden, num_classes)

    @property
    def needs_statistics(self) -> bool:
        """The learnt statistic-based attention asks for Ē."""
        return len(self.statistic) > 0

    def set_statistics(self, stream: str, mean: Tensor, deviation: Tensor, *, standardise: bool = True) -> None:
        """Also Ē, the mean of |F|²: mean² + deviation², over channels."""
        super().set_statistics(stream, mean, deviation, standardise=standardise)
        energy = (mean.square() + deviation.square()).mean()
        if stream in self.statistic and energy > 0:
            self.get_buffer(f"statistic.{stream}.mean_energy").copy_(energy)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits `(B, K)` by `<stream>-<branch>`, and "fused", the log-probabilities of their fusion."""
        outputs: dict[str, Tensor] = {}
        for stream in self.streams:
            pooled = self._pool(stream, features[stream])
            for branch in self.recurrent:
                of, name = branch.rsplit("-", 1)
                if of == stream:
                    states = self.recurrent[branch](self._join([pooled[part] for part in POOLED_BY[name]]))
                    # mean over steps of a linear layer = linear layer of the mean (eq. 16)
                    if self.readout_dropout:
                        states = F.dropout(states, self.readout_dropout, self.training)
                    outputs[branch] = self.readouts[branch](states.mean(1))
        fused = {branch: scores for branch, scores in outputs.items() if branch.rsplit("-", 1)[1] in self.branches}
        if self.fusion == "logits":
            return outputs | {"fused": torch.stack(list(fused.values())).mean(0)}
        return outputs | {"fused": fuse_probabilities(fused)}

    def loss(self, outputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Cross-entropy of the fused prediction and the global-attention regulariser (eq. 17-18); see the class."""
        if not {"gs", "gl"} & set(self.branches):
            return torch.stack([self.cross_entropy(outputs[branch], labels) for branch in self.recurrent]).sum()
        total = self.cross_entropy(outputs["fused"], labels)
        for stream in self.streams if self.regularised else ():
            reference = outputs[f"{stream}-gp"].float()
            if self.reference_apart:
                total = total + self.cross_entropy(reference, labels)
                reference = reference.detach()
            p_global = _true_class(reference, labels)
            for name in self.regularised:
                p_attention = _true_class(outputs[f"{stream}-{name}"].float(), labels)
                total = total + torch.relu(p_global - p_attention + self.margin).mean()
        return total

    def attention(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """T_SA and T_LA by `<stream>-sa` and `<stream>-la`, `(B, N, H, W)`, summing to 1 over a map (fig. 1, 8, 9)."""
        weights = {}
        for stream in self.streams:
            if any("sa" in POOLED_BY[name] for name in self.branches):
                weights[f"{stream}-sa"] = self._attend_by_statistic(stream, features[stream])
            if any("la" in POOLED_BY[name] for name in self.branches):
                weights[f"{stream}-la"] = self.learned[stream](features[stream])
        return weights

    def _pool(self, stream: str, maps: Tensor) -> dict[str, Tensor]:
        """R_GP, and those of R_SA and R_LA that a branch reads (eq. 2, 5, 8), `(B, N, C)` each."""
        wanted = {part for branch in self.recurrent for part in POOLED_BY[branch.rsplit("-", 1)[1]]}
        pooled = {"gp": maps.mean((3, 4))}
        if "sa" in wanted:
            pooled["sa"] = weighted_sum(maps, self._attend_by_statistic(stream, maps))
        if "la" in wanted:
            pooled["la"] = weighted_sum(maps, self.learned[stream](maps))
        return pooled

    def _attend_by_statistic(self, stream: str, maps: Tensor) -> Tensor:
        """T_SA `(B, N, H, W)`; the learnt one of the maps as they were before they were standardised."""
        if stream not in self.statistic:
            return statistic_attention(maps)
        mean, scale = self.get_buffer(f"mean_{stream}"), self.get_buffer(f"scale_{stream}")
        weights: Tensor = self.statistic[stream](maps / scale[:, None, None] + mean[:, None, None])
        return weights

    def _join(self, vectors: list[Tensor]) -> Tensor:
        """A composite feature from its parts (eq. 9-10 and tables II, III); one part stays itself."""
        return COMPOSITES[self.composite](*vectors) if len(vectors) > 1 else vectors[0]


def _true_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Probability `(B,)` of the true class."""
    return torch.softmax(logits, dim=-1).gather(1, labels[:, None]).squeeze(1)


HEAD = AttentionStreams
