"""The benchmarks are scripts that anyone can run: each starts, and says how it is used; what they hold avr against."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_says_how_it_is_used(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    if "import resource\n" in script.read_text():
        pytest.importorskip("resource", reason="measures as POSIX does")
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


def test_killed_commands_go_on_and_no_command_writes_over_what_is_there():
    """Ten kills of benchmarks/faults.py, and places that are taken or too small, in 40 CPU seconds."""
    pytest.importorskip("resource", reason="limits as POSIX has them")
    script = next(script for script in SCRIPTS if script.stem == "faults")
    chosen = ["heads, two streams", "recipe", "finetune backbone", "store pack", "store export", "fuse", "report"]
    told = ["--kills", "10", "--seed", "5", "--places", "taken", "limit", "--only", *chosen]
    done = subprocess.run([sys.executable, script, *told], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, total = [line for line in done.stdout.splitlines() if line.startswith("| all |")]
    counts = [int(cell) for cell in total.split("|")[2:8]]
    assert sum(counts[:4]) == 10
    assert counts[5] >= 4  # results that were compared
