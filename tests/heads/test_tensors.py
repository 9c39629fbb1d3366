"""Tensors in a file, heads' and backbones' alike: a full disk is one line that names the file."""

import pytest
import torch
from safetensors import SafetensorError

from avr.core import WorkError
from avr.heads import save_tensors


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("avr.heads._trained.save_file", full)
    with pytest.raises(WorkError, match=r"w.safetensors: cannot be written \(No space left on device\)"):
        save_tensors(tmp_path / "w.safetensors", {"a": torch.zeros(1)}, {})
    assert list(tmp_path.iterdir()) == []
