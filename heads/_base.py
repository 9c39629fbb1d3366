"""What every head is: a module that takes the features of B videos by stream and gives class scores by output name.

A head is one file in this folder; file name = registry name = command-line name. It defines one subclass of `Head` and
binds it to the module name `HEAD`; `build_head` makes one of a name and options. docs/heads.md walks through one.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from avr.core import UsageError, load_item, options_of, read_options
from avr.store import AVERAGE, FUSED, MULTIPLY, prediction_of
from avr.training import Training

# Stream -> shape of one view: pooled (N, D), tokens (N, P, D) or a map (N, C, H, W); how many sides tells which.
Shapes = Mapping[str, tuple[int, ...]]


class Head(nn.Module):
    """Base of all heads.

    Class attributes, set by each head:
        source: paper (or "baseline"), for `avr heads list`.
        reads: default layer by the kind of stream (rgb, flow, …); "*" stands for any kind that is not named.
        joint: one network reads all streams; else a head is of one stream, and the loop trains one a stream.
        streams_min: fewest streams the head makes sense for.
        needs_maps: it reads layers of maps alone.
        same_length: the streams must hold as many segments a video as one another.
        starting: options that say where weights start; a trained head is built again without them.
        before: what options are in checkpoints of before, which do not name them, where that is not the default.
        defaults: the command's settings, which train well on small data sets (torch keeps the name `training`).
        paper: the paper's settings (`--paper`, recipes).
        end_to_end: the paper's of training backbones and head together; None: those of the two-stream ConvNet.
        end_to_end_tuning: what the paper says of augmentation and batch norm there (fields of `avr.finetune.Tuning`).

    Options are the keyword-only parameters of `__init__`, each with a default and an annotation that says what it takes
    (`avr.core.options`): `Literal["a", "b"]`, `PositiveInt`, `Share`, … The command line finds them there
    (`--set design=b`).

    Calling a head takes the features through `keep`, standardises them with the statistics of its training videos, if
    it has any, and then runs `forward`; `forward`, `attention` and `vectors` see kept, standardised ones.
    """

    source: ClassVar[str] = ""
    reads: ClassVar[Mapping[str, str]] = {"*": "pooled"}
    joint: ClassVar[bool] = True
    streams_min: ClassVar[int] = 1
    needs_maps: ClassVar[bool] = False
    same_length: ClassVar[bool] = False
    starting: ClassVar[tuple[str, ...]] = ()
    before: ClassVar[Mapping[str, object]] = {}
    defaults: ClassVar[Training] = Training()
    paper: ClassVar[Training] = Training()
    end_to_end: ClassVar[Training | None] = None
    end_to_end_tuning: ClassVar[Mapping[str, Any]] = {}

    label_smoothing: float = 0.0  # set by the training loop
    keeps_statistics: bool = False  # those that it has stay when it is trained
    frozen: tuple[str, ...] = ()  # names of parts that do not learn
    class_weights: Tensor | None = None  # `(K,)`, likewise

    def __init__(self, shapes: Shapes, num_classes: int) -> None:
        """Check the streams and remember them.

        Args:
            shapes: stream name -> shape of one view's features, `(N, D)`, `(N, P, D)` or `(N, C, H, W)`.
            num_classes: K.

        Raises:
            UsageError: too few or too many streams, a name with a dot in it, pooled features or tokens where maps are
                needed, streams of unequal N where they are paired.
        """
        super().__init__()
        name, given = type(self).__name__, ", ".join(shapes) or "none"
        if len(shapes) < self.streams_min:
            raise UsageError(f"the {name} head needs at least {self.streams_min} streams, but is given {given}")
        if len(shapes) != 1 and not self.joint:
            raise UsageError(f"the {name} head reads one stream, but is given {given}")
        unfit = [stream for stream in shapes if "." in stream or hasattr(nn.ModuleDict(), stream)]
        if unfit:
            why = "heads keep weights by a stream's name, in which no dot is, and which is no word of torch's"
            raise UsageError(f"stream '{unfit[0]}': {why}")
        if self.needs_maps:
            self.require_maps(shapes)
        if self.same_length:
            self.require_same_length(shapes)
        self.shapes = {stream: tuple(shape) for stream, shape in shapes.items()}
        self.num_classes = num_classes
        for stream, shape in self.shapes.items():
            self.register_buffer(f"mean_{stream}", torch.zeros(width_of(shape)))
            self.register_buffer(f"scale_{stream}", torch.ones(width_of(shape)))

    def require_maps(self, shapes: Shapes, *, or_tokens: bool = False) -> None:
        """Refuse pooled features, and tokens unless they are as good, saying how to get maps."""
        kinds = {2: "pooled"} if or_tokens else {2: "pooled", 3: "tokens"}
        refused = {stream: kinds[len(shape)] for stream, shape in shapes.items() if len(shape) in kinds}
        if refused:
            layer = self.reads.get("*", "map").replace("pooled", "map")
            raise UsageError(
                f"the {type(self).__name__} head attends to or fuses positions of a map, but the layer read of "
                f"{', '.join(refused)} is {' or '.join(dict.fromkeys(refused.values()))}: read maps with "
                f"--layer {layer}, which a store has from avr extract … --layers pooled,{layer}"
            )

    def require_same_length(self, shapes: Shapes) -> None:
        """Refuse streams whose numbers of segments differ."""
        if len({shape[0] for shape in shapes.values()}) > 1:
            found = ", ".join(f"{stream} {shape[0]}" for stream, shape in shapes.items())
            raise UsageError(
                f"the {type(self).__name__} head pairs streams segment by segment, but their lengths differ: {found}"
            )

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams the head reads, in order."""
        return tuple(self.shapes)

    @property
    def prediction(self) -> str:
        """The output that is the head's prediction: "fused", or its only stream."""
        return FUSED if self.joint else self.streams[0]

    def train(self, mode: bool = True) -> Self:
        """As torch has it, but for frozen parts, which always work as when predicting: no dropout, fixed batch norm."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def linear_layers(self) -> dict[str, nn.Linear]:
        """Its linear layers by stream, where it is nothing else on `linear_inputs`: lbfgs then solves it whole."""
        return {}

    def linear_inputs(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What its linear layers read of kept, standardised features, `(B, D)` by stream."""
        return {stream: array.squeeze(1) for stream, array in features.items()}

    def keep(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The head's first steps, as far as no weight takes part: means over segments or positions; by default none.

        A training takes them once and keeps what they give. So they change nothing when taken again, treat views and
        channels each by itself, and commute with a shift and a scale of a channel, which is what standardising is.

        Args:
            features: of some or all streams, as in the store.

        Returns:
            The same streams, in float32 at least where they are changed.
        """
        return dict(features)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Class scores of a batch.

        Args:
            features: stream -> `(B, N, D)`, `(B, N, P, D)` or `(B, N, C, H, W)`, floating point, as `keep` gives them.

        Returns:
            Output name -> `(B, K)`, logits or log-probabilities: the softmax of an output is its probability. A joint
            head has the output "fused", and one named as each stream where that makes sense; a single-stream head has
            the output named as its stream.
        """
        raise NotImplementedError

    def attention(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Attention weights by name, `(B, N, H, W)` over positions or `(B, N)` over segments; none by default."""
        return {}

    def vectors(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One vector a stream, `(B, D)`, that a run keeps of each video for fusers of features; none by default."""
        return {}

    def loss(self, outputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar: the cross-entropy of the prediction, unless a head says otherwise.

        Args:
            outputs: what `forward` gave, `(B, K)` each.
            labels: `(B,)` int64.
        """
        return self.cross_entropy(outputs[self.prediction], labels)

    def cross_entropy(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of logits or log-probabilities `(B, K)`, in float32, with the training's smoothing and
        class weights; scores behind the first K are of no class and weigh nothing."""
        weights = self.class_weights
        if weights is not None:
            weights = F.pad(weights, (0, scores.shape[1] - len(weights)))
        return F.cross_entropy(scores.float(), labels, weight=weights, label_smoothing=self.label_smoothing)

    def standardise(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Shift and scale each channel by the training videos' statistics; as they are where none were set."""
        return {stream: self._standardise(stream, features[stream]) for stream in self.shapes}

    @property
    def needs_statistics(self) -> bool:
        """Whether `set_statistics` is called without standardising too."""
        return False

    def set_statistics(self, stream: str, mean: Tensor, deviation: Tensor, *, standardise: bool = True) -> None:
        """Remember mean and standard deviation `(D,)` or `(C,)` of a stream's channels over the training videos.

        A deviation counts as at least 0.3 of the stream's root mean square deviation: a channel that hardly moved in
        training would else be blown up where it moves in a test video.
        """
        if not standardise:
            return
        floor = 0.3 * deviation.square().mean().sqrt()
        scale = 1 / deviation.clamp_min(floor) if floor > 0 else torch.ones_like(deviation)
        self.get_buffer(f"mean_{stream}").copy_(mean)
        self.get_buffer(f"scale_{stream}").copy_(scale)

    def attend(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`attention` of features as they are in the store."""
        return self.attention(self.standardise(self.keep(features)))

    def _standardise(self, stream: str, array: Tensor) -> Tensor:
        shape = (-1, 1, 1) if array.dim() == 5 else (-1,)  # (C, 1, 1) for (B, N, C, H, W), else (D,)
        mean, scale = self.get_buffer(f"mean_{stream}").view(shape), self.get_buffer(f"scale_{stream}").view(shape)
        # in place: every fresh array of a batch of maps costs more than the arithmetic
        return (array.to(mean.dtype) - mean).mul_(scale)

    def __call__(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs `(B, K)` by name for features as they are in the store (any floating dtype)."""
        outputs: dict[str, Tensor] = super().__call__(self.standardise(self.keep(features)))
        return outputs


def fuse_probabilities(outputs: Mapping[str, Tensor]) -> Tensor:
    """Log of the mean over outputs of their softmax: logits or log-probabilities `(B, K)` in, `(B, K)` out.

    The sum of softmax scores that papers fuse by, divided by S so that it is a probability again.
    """
    log_probabilities = torch.stack([F.log_softmax(scores.float(), dim=-1) for scores in outputs.values()])  # (S, B, K)
    return torch.logsumexp(log_probabilities, dim=0) - math.log(len(outputs))


def with_average(outputs: dict[str, NDArray]) -> dict[str, NDArray]:
    """Outputs `(M, K)` of several single-stream networks with "multiply", the mean of their log-probabilities, and with
    "average", the log of their mean probability.

    Of a head that has its prediction among them they are left as they are.
    """
    if not outputs or prediction_of(outputs) in outputs:
        return outputs
    tensors = {name: torch.as_tensor(scores).float() for name, scores in outputs.items()}
    product = torch.stack([F.log_softmax(scores, dim=-1) for scores in tensors.values()]).mean(dim=0)
    return outputs | {
        MULTIPLY: F.log_softmax(product, dim=-1).numpy(),
        AVERAGE: fuse_probabilities(tensors).numpy(),
    }


def width_of(shape: tuple[int, ...]) -> int:
    """Channels of a view's features: D of `(N, D)` and `(N, P, D)`, C of `(N, C, H, W)`."""
    return shape[1] if len(shape) == 4 else shape[-1]


def head_class(name: str) -> type[Head]:
    """The class of a head by its registry name.

    Raises:
        UsageError: unknown; lists the known ones.
    """
    found: type[Head] = load_item("avr.heads", name, "head").HEAD
    return found


def build_head(name: str, shapes: Shapes, num_classes: int, *, options: Mapping[str, object] | None = None) -> Head:
    """Build a head with fresh random weights (from torch's global generator).

    Args:
        name: registry name.
        shapes: stream -> `(N, D)`, `(N, P, D)` or `(N, C, H, W)`.
        num_classes: K.
        options: keyword options, as values or as texts from a command line.

    Raises:
        UsageError: unknown head, option or value.
    """
    return head_class(name)(shapes, num_classes, **head_options(name, options or {}))


def head_options(name: str, given: Mapping[str, object]) -> dict[str, Any]:
    """Every option of a head with its value: the given ones, texts turned into their types, and the defaults.

    Raises:
        UsageError: unknown option or value, with what is known.
    """
    known = options_of(head_class(name))
    defaults = {option: entry.default for option, entry in known.items()}
    return defaults | read_options(known, given, kind=f"option of head {name}")
