"""The benchmarks are scripts that anyone can run: each starts, and says how it is used; what they hold avr against."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_says_how_it_is_used(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_heads_are_equal_to_their_plain_forms(monkeypatch, capsys):
    """benchmarks/heads.py holds torch's own layers as the reference of avr's, and says how far the two are apart."""
    script = next(script for script in SCRIPTS if script.stem == "heads")
    threads, heads = torch.get_num_threads(), ["linear", "stfn", "frame-attention", "temporal-pyramid"]
    monkeypatch.setattr(sys, "argv", [str(script), "--quick", "--heads", *heads])
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert [row[0].split()[1] for row in rows] == heads
    assert all(float(row[-2]) < 1e-5 and float(row[-1].rstrip("| ")) < 1e-5 for row in rows)
