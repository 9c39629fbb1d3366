"""Tensors in a file: a full disk is one line that names the file, for heads and backbones alike."""

import pytest
import torch
from safetensors import SafetensorError

from avr.core import WorkError
from avr.heads import build_head, save_checkpoint
from avr.training import save_tensors, tensors


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensors, "save_file", full)
    with pytest.raises(WorkError, match=r"cannot write .*w.safetensors: I/O error: No space left"):
        save_tensors(tmp_path / "w.safetensors", {"a": torch.zeros(1)}, {})
    head = build_head("linear", {"rgb": (3, 4)}, 2)
    with pytest.raises(WorkError, match=r"cannot write .*c.safetensors: I/O error: No space left"):
        save_checkpoint(tmp_path / "c.safetensors", head, {})
    assert list(tmp_path.iterdir()) == []
