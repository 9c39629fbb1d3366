"""What an extraction can be told: settings, which change its features and are kept in the store, and how and where it
runs. No torch: command lines read the fields."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from avr.core import (
    About,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UsageError,
    check_fields,
    check_known,
    item_names,
)
from avr.training import check_device, choose_device
from avr.video import Sampling

STREAMS = "avr.extract.streams"  # where the streams lie
FLOW = "avr.extract.flow"
WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True)
class Settings(Sampling):
    """Everything that changes a feature. Zero and "auto" ask for what the weights and the device bring; a store holds
    the settings with all of them filled in (`avr.extract.load_networks`).

    Which frames of a video are looked at is among them. Fields that say nothing of themselves are filled in. In a
    store, `weights` hold a file's name without its folder.

    Attributes:
        weights_sha256: "stream=SHA-256" of each stream's weights file.
        flow_backend: what computed the flow, such as "numpy" or "triton"; "" is not known.
        decoder: whose frames they are: "ffmpeg", or of stores of before "opencv".
        mean, std: of the network's input per RGB channel, in 0…1; a single value for all channels of flow.
    """

    streams: Annotated[tuple[str, ...], About("rgb, flow or both.", "NAMES")] = ("rgb", "flow")
    backbone: Annotated[str, About("A torchvision classification model.")] = "resnet50"
    weights: Annotated[
        tuple[str, ...],
        About(
            "Weights torchvision knows, a file, or random; rgb=… and flow=… for one stream alone, repeated.",
            "NAME|FILE|random",
        ),
    ] = ("DEFAULT",)
    weights_sha256: tuple[str, ...] = ()
    layers: Annotated[
        tuple[str, ...],
        About(
            "pooled; map for heads that look at positions; conv5_3, conv4_2, fc6 or torchvision node names; rgb=… and "
            "flow=… for one stream alone.",
            "NAMES",
        ),
    ] = ("pooled",)
    stack: Annotated[PositiveInt, About("Flow pairs centred on a frame.", "L")] = 10
    flow: Annotated[str, About("dis, farneback, tvl1, raft or raft=FILE (its weights).")] = "dis"
    flow_backend: str = ""
    decoder: str = "ffmpeg"
    flow_size: Annotated[NonNegativeInt, About("Short side for flow; 0 is the frame's.", "PIXELS")] = 0
    quantise: Annotated[bool, About("Round flow to 0…255 as the papers' JPEGs do.")] = True
    resize: Annotated[NonNegativeInt, About("Short side of frames; 0 is the weights' own.", "PIXELS")] = 0
    crop: Annotated[NonNegativeInt, About("Side of the square the network sees; 0 is the weights' own.", "PIXELS")] = 0
    interpolation: Annotated[
        Literal["auto", "bilinear", "bicubic"], About("Of resizing; auto is the weights' own.")
    ] = "auto"
    crops: Annotated[
        Literal["center", "corners", "five", "ten"],
        About("Each crop is one more view; five are corners and center, ten are five and these mirrored."),
    ] = "center"
    mirror: Annotated[bool, About("Add each view mirrored (flow's x changes sign).")] = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    flow_mean: float = 0.0
    flow_std: float = 0.0
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"], About("Of the networks; auto is bfloat16 on CUDA.")
    ] = "auto"

    def __post_init__(self) -> None:
        """Check what can be checked without a model, and fill in the plan's own numbers.

        Raises:
            UsageError: a value that makes no sense, or an unknown name; the known ones are listed.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        super().__post_init__()
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

    def require_files(self) -> None:
        """Refuse weights that are meant as a file, which its name shows, and are none; loads no torch.

        Raises:
            UsageError: naming the file.
        """
        for stream in self.streams:
            file = Path(self.weights_of(stream))
            if (len(file.parts) > 1 or file.suffix in WEIGHTS_SUFFIXES) and not file.is_file():
                raise UsageError(f"{file}: no such weights file; give a file, a name torchvision knows, or random")

    @property
    def sampling(self) -> Sampling:
        """Which frames of a video are looked at, alone."""
        return Sampling(**{field.name: getattr(self, field.name) for field in fields(Sampling)})

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
        return cls(**{"decoder": "opencv", **values})

    def change(self, **values: Any) -> "Settings":
        """A copy with other values."""
        return replace(self, **values)


@dataclass(frozen=True)
class Running:
    """How an extraction runs: nothing here changes a feature beyond the last bits of float32 (fp16 rounding hides
    nearly all of that; the batch size is why it is not all).

    Videos are joined as long as they fill no more than one call of a network. Fewer videos a shard lose less in a crash
    and share out better among workers. Videos that lie in the cache are neither decoded nor is their flow computed.
    """

    device: Annotated[str, About("auto (CUDA when there is one), cpu, cuda or cuda:1.")] = "auto"
    batch_size: Annotated[NonNegativeInt, About("Images a call; 0: 8, on CUDA 128.", "IMAGES")] = 0
    decoders: Annotated[NonNegativeInt, About("Decoding processes; 0: half the cores, 1 to 8.", "N")] = 0
    time_limit: Annotated[PositiveFloat, About("That decoding one video may take.", "SECONDS")] = 120.0
    compile: Annotated[bool, About("torch.compile the networks (CUDA; needs a C compiler).")] = False
    cache: Annotated[str, About("Take frames and flow that fine-tuning stored there.", "FOLDER")] = ""
    shard_videos: Annotated[NonNegativeInt, About("Videos a shard of a new store; 0: about 64 MB.", "N")] = 0

    def __post_init__(self) -> None:
        check_fields(self)
        check_device(self.device)


@dataclass(frozen=True)
class Engine:
    """Where an extraction runs; nothing here changes a feature (on devices of one kind).

    Attributes:
        devices: ("0", "1") or ("cuda:0", "cuda:1"), ("cpu", "cpu"); empty: one worker, in this process, on
            `Running.device`.
        address: "auto", "ray://host:10001", …
    """

    name: Annotated[Literal["local", "ray"], About("This machine, or a Ray cluster (pip install 'avr[ray]').")] = (
        "local"
    )
    devices: Annotated[
        tuple[str, ...],
        About("Of engine local: a worker each, such as 0,1 or cpu,cpu; else --device, in this process.", "0,1,…"),
    ] = ()
    workers: Annotated[
        NonNegativeInt, About("Of engine ray; 0: one a GPU of the cluster, or one where it has none.", "N")
    ] = 0
    address: Annotated[str, About("Of engine ray: a running cluster's; else Ray is started on this machine.")] = ""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.name == "local" and (self.workers or self.address):
            raise UsageError("--workers and --address are of --engine ray; of --engine local give --devices")
        if self.name == "ray" and self.devices:
            raise UsageError("--devices is of --engine local; of --engine ray give --workers")
        named = (f"cuda:{device}" if device.isdigit() else device for device in self.devices)
        object.__setattr__(self, "devices", tuple(map(check_device, named)))

    @property
    def alone(self) -> bool:
        """Whether this process does all the work."""
        return self.name == "local" and not self.devices

    def where(self, running: Running) -> str:
        """What to call it to a person.

        Raises:
            UsageError: a device is not there.
        """
        if self.name == "ray":
            return f"Ray at {self.address}" if self.address else "Ray on this machine"
        devices = self.devices or (running.device,)
        return ", ".join(str(choose_device(device)) for device in devices)


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
