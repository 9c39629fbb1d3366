"""Without what Windows lacks, as far as Linux can show it; and among files with the names of standard modules."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
STANDARD = ("queue", "random", "socket", "json", "types", "threading")
# Rooms, a decoding process, a store, a lock, and memory that other processes map.
WORK = """
import sys
import numpy as np
import torch
from avr.cli import main
from avr.core import FolderLock
from avr.heads._shared import moved_to_file
import avr.core.system, avr.finetune, avr.predict, avr.recipes, avr.report
assert avr.core.system.fcntl is None
with moved_to_file(torch.arange(5)) as path:
    assert np.memmap(path, np.int64, "r", shape=5).tolist() == [0, 1, 2, 3, 4]
said = "--stream rgb --backbone squeezenet1_1 --weights random --segments 2 --resize 48 --crop 40 --device cpu".split()
for command in (["extract", "--dataset", "clips", "--out", "store", *said], ["store", "verify", "store"]):
    assert not main(command, standalone_mode=False)
with FolderLock("."):
    pass
"""


@pytest.fixture
def among(tmp_path) -> Path:
    """A folder of four clips, and files that end Python where they are imported."""
    import av
    import numpy as np

    for name in STANDARD:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken for a module')")
    for name in ("left/1.mp4", "left/2.mp4", "right/1.mp4", "right/2.mp4"):
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as file:
            stream = file.add_stream("mpeg4", rate=25, width=64, height=48, pix_fmt="yuv420p")
            for grey in range(8):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * grey, np.uint8), format="rgb24")
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
    return tmp_path


def test_avr_works_without_what_windows_lacks(among):
    """And says that it cannot lock, once a folder."""
    paths = os.pathsep.join(filter(None, [str(TESTS / "blocked"), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-P", "-c", WORK], cwd=among, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "4 extracted" in done.stdout + done.stderr
    warned = re.findall(r"warning: (\S+): its file system does not lock files", done.stderr)
    assert [Path(folder).name for folder in warned] == ["rgb", ""]


@pytest.mark.parametrize("command", [["-m", "avr"], [str(Path(sys.executable).with_name("avr"))]], ids=["-m", "script"])
def test_files_beside_are_not_taken_for_modules(among, command):
    if command[0] == "-m":
        (among / "types.py").unlink()  # Python itself looks for it there before it comes to avr
    if not command[0].startswith("-") and not Path(command[0]).exists():
        pytest.skip("avr is not installed as a command")
    done = subprocess.run(
        [sys.executable, *command, "datasets", "show", "clips"], cwd=among, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "4 videos" in done.stdout
