"""Checkpoints: a head's weights in one safetensors file, with everything that is needed to build it again as JSON."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from avr.core import AvrError, UsageError, WorkError, write_whole

from ._base import Head
from ._build import build_head, head_class

KEY = "avr"  # of the metadata, which safetensors keeps as text


def save_checkpoint(path: Path, head: Head, metadata: dict[str, Any]) -> None:
    """Write a head, whole or not at all.

    Args:
        path: the file, `checkpoint.safetensors`.
        head: its weights and statistics.
        metadata: JSON values; must have "head", "options", "shapes", "class_names".

    Raises:
        WorkError: the file cannot be written, such as on a full disk.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    try:
        with write_whole(path) as temporary:
            save_file(tensors, temporary, metadata={KEY: json.dumps(metadata)})
    except (OSError, SafetensorError) as error:  # safetensors has an error of its own for a full disk
        raise WorkError(f"cannot write {path}: {' '.join(str(error).split())}") from error


def load_checkpoint(path: Path) -> tuple[Head, dict[str, Any]]:
    """Build the head of a checkpoint, in evaluation mode on the CPU, and give its metadata.

    Raises:
        UsageError: no such file.
        WorkError: damaged, or not written by avr; names the file.
    """
    if not path.is_file():
        raise UsageError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        shapes = {stream: tuple(shape) for stream, shape in metadata["shapes"].items()}
        started = head_class(metadata["head"]).starting  # from files that may be gone by now
        options = {name: value for name, value in metadata["options"].items() if name not in started}
        with torch.random.fork_rng(devices=[]):  # fresh weights are drawn, and at once replaced
            head = build_head(metadata["head"], shapes, len(metadata["class_names"]), options=options)
        head.load_state_dict(tensors)
    except (SafetensorError, KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        if isinstance(error, AvrError):
            raise
        raise WorkError(f"{path} is damaged or not a checkpoint of avr ({error})".replace("\n", " ")) from error
    return head.eval(), metadata
