"""Tensors as a file: safetensors, with what they are as JSON beside them: trained heads and fine-tuned backbones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from avr.core import WorkError, write_whole

METADATA = "avr"  # the key of what the tensors are, which safetensors keeps as text


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a network's tensors by name, whole or not at all; `about` (JSON values) says what they are.

    Raises:
        WorkError: the file cannot be written, such as on a full disk.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        with write_whole(path) as temporary:
            save_file(state, temporary, metadata={METADATA: json.dumps(about, default=list)})
    except (OSError, SafetensorError) as error:  # safetensors has an error of its own for a full disk
        raise WorkError(f"cannot write {path}: {' '.join(str(error).split())}") from error
