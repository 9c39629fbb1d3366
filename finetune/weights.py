"""Fine-tuned weights as files: safetensors with torchvision's names, which `avr extract --weights` takes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from avr.core import WorkError, write_whole


def trunk_state(reader: nn.Module) -> dict[str, Tensor]:
    """The state of a `LayerReader` under torchvision's names."""
    return {name.removeprefix("graph."): value for name, value in reader.state_dict().items()}


def save_weights(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write a network's tensors, whole or not at all; `metadata` (JSON values) says what they are.

    Raises:
        WorkError: the file cannot be written, such as on a full disk.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    try:
        with write_whole(path) as temporary:
            save_file(tensors, temporary, metadata={"avr": json.dumps(metadata, default=list)})
    except (OSError, SafetensorError) as error:  # safetensors has an error of its own for a full disk
        raise WorkError(f"cannot write {path}: {' '.join(str(error).split())}") from error


def same_weights(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    """Whether two states agree to the last bit."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
