"""The state of a training that is under way, on disk: what an interrupted one needs to end as if nothing had been.

A loop writes it between two steps, whole, and removes it when what the training gives has been written.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avr.core import UsageError, WorkError, differences, unbroken, write_whole

if TYPE_CHECKING:
    import torch

EVERY = 60.0  # seconds of a training's time between two states, at least: what an interruption may cost


def state_is_due(since: float) -> bool:
    """Whether a state that was kept then, by `time.monotonic()`, is old enough for another."""
    return time.monotonic() - since >= EVERY


def write_state(path: Path, state: Mapping[str, Any], *, settings: Mapping[str, Any]) -> None:
    """Write tensors and plain values, whole, with the settings of the training that they are of.

    Raises:
        WorkError: it cannot be written; the state that was there stays.
    """
    import torch

    # SIGTERM is heeded after it: torch would make a failed write of it.
    with unbroken(), write_whole(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save({**state, "settings": dict(settings)}, file)
        except RuntimeError as error:  # torch's word for a failed write, or Ctrl-C in it, which says nothing of why
            why = error.__context__
            raise why if isinstance(why, (OSError, KeyboardInterrupt)) else OSError(str(error)) from None


def read_state(path: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `write_state` wrote, on the CPU; None where nothing was.

    Raises:
        UsageError: it is of a training with other settings than these; they are named.
        WorkError: the file is damaged.
    """
    import torch

    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        differing = differences(state["settings"], settings)
    except Exception as error:
        raise WorkError(f"{path} is damaged ({type(error).__name__}): remove it to start again") from error
    if differing:
        raise UsageError(f"{path.parent} holds a training with other settings ({differing}): choose another --out")
    return state


def restore_optimizer(optimizer: "torch.optim.Optimizer", state: dict[str, Any]) -> None:
    """Give a fresh optimiser of the same parameters the state that one had, laid out as a fused step takes it."""
    import torch

    optimizer.load_state_dict(state)
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
