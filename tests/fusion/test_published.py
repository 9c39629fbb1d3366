"""Published fusions, from published score files, by the commands of docs/fusion.md."""

import json
from pathlib import Path

import pytest

from avr.cli import main

DOCS = Path(__file__).parents[2] / "docs" / "fusion.md"
# folder of scores, streams, the rule's options, videos right of 1 530
PUBLISHED = {
    "SeqVLAD, rgb + 1.5 flow": ("seqvlad-hmdb51-s1", "rgb flow", "", 1115),
    "DMC-Net, 2 rgb + flow + mv + residual": (
        "hmdb51-split1",
        "rgb flow mv residual",
        "--weights rgb=2,flow=1,mv=1,residual=1",
        997,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures_by_the_documented_commands(name, real_data, tmp_path, monkeypatch, runner):
    folder, streams, options, right = PUBLISHED[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / folder).symlink_to(real_data / "scores" / folder)
    commands = [
        f"avr store import-scores {' '.join(f'{folder}/{stream}.npz' for stream in streams.split())} --out s",
        f"avr fuse weighted s {options}".strip(),
    ]
    for command in commands:
        assert command in DOCS.read_text(), "docs/fusion.md has another command"
        done = runner.invoke(main, command.split()[1:])
        assert done.exit_code == 0, done.output
    figure = f"{100 * right / 1530:.2f}"
    row = next(line for line in done.stdout.splitlines() if line.startswith("weighted") and " - " not in line)
    assert figure in row.split()
    results = json.loads(Path("runs/fuse-weighted-1/fusion.json").read_text())["results"]["rows"]
    assert round(1530 * results[-1]["top1"]) == right
    assert f"{figure} %" in DOCS.read_text()
