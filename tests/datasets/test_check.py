"""`check_dataset` and the `avr datasets` commands on clips made bad in each way."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from avr.cli import main
from avr.core import UsageError
from avr.datasets import RawFrames, check_dataset, index_dataset
from avr.datasets._check import bytes_missing, count_frames


def overstate_frames(path: Path, num_frames: int) -> None:
    """Make an AVI's header promise `num_frames`, in both places that say it, and leave the container whole."""
    data = bytearray(path.read_bytes())
    data[48:52] = struct.pack("<I", num_frames)  # avih: dwTotalFrames
    stream = data.index(b"strh") + 8
    data[stream + 32 : stream + 36] = struct.pack("<I", num_frames)  # strh: dwLength
    path.write_bytes(data)


@pytest.fixture
def videos(tmp_path, write_clip) -> Path:
    """Two good clips and one of each kind of bad one."""
    root = tmp_path / "videos"
    write_clip(root / "a" / "good.avi")
    write_clip(root / "b" / "good.avi")
    (root / "a" / "text.avi").write_text("This is no video. " * 50)
    (root / "a" / "empty.avi").touch()
    write_clip(root / "a" / "one.avi", num_frames=1)
    write_clip(root / "b" / "cut.avi", num_frames=40)
    whole = (root / "b" / "cut.avi").read_bytes()
    (root / "b" / "cut.avi").write_bytes(whole[: len(whole) // 2])
    write_clip(root / "b" / "overstated.avi")
    overstate_frames(root / "b" / "overstated.avi", 30)
    return root


def test_check_lists_each_bad_video_with_its_reason(videos):
    result = check_dataset(index_dataset("folder", videos), workers=2)
    assert result.videos == 7
    reasons = {finding.id: finding.reason for finding in result.bad}
    assert set(reasons) == {"a/text", "a/empty", "a/one", "b/cut"}
    assert reasons["a/text"] == "cannot be opened as a video"
    assert reasons["a/empty"] == "empty file"
    assert reasons["a/one"] == "one frame only: there is no motion to see"
    assert reasons["b/cut"].startswith("cut in the middle: ")
    # A header that promises too much is worth a note: the clip can be used.
    assert [(finding.id, finding.reason) for finding in result.notes] == [
        ("b/overstated", "the header says 30 frames, 12 decode")
    ]


def test_check_finds_nothing_wrong_with_good_clips(tmp_path, write_clip):
    for name in "ab":
        write_clip(tmp_path / name / "1.avi", num_frames=5)
        write_clip(tmp_path / name / "2.avi", num_frames=7)
    result = check_dataset(index_dataset("folder", tmp_path))
    assert (result.bad, result.notes, result.frames) == ([], [], 24)


def test_check_of_a_video_that_is_gone(videos):
    dataset = index_dataset("folder", videos)
    (videos / "a" / "good.avi").unlink()
    reasons = {finding.id: finding.reason for finding in check_dataset(dataset).bad}
    assert reasons["a/good"] == "cannot be read: No such file or directory"


def test_check_keeps_the_decoder_quiet(videos):
    # In a process of its own: the decoder reads its log level once, at the process's first video.
    code = "import sys, pathlib; from avr.datasets import check_dataset, index_dataset;"
    code += "check_dataset(index_dataset('folder', pathlib.Path(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", code, str(videos)], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_check_real_clips(real_data):
    for path in sorted((real_data / "clips").glob("*.avi")):
        assert bytes_missing(path) == 0
        header, count = count_frames(path)
        assert header == count > 50


def test_bytes_missing_of_mp4_boxes(tmp_path):
    path = tmp_path / "a.mp4"
    whole = (
        struct.pack(">I4s8x", 16, b"ftyp") + struct.pack(">I4sQ20x", 1, b"mdat", 36) + struct.pack(">I4s", 8, b"moov")
    )
    path.write_bytes(whole)
    assert bytes_missing(path) == 0
    path.write_bytes(whole[:40])
    assert bytes_missing(path) == 12
    path.write_bytes(b"\x1a\x45\xdf\xa3" + whole)  # Matroska: not known
    assert bytes_missing(path) is None


def test_raw_frames(tmp_path):
    image = np.zeros((8, 8), dtype=np.uint8)
    for number in (1, 2, 3):
        (tmp_path / "v").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "v" / f"img_{number:05d}.jpg"), image)
        if number < 3:
            cv2.imwrite(str(tmp_path / "v" / f"flow_x_{number:05d}.jpg"), image)
    (tmp_path / "train.txt").write_text("v 3 0\n")
    dataset = index_dataset("list", tmp_path)
    assert dataset.videos[0].frames == RawFrames(count=3, first=1)
    assert check_dataset(dataset).bad == []
    (tmp_path / "v" / "img_00002.jpg").write_text("no image")
    assert check_dataset(dataset).bad[0].reason == "img_00002.jpg cannot be decoded"
    (tmp_path / "v" / "img_00002.jpg").unlink()
    assert check_dataset(dataset).bad[0].reason == "img_00002.jpg is missing, of 3 frames listed"


