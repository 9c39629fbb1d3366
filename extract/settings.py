"""The settings of an extraction: everything that changes a feature, saved in the store and compared when continuing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from avr.core import NonNegativeInt, PositiveInt, UsageError, check_fields, check_known, item_names
from avr.video import Sampling

STREAMS = "avr.extract.streams"  # where the streams lie
FLOW = "avr.extract.flow"


@dataclass(frozen=True)
class Settings:
    """Everything that changes a feature. Zero and "auto" ask for what the weights and the device bring; a store holds
    the settings with all of them filled in (`avr.extract.load_networks`).

    Attributes:
        streams: names of `avr.extract.streams`, such as "rgb" and "flow".
        backbone: a torchvision classification model, such as "resnet50".
        weights: a name of the model's weights ("DEFAULT", "IMAGENET1K_V1"), "random", or a file; "flow=FILE" is for
            one stream alone. In a store, a file's name without its folder.
        weights_sha256: "stream=SHA-256" of each stream's weights file, filled in.
        layers: short names (pooled, map, conv5_3, fc6, …) or torchvision node names; "flow=conv4_2" is for one stream
            alone.
        plan, segments, per_segment, views, view, clip_stride: which frames are looked at; see `avr.video.Sampling`.
        seed: of random weights and of random views.
        stack: L, flow pairs centred on a frame.
        flow: a flow method, such as "dis" or "tvl1".
        flow_backend: what computed the flow, such as "numpy" or "triton", filled in; "" is not known.
        flow_size: the short side flow is computed at, pixels; 0 is the frame's own size.
        quantise: round flow to 0…255 as the papers' JPEGs do.
        resize: the short side frames are resized to, pixels; 0 is the weights' own.
        crop: side of the square the network sees, pixels; 0 is the weights' own.
        interpolation: "bilinear", "bicubic", or "auto": the weights' own.
        crops: center, corners (4), five (corners and center), ten (five, each also mirrored): more views.
        mirror: adds each view mirrored (flow's x changes sign).
        mean, std: of the network's input per RGB channel, in 0…1, filled in; a single value for all channels of flow.
        precision: "float32", "bfloat16", or "auto": bfloat16 on CUDA, else float32.
    """

    streams: tuple[str, ...] = ("rgb", "flow")
    backbone: str = "resnet50"
    weights: tuple[str, ...] = ("DEFAULT",)
    weights_sha256: tuple[str, ...] = ()
    layers: tuple[str, ...] = ("pooled", "map")
    plan: Literal["segments", "strided", "clips"] = Sampling.plan
    segments: NonNegativeInt = Sampling.segments
    per_segment: PositiveInt = Sampling.per_segment
    views: NonNegativeInt = Sampling.views
    view: Literal["fixed", "random"] = Sampling.view
    clip_stride: PositiveInt = Sampling.clip_stride
    seed: NonNegativeInt = Sampling.seed
    stack: PositiveInt = 10
    flow: str = "dis"
    flow_backend: str = ""
    flow_size: NonNegativeInt = 0
    quantise: bool = True
    resize: NonNegativeInt = 0
    crop: NonNegativeInt = 0
    interpolation: Literal["auto", "bilinear", "bicubic"] = "auto"
    crops: Literal["center", "corners", "five", "ten"] = "center"
    mirror: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    flow_mean: float = 0.0
    flow_std: float = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        """Check what can be checked without a model, and fill in the plan's own numbers.

        Raises:
            UsageError: a value that makes no sense, or an unknown name; the known ones are listed.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        check_fields(self)
        for name, value in vars(self.sampling).items():
            object.__setattr__(self, name, value)
        self._check_together()

    def _check_together(self) -> None:
        check_known("flow method", self.flow.partition("=")[0], item_names(FLOW))
        streams = item_names(STREAMS)
        for stream in self.streams:
            check_known("stream", stream, streams)
        if not self.streams or len(set(self.streams)) != len(self.streams):
            raise UsageError(f"streams must be one or more of {', '.join(streams)}, each once")
        for stream in self.streams:
            if not self.layers_of(stream):
                raise UsageError(f"no layer of stream {stream} is asked for; name one with --layers")
            self.weights_of(stream)
        if self.crops == "ten" and self.mirror:
            raise UsageError("crops ten are mirrored already; leave mirror out")
        if 0 < self.resize < self.crop:
            raise UsageError(f"crop {self.crop} does not fit into frames resized to {self.resize}")

    def layers_of(self, stream: str) -> tuple[str, ...]:
        """The layers of one stream, in the order asked."""
        return _entries(self.layers, stream)

    def weights_of(self, stream: str) -> str:
        """What one stream's network starts from: its own entry, or the one for all.

        Raises:
            UsageError: none, or more than one.
        """
        own = [entry for entry in self.weights if entry.startswith(f"{stream}=")]
        found = [entry.split("=", 1)[1] for entry in own] or list(_entries(self.weights, stream))
        if len(found) != 1:
            raise UsageError(f"{len(found)} weights for stream {stream}; give one, such as --weights {stream}=FILE")
        return found[0]

    @property
    def sampling(self) -> Sampling:
        """Which frames of a video are looked at."""
        return Sampling(**{field.name: getattr(self, field.name) for field in fields(Sampling)})

    @property
    def num_steps(self) -> int:
        """N, time steps of one view."""
        return self.sampling.num_steps

    @property
    def crops_a_view(self) -> int:
        """How many crops and mirrored crops each sequence of frames becomes."""
        return {"center": 1, "corners": 4, "five": 5, "ten": 10}[self.crops] * (2 if self.mirror else 1)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; without a flow backend that is not known, as stores of before have it."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        if not self.flow_backend:
            del values["flow_backend"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Settings":
        """The settings kept in a store's provenance.

        Raises:
            UsageError: a setting that this version does not know.
        """
        known = {field.name for field in fields(cls)}
        strange = sorted(set(values) - known)
        if strange:
            raise UsageError(f"the store has settings this version of avr does not know: {', '.join(strange)}")
        return cls(**dict(values))

    def change(self, **values: Any) -> "Settings":
        """A copy with other values."""
        return replace(self, **values)


def _entries(entries: tuple[str, ...], stream: str) -> tuple[str, ...]:
    """Entries for all streams, and those for this one without their prefix."""
    found, streams = [], item_names(STREAMS)
    for entry in entries:
        prefix, separator, rest = entry.partition("=")
        if not separator or prefix not in streams:
            found.append(entry)
        elif prefix == stream:
            found.append(rest)
    return tuple(found)
