"""`avr demo` from clips to its table, on a few of them."""

import json
from dataclasses import replace

from avr.cli import main
from avr.commands.demo import TRAINING
from avr.datasets import shapes
from avr.heads import head_class


def test_the_demo_ends_with_its_table(runner, tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "NUM_SCENES", 6)
    for head in map(head_class, TRAINING):
        monkeypatch.setattr(head, "defaults", replace(head.defaults, epochs=1, min_steps=0))
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / ".DS_Store").touch()  # as a file manager leaves it
    result = runner.invoke(main, ["demo", "--out", str(tmp_path / "demo"), "--backbone", "squeezenet1_1"])
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    shown = [line.split("  ")[0] for line in lines[2:8]]
    assert shown == ["linear rgb", "linear flow", "stfn", "fuse average", "fuse multiply", "fuse awf"]
    assert lines[-1].startswith("12 test videos, 6 classes; fused is ")
    records = sorted((tmp_path / "demo" / "runs").glob("*/run.json"))
    assert [json.loads(path.read_text())["complete"] for path in records] == [True] * 3
