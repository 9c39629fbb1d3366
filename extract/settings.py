"""What changes features: the settings of a stream, which a store keeps. No torch: command lines read the fields."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from avr.core import (
    About,
    NonNegativeInt,
    UsageError,
    as_text,
    check_known,
    installing,
    item_names,
    options_of,
    read_value,
)
from avr.video import Sampling

STREAMS = "avr.extract.streams"  # where the streams lie
FLOW = "avr.extract.flow"
STREAM_NAME = re.compile(r"\w[\w-]{0,99}", re.ASCII)
WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True)
class Settings(Sampling):
    """Everything that changes the features of one stream. Zero, "" and "auto" ask for what its kind, the weights and
    the device bring; a store holds the settings with all of them filled in (`avr.extract.load_networks`).

    Which frames of a video are looked at is among them. Fields that say nothing of themselves are filled in. In a
    store, `weights` holds a file's name without its folder, and what the kind does not read is 0 or "".

    Attributes:
        kind: what it looks at, a file of `avr.extract.streams`.
        weights_sha256: SHA-256 of the weights file; "" is not known.
        flow_backend: what computed the flow, such as "numpy" or "triton"; "" is not known.
        decoder: whose frames they are: "ffmpeg", or of stores of before "opencv".
        antialias: whether resizing is antialiased.
        mean, std: of the network's input, in 0…1: of each channel of RGB, or a single one for all of them.
    """

    kind: str = "rgb"
    backbone: Annotated[
        str,
        About(
            "A network of torchvision's such as resnet50 or r3d_18, timm:NAME, transformers:OWNER/NAME or "
            "transformers:FOLDER.  [default: resnet50; of clips r3d_18]",
            "NAME",
        ),
    ] = ""
    weights: Annotated[str, About("Weights that its source knows, a file, or random.", "NAME|FILE|random")] = "DEFAULT"
    weights_sha256: str = ""
    layers: Annotated[
        tuple[str, ...],
        About(
            "pooled; map for heads that look at positions; tokens of transformers; conv5_3, conv4_2, fc6 or node names "
            "of torchvision's.",
            "NAMES",
        ),
    ] = ("pooled",)
    stack: Annotated[NonNegativeInt, About("Pairs centred on a frame; 0: 10 of flow, 5 of differences.", "L")] = 0
    clip_frames: Annotated[NonNegativeInt, About("Frames of a clip; 0: the weights' own.", "T")] = 0
    frame_stride: Annotated[
        NonNegativeInt, About("From a clip's frame to its next; 0: the weights' own, at 30 a second.", "FRAMES")
    ] = 0
    flow: Annotated[str, About("dis, farneback, tvl1, raft or raft=FILE (its weights).", "METHOD")] = "dis"
    flow_backend: str = ""
    decoder: str = "ffmpeg"
    flow_size: Annotated[NonNegativeInt, About("Short side for flow; 0 is the frame's.", "PIXELS")] = 0
    quantise: Annotated[bool, About("Round flow to 0…255 as the papers' JPEGs do.")] = True
    resize: Annotated[
        tuple[NonNegativeInt, ...],
        About("Short side of frames, or height,width; 0 is the weights' own.", "PIXELS"),
    ] = ()
    crop: Annotated[NonNegativeInt, About("Side of the square the network sees; 0 is the weights' own.", "PIXELS")] = 0
    interpolation: Annotated[
        Literal["auto", "bilinear", "bicubic"], About("Of resizing; auto is the weights' own.")
    ] = "auto"
    antialias: bool = True
    crops: Annotated[
        Literal["center", "corners", "five", "ten"],
        About("Each crop is one more view; five are corners and center, ten are five and these mirrored."),
    ] = "center"
    mirror: Annotated[bool, About("Add each view mirrored (flow's x changes sign).")] = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    precision: Annotated[Literal["auto", "float32", "bfloat16"], About("Of the network; auto is bfloat16 on CUDA.")] = (
        "auto"
    )
    runtime: Annotated[
        Literal["torch", "openvino"],
        About(f"What runs the network; openvino ({installing('openvino')}) is faster for many on a CPU."),
    ] = "torch"

    def __post_init__(self) -> None:
        """Check what can be checked without a network, and fill in the plan's own numbers.

        Raises:
            UsageError: a value that makes no sense, or an unknown name; the known ones are listed.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        if isinstance(self.resize, int):
            object.__setattr__(self, "resize", (self.resize,))
        super().__post_init__()
        check_known("kind of stream", self.kind, item_names(STREAMS))
        if self.flow:
            check_known("flow method", self.flow.partition("=")[0], item_names(FLOW))
        if self.resize in ((0,), (0, 0)):
            object.__setattr__(self, "resize", ())
        if len(self.resize) > 2 or 0 in self.resize:
            raise UsageError(
                f"resize={as_text(self.resize)} is not possible; resize takes a short side, or height,width"
            )
        if not self.layers:
            raise UsageError("no layer is asked for; name one with --layers")
        if self.crops == "ten" and self.mirror:
            raise UsageError("crops ten are mirrored already; leave mirror out")
        if self.runtime == "openvino" and self.precision == "bfloat16":
            raise UsageError("runtime openvino computes in float32; leave precision out")
        if self.resize and min(self.resize) < self.crop:
            raise UsageError(f"crop {self.crop} does not fit into frames resized to {as_text(self.resize)}")

    def require_files(self) -> None:
        """Refuse weights that are meant as a file, which its name shows, and are none; loads no torch.

        Raises:
            UsageError: naming the file.
        """
        file = Path(self.weights)
        if (len(file.parts) > 1 or file.suffix in WEIGHTS_SUFFIXES) and not file.is_file():
            raise UsageError(f"{file}: no such weights file; give a file, a name that its source knows, or random")

    @property
    def sampling(self) -> Sampling:
        """Which frames of a video are looked at, alone."""
        return Sampling(**{field.name: getattr(self, field.name) for field in fields(Sampling)})

    @property
    def crops_a_view(self) -> int:
        """How many crops and mirrored crops each sequence of frames becomes."""
        return {"center": 1, "corners": 4, "five": 5, "ten": 10}[self.crops] * (2 if self.mirror else 1)

    @property
    def rows(self) -> str:
        """Which rows a video has, for a person; streams can be read together where these are alike."""
        if self.plan == "clips":
            where = f"clips of {self.segments} frames, {self.clip_stride} apart, at most {self.views}"
            where += f", at {self.fps:g} a second" if self.fps else ""
            return where + (f", {self.crops_a_view} crops of each" if self.crops_a_view > 1 else "")
        count = self.views * self.crops_a_view
        return f"{count} view{'s' * (count > 1)}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; torch, by which networks ran before there was a choice, is not told of."""
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        if self.runtime == "torch":
            del found["runtime"]
        return found

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], stream: str) -> "Settings":
        """The settings of a stream that a store or a checkpoint keeps.

        Args:
            values: its own, or in those of before what all streams of an extraction were made with.

        Raises:
            UsageError: settings that this version does not know, or features that avr did not make.
        """
        values = _of_stream(values, stream) if "streams" in values else dict(values)
        strange = sorted(set(values) - {field.name for field in fields(cls)})
        if values.get("kind") == "imported":
            raise UsageError(f"stream {stream} was imported: avr did not make its features, and cannot make more")
        if strange:
            raise UsageError(f"stream {stream} has settings this version of avr does not know: {', '.join(strange)}")
        return cls(**values)

    def change(self, **values: Any) -> "Settings":
        """A copy with other values."""
        return replace(self, **values)