def test_negative_workers(tmp_path, write_clip):
    for name in ("a/1", "a/2", "b/1", "b/2"):
        write_clip(tmp_path / f"{name}.avi")
    dataset = index_dataset("folder", tmp_path, test_share=0.5)
    with pytest.raises(UsageError, match="-1 workers; give at least 1"):
        check_dataset(dataset, workers=-1)


# --- commands ---------------------------------------------------------------------------------------------------------


def test_command_check(runner, videos):
    result = runner.invoke(main, ["datasets", "check", "folder", "--root", str(videos)])
    assert result.exit_code == 1
    assert f"bad   {videos / 'a' / 'text.avi'}: cannot be opened as a video\n" in result.stdout
    assert "7 videos, " in result.stdout
    assert "4 bad, 1 noted" in result.stdout


def test_command_check_json(runner, videos):
    result = runner.invoke(main, ["datasets", "check", "folder", "--root", str(videos), "--json"])
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert {finding["id"] for finding in found["bad"]} == {"a/text", "a/empty", "a/one", "b/cut"}
    assert [finding["id"] for finding in found["notes"]] == ["b/overstated"]


def test_command_check_of_good_clips_exits_0(runner, tmp_path, write_clip):
    for name in ("a/1", "a/2", "b/1", "b/2"):
        write_clip(tmp_path / f"{name}.avi")
    result = runner.invoke(main, ["datasets", "check", "folder", "--root", str(tmp_path)])
    assert (result.exit_code, result.stderr) == (0, "")


def test_command_list(runner):
    known = json.loads(runner.invoke(main, ["datasets", "list", "--json"]).stdout)
    assert set(known) == {
        *("folder", "hmdb51", "kinetics", "list", "shapes"),
        *("ucf-sports", "ucf101", "ucf11", "weizmann"),
    }
    assert "weizmann" in runner.invoke(main, ["datasets", "list"]).stdout


def test_command_show_counts(runner, tree):
    root = tree([f"{name}/{number}.avi" for name in "ab" for number in range(10)])
    arguments = ["datasets", "show", "folder", "--root", str(root), "--set", "num-splits=2", "--json"]
    found = json.loads(runner.invoke(main, arguments).stdout)
    assert found["classes"] == {"a": 10, "b": 10}
    assert found["splits"] == {name: {"train": 14, "test": 6, "neither": 0} for name in "12"}
    assert found["options"]["seed"] == 0


def test_command_show_without_the_videos(runner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(main, ["datasets", "show", "shapes"])
    assert result.exit_code == 0
    assert "not in data/shapes: it is drawn there when first used" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_command_unknown_data_set_exits_2(runner):
    result = runner.invoke(main, ["datasets", "show", "hmbd51"])
    assert result.exit_code == 2
    assert "error: unknown data set 'hmbd51' (did you mean hmdb51?)" in result.stderr
    assert "Traceback" not in result.stderr


def test_command_set_without_a_value_exits_2(runner, tmp_path):
    result = runner.invoke(main, ["datasets", "check", "folder", "--root", str(tmp_path), "--set", "seed"])
    assert result.exit_code == 2
