"""`avr store import-features`: the page on it, command by command; whose videos; what it prints; exit codes."""

import json
import pickle
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from avr.cli import main
from avr.store import FeatureStore

PAGE = Path(__file__).parents[2] / "docs" / "features.md"


@pytest.fixture
def peer(tmp_path, monkeypatch):
    """A folder to work in, with all that the page's commands read: 36 videos of 3 classes, unequal lengths."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    names = [f"class{i % 3}/film{i // 6}-clip({i})" for i in range(36)]
    lines = [f"{name}.avi,class{i % 3},film{i // 6}" for i, name in enumerate(names)]
    Path("clips.csv").write_text("\n".join(["path,label,group", *lines]))
    Path("names.txt").write_text("\n".join(names))
    slow = {}
    for folder in ("i3d", "dino"):
        Path(folder).mkdir()
    for i, name in enumerate(names):
        flat = re.sub(r"\W", "_", name.partition("/")[2])
        values = draw.normal(size=(int(draw.integers(4, 15)), 16)).astype(np.float32) + 3 * np.eye(16)[i % 3]
        np.save(f"i3d/{flat}_rgb.npy", values)
        np.save(f"i3d/{flat}_flow.npy", values[1:] + draw.normal(size=values[1:].shape))
        np.save(f"dino/{flat}.npy", values)
        slow[name] = values
    Path("slowfast.pkl").write_bytes(pickle.dumps(slow))
    np.save("tsn.npy", np.stack([values[0] for values in slow.values()]))
    return names


def run(runner, *arguments):
    return runner.invoke(main, ["store", "import-features", *arguments])


def test_the_pages_commands_run(peer, runner):
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    commands = [shlex.split(line, comments=True)[1:] for block in blocks for line in block.splitlines()]
    short = {"heads": ["--epochs", "20"]}  # the page's own take longer
    done = [runner.invoke(main, [*command, "--json", *short.get(command[0], [])]) for command in commands]
    assert [one.exit_code for one in done] == [0] * len(done), [one.output for one in done if one.exit_code]
    imported, trained, fused = (json.loads(one.stdout) for one in done[:3])
    assert {name: stream["videos"] for name, stream in imported["streams"].items()} == {"flow": 36, "rgb": 36}
    assert trained["summary"]["average"]["top1"] > 0.8
    assert sorted(fused["streams"]) == ["linear/flow", "linear/rgb"]
    with FeatureStore("features/clips") as store:
        assert store.streams == ("dino", "flow", "rgb", "slowfast", "tsn")
        shapes = {name: array.shape for name, array in store.arrays.items()}
        assert shapes["dino/pooled"] == (3, 16)
        assert shapes["tsn/pooled"] == (1, 16)


def test_the_pages_python_runs(peer):
    (text,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(compile(text, str(PAGE), "exec"), {})
    with FeatureStore("features/python") as store:
        assert store.arrays["rgb/pooled"].shape == (5, 16)
        assert store.arrays["mine/pooled"].shape == (5, 64)


def test_what_is_missing_and_left_out_is_told(peer, runner):
    next(iter(Path("i3d").glob("*_flow.npy"))).unlink()
    np.save("i3d/stray_rgb.npy", np.zeros((3, 16)))
    done = run(runner, "i3d", "--dataset", "clips.csv", "--name", "clips", "--strict")
    assert done.exit_code == 1
    assert "flow: no features: class" in done.stdout
    assert "not taken, 1: its name is that of no video of clips: i3d/stray_rgb.npy" in done.stdout
    again = run(runner, "i3d", "--dataset", "clips.csv", "--name", "clips", "--json")
    assert again.exit_code == 0
    found = json.loads(again.stdout)
    assert found["left_out"] == [{"place": "i3d/stray_rgb.npy", "reason": "its name is that of no video of clips"}]
    assert [failure["reason"] for failure in found["streams"]["flow"]["failures"]] == ["no features of it in i3d"]
    assert found["out"] == "features/clips"


def test_an_export_is_taken_back(peer, runner):
    assert run(runner, "i3d", "--dataset", "clips.csv", "--name", "clips").exit_code == 0
    assert runner.invoke(main, ["store", "export", "features/clips", "--out", "exported"]).exit_code == 0
    done = run(runner, "exported", "--name", "copy")
    assert done.exit_code == 0, done.output
    with FeatureStore("features/clips") as one, FeatureStore("features/copy") as other:
        np.testing.assert_array_equal(other.read_whole("rgb", "pooled"), one.read_whole("rgb", "pooled"))
        assert other.dataset == "copy"
    refused = run(runner, "exported", "--segments", "3")
    assert refused.exit_code == 2
    assert "taken as it is" in refused.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["i3d"], "say whose videos they are"),
        (["i3d", "--dataset", "clips.csv", "--store", "features"], "say whose videos they are"),
        (["i3d", "--store", "features/clips", "--root", "."], "leave out what is said of a data set"),
        (["i3d", "--dataset", "clips.csv", "--axes", "XY"], "--axes XY: the letters of TD"),
        (["nowhere", "--dataset", "clips.csv"], "nowhere: features of this kind are not known"),
        (["nowhere.npy", "--dataset", "clips.csv"], "nowhere.npy: cannot be opened"),
    ],
)
def test_requests_that_cannot_be_met(peer, runner, arguments, message):
    done = run(runner, *arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_lists_alone_say_which_videos_there_are(runner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lists").mkdir()
    Path("lists/classInd.txt").write_text("1 Archery\n2 Biking\n")
    clips = [f"{name}/v_{name}_g0{g}_c01" for name in ("Archery", "Biking") for g in (1, 2)]
    Path("lists/trainlist01.txt").write_text(f"{clips[0]}.avi 1\n{clips[2]}.avi 2\n")
    Path("lists/testlist01.txt").write_text(f"{clips[1]}.avi\n{clips[3]}.avi\n")
    Path("peer").mkdir()
    for clip in clips:
        np.save(f"peer/{clip.partition('/')[2]}.npy", np.ones((4, 5)))
    done = run(runner, "peer", "--dataset", "ucf101", "--splits", "lists")
    assert done.exit_code == 0, done.output
    assert "none of its 4 videos is in data/ucf101" in done.stderr
    with FeatureStore("features/ucf101") as store:
        assert store.ids.tolist() == clips
        assert store.groups.tolist() == ["Archery_g01", "Archery_g02", "Biking_g01", "Biking_g02"]
        assert store.split("1")[1].tolist() == [False, True, False, True]
    refused = runner.invoke(main, ["extract", "--dataset", "ucf101", "--splits", "lists"])
    assert refused.exit_code == 2  # whoever needs the videos asks for them as before
    assert "data/ucf101: no such folder" in refused.output