def _of_stream(values: Mapping[str, Any], stream: str) -> dict[str, Any]:
    """Of settings as they were kept for all streams together, one stream's."""
    stream = next((one for one in values["streams"] if f"-{stream}".endswith(f"-{one}")), stream)
    own = {"decoder": "opencv", "flow_backend": "", **values, "kind": stream}
    for name in ("weights", "weights_sha256", "layers"):
        entries = [entry for entry in own.pop(name, ()) if "=" not in entry or entry.startswith(f"{stream}=")]
        told = [entry.removeprefix(f"{stream}=") for entry in entries]
        if told:
            own[name] = told if name == "layers" else told[0]
    own["resize"] = [own["resize"]] if own.get("resize") else []
    mean, std = own.pop("flow_mean", 0.0), own.pop("flow_std", 0.0)
    if stream == "flow":
        own |= {"mean": [mean], "std": [std]}
    else:
        own |= {"stack": 0, "flow": "", "flow_backend": "", "flow_size": 0}
    del own["streams"]
    return own


def read_streams(streams: Iterable[str], given: Mapping[str, Any]) -> dict[str, Settings]:
    """The settings of each stream, from entries that are for all streams or, as "NAME=VALUE", for one.

    Args:
        streams: "rgb", or "slow=flow": a name and its kind. Several may stand in one text, with commas between.
        given: setting -> a value for all streams, or a list of texts, each for all or for one.

    Raises:
        UsageError: names or values that make no sense; a setting told twice of one stream.

    Example:
        read_streams(["rgb", "slow=flow"], {"backbone": ["resnet18", "slow=resnet34"], "segments": 3})
    """
    known = options_of(Settings)
    kinds: dict[str, str] = {}
    for entry in (part.strip() for text in streams for part in text.split(",")):
        name, _, kind = entry.partition("=")
        if name in kinds:
            raise UsageError(f"stream {name} is named twice")
        kinds[check_stream(name)] = kind or name
    if not kinds:
        raise UsageError(f"no stream is named: {', '.join(item_names(STREAMS))}, or NAME=KIND")
    values: dict[str, dict[str, Any]] = {name: {"kind": kind} for name, kind in kinds.items()}
    for setting, entries in given.items():
        own = _told(setting, entries, kinds) if isinstance(entries, list) else dict.fromkeys(kinds, entries)
        for name, value in own.items():
            if value != known[setting].default:
                values[name][setting] = read_value(setting, value, known[setting].hint)
    return {name: Settings(**own) for name, own in values.items()}


def _told(setting: str, entries: list[str], kinds: Mapping[str, str]) -> dict[str, str]:
    """What entries tell of each stream: its own, or the one for all."""
    for_all: list[str] = []
    own: dict[str, str] = {}
    for entry in entries:
        name, mark, value = entry.partition("=")
        if mark and name in own:
            raise UsageError(f"{setting} of stream {name} is told twice: {own[name]} and {value}")
        if mark and name in kinds:
            own[name] = value
        elif mark and name in item_names(STREAMS):
            raise UsageError(f"{setting} {entry}: there is no stream {name}; there are {', '.join(kinds)}")
        else:
            for_all.append(entry)
    if len(for_all) > 1:
        raise UsageError(f"{setting} is told twice: {' and '.join(for_all)}; one stream's own is NAME=VALUE")
    return dict.fromkeys(kinds, for_all[0]) | own if for_all else own


def check_stream(name: str) -> str:
    """The name of a stream, where it can be one.

    Raises:
        UsageError: it cannot: of other signs, or too long.
    """
    if not STREAM_NAME.fullmatch(name) or name == "index":
        raise UsageError(f"stream {name!r}: a stream's name is letters, digits, - and _, at most 100, and not 'index'")
    return name
