"""The device of a name, checked. A module of its own, for what imports core may not load torch."""

import torch

from avr.core.errors import UsageError


def choose_device(name: str) -> torch.device:
    """The device of a name: "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1".

    Raises:
        UsageError: unknown, of a kind that avr does not run on, or not in this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"unknown device '{name}'; known: auto, cpu, cuda, cuda:0 …")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if not count:
        raise UsageError(f"device {name}: no CUDA device here; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UsageError(f"device {name}: there are {count} CUDA devices here, counted from 0")
    return device
