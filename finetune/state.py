"""The state of a training, written whole or not at all, from which it continues as if it had never stopped."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from avr.core import UsageError, WorkError, write_whole
from avr.store import differences


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write network, optimiser, schedule and counters; an interrupted write leaves the file before it.

    Raises:
        WorkError: the disk is full or cannot be written.
    """
    try:
        with write_whole(path) as temporary:
            torch.save(dict(state), temporary)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
        raise WorkError(f"cannot write the training's state to {path}: {error}") from error


def load_state(path: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `save_state` wrote, on the CPU; None where nothing was.

    Args:
        path: the file.
        settings: the settings of the training that would continue.

    Raises:
        UsageError: the file belongs to a training with other settings; they are named.
        WorkError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WorkError(f"{path} is damaged ({type(error).__name__}): remove it to start again") from error
    differing = differences(state["settings"], settings)
    if differing:
        raise UsageError(f"{path.parent} holds a training with other settings ({differing}): choose another --out")
    return state
