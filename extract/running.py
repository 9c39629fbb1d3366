"""How and where an extraction runs: nothing here changes a feature. No torch: command lines read the fields."""

import os
from dataclasses import dataclass
from typing import Annotated

from avr.core import About, EngineAddress, EngineName, NonNegativeInt, PositiveFloat, UsageError, check_fields
from avr.training import check_device, choose_device


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
    shard_videos: Annotated[
        NonNegativeInt, About("Videos a shard of a new store; 0: 64, or what takes 64 MB.", "N")
    ] = 0

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

    name: EngineName = "local"
    devices: Annotated[
        tuple[str, ...],
        About("Of engine local: a worker each, such as 0,1 or cpu,cpu; else --device, in this process.", "0,1,…"),
    ] = ()
    workers: Annotated[
        NonNegativeInt, About("Of engine ray; 0: one a GPU of the cluster, or one where it has none.", "N")
    ] = 0
    address: EngineAddress = ""

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


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
