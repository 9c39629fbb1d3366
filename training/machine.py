"""Where training runs: the device of a name, the engine of many trainings, and a block in which torch computes the
same each time."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from avr.core import About, EngineAddress, EngineName, NonNegativeInt, UsageError, check_fields

if TYPE_CHECKING:
    import torch


def check_device(name: str) -> str:
    """The name of a device, which need not be in this machine: "auto", "cpu", "cuda", "cuda:1". Loads no torch.

    Raises:
        UsageError: unknown, or of a kind that avr does not run on.
    """
    if not re.fullmatch(r"auto|(cpu|cuda)(:\d+)?", name):
        raise UsageError(f"unknown device '{name}'; known: auto, cpu, cuda, cuda:0 …")
    return name


def choose_device(name: str) -> "torch.device":
    """The device of a name: "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1".

    Raises:
        UsageError: unknown, of a kind that avr does not run on, or not in this machine.
    """
    check_device(name)
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if not count:
        raise UsageError(f"device {name}: no CUDA device here; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UsageError(f"device {name}: there are {count} CUDA devices here, counted from 0")
    return device


@dataclass(frozen=True)
class Engine:
    """Where trainings that do not need one another run; nothing here changes a number.

    Attributes:
        address: "auto", "ray://host:10001", …
    """

    name: EngineName = "local"
    workers: Annotated[
        NonNegativeInt,
        About("Trainings side by side; 0: as many as pay, or Ray has room for; 1: one by one, as on a GPU here.", "N"),
    ] = 0
    address: EngineAddress = ""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.name == "local" and self.address:
            raise UsageError("--address is of --engine ray")


@contextmanager
def deterministic(device: "torch.device", *, seed: int = 0, threads: int = 0) -> Iterator[None]:
    """Inside, torch's generators start from the seed and CUDA picks deterministic kernels; all is put back after.

    `threads` is how many CPU threads compute; 0 leaves their number.
    """
    import torch

    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), ExitStack() as stack:
        torch.manual_seed(seed)
        if threads:
            torch.set_num_threads(threads)
            stack.callback(torch.set_num_threads, before)
        if device.type == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for to be deterministic
            stack.enter_context(torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True))
        yield
