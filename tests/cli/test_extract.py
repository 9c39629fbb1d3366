"""`avr extract`: bare in any folder, JSON, what it says of wrong names."""

import json

import cv2
import numpy as np
import pytest

from avr.cli import main

SMALL = ["--backbone", "squeezenet1_1", "--crop", "64", "--segments", "2", "--stack", "2"]
SMALL += ["--set", "group_pattern=.*"]
FAST = [*SMALL, "--weights", "random"]


@pytest.fixture
def videos(tmp_path, monkeypatch):
    """A folder to work in, with data/folder/<class>/<clip>.avi."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for label in ("jump", "run"):
        (tmp_path / "data" / "folder" / label).mkdir(parents=True)
        for clip in ("a", "b", "c"):
            path = tmp_path / "data" / "folder" / label / f"{clip}.avi"
            writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
            for _ in range(6):
                writer.write(generator.integers(0, 256, (48, 64, 3), dtype=np.uint8))
            writer.release()
    return tmp_path


def test_bare_command_finds_data_and_writes_features(videos, runner):
    result = runner.invoke(main, ["extract", "--dataset", "folder", *FAST, "--profile"])
    assert result.exit_code == 0, result.output
    assert (videos / "features" / "folder" / "flow" / "index.h5").exists()
    said = result.stderr
    assert "6 videos of folder → features/folder" in said
    assert "about 24.6 KB in all" in said  # 6 videos × 2 streams × 2 segments × 512 × 2 bytes: pooled alone
    assert "features/folder: 6 videos: 6 extracted" in result.stdout
    for stage in ("decode", "images", "network", "write"):
        assert stage in result.stdout
    assert "bottleneck: " in result.stdout


@pytest.mark.usefixtures("locks")
def test_json_is_all_that_is_printed(videos, runner):
    result = runner.invoke(main, ["extract", "--dataset", "folder", *FAST, "--json"])
    summary = json.loads(result.stdout)
    assert result.stderr == ""
    assert (summary["videos"], summary["extracted"], summary["failures"]) == (6, 6, [])
    assert summary["bottleneck"] in summary["busy"]
    assert summary["videos_per_second"] > 0
    again = json.loads(runner.invoke(main, ["extract", "--dataset", "folder", *FAST, "--json"]).stdout)
    assert again["extracted"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone", "resnet19"], "error: unknown backbone 'resnet19' (did you mean resnet18?); known: alexnet, "),
        (["--layers", "poled"], "error: squeezenet1_1 has no layer 'poled'; short names: map, pooled, tokens; nodes: "),
        (["--layers", "conv5_3"], "error: squeezenet1_1 has no layer 'conv5_3'"),
        (["--flow", "horn"], "error: unknown flow method 'horn'; known: dis, farneback, raft, tvl1"),
        (["--weights", "gone.pth"], "error: gone.pth: no such weights file"),
        (["--weights", "IMAGENET1K_V9"], "error: squeezenet1_1 has no weights 'IMAGENET1K_V9'; known: IMAGENET1K_V1"),
        (["--stream", "sound"], "error: unknown kind of stream 'sound'; known: clip, difference, flow, rgb"),
        (["--set", "seed"], "error: --set seed: expected NAME=VALUE"),
        (["--dataset", "hmdb15"], "error: unknown data set 'hmdb15'"),
        (["--root", "nowhere"], "error: nowhere: no such folder"),
        (["--resize", "32"], "error: crop 64 does not fit into frames resized to 32"),
    ],
)
def test_wrong_names_are_one_line_and_exit_2(videos, runner, arguments, message):
    usual = {"--dataset": "folder", "--weights": "random"} | dict(zip(SMALL[::2], SMALL[1::2], strict=True))
    kept = [word for name, value in usual.items() if name not in arguments for word in (name, value)]
    result = runner.invoke(main, ["extract", *kept, *arguments])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert not (videos / "features").exists()


def test_a_failed_video_is_no_error_unless_strict(videos, runner):
    (videos / "data" / "folder" / "run" / "c.avi").write_text("a list, not a video\n" * 9)
    arguments = ["extract", "--dataset", "folder", *FAST]
    result = runner.invoke(main, arguments)
    assert result.exit_code == 0
    assert "warning: no features: run/c: is a text file, not a video" in result.stderr
    assert "5 extracted, 1 failed" in result.stdout
    for _ in range(2):  # the second time nothing is left to do, and the failure is there all the same
        result = runner.invoke(main, [*arguments, "--out", "strict", "--strict"])
        assert result.exit_code == 1
        assert "error: 1 of 6 videos without features" in result.stderr


def test_changed_settings_are_refused_and_named(videos, runner):
    assert runner.invoke(main, ["extract", "--dataset", "folder", *FAST]).exit_code == 0
    place = FAST.index("--stack") + 1
    result = runner.invoke(main, ["extract", "--dataset", "folder", *FAST[:place], "3", *FAST[place + 1 :]])
    assert result.exit_code == 2
    assert "was begun with other settings: stack 2 → 3" in result.stderr
