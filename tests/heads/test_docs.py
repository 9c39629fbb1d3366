"""The page on heads: its example of a head works when it is laid into the folder."""

import re
import sys
from pathlib import Path

import pytest
import torch

import avr.heads
from avr.heads import build_head, train_run

PAGE = Path(__file__).parents[2] / "docs" / "heads.md"


@pytest.fixture
def gated(tmp_path, monkeypatch):
    """The page's head, found as if it lay in heads/."""
    text = next(block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "HEAD" in block)
    (tmp_path / "gated.py").write_text(text)
    folders = [*avr.heads.__path__, str(tmp_path)]
    monkeypatch.setattr(avr.heads, "__path__", folders)  # where it is imported from
    monkeypatch.setattr(avr.heads.__spec__, "submodule_search_locations", folders)  # where items are listed
    yield
    sys.modules.pop("avr.heads.gated", None)
    vars(avr.heads).pop("gated", None)


def test_the_example_is_a_head_in_one_file(gated, toy_store, tmp_path):
    outputs = build_head("gated", {"rgb": (4, 12), "flow": (4, 12)}, 5, options={"gate": "tanh"})(
        {"rgb": torch.randn(2, 4, 12), "flow": torch.randn(2, 4, 12)}
    )
    assert {name: tuple(scores.shape) for name, scores in outputs.items()} == dict.fromkeys(
        ("rgb", "flow", "fused"), (2, 5)
    )
    result = train_run(toy_store, "gated", folds=0, out=tmp_path / "run")
    assert result.summary["fused"]["top1"] >= 0.6  # a stream alone reaches a half
