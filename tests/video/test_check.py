"""`check_dataset` and `avr datasets check` on clips made bad in each way."""

import contextlib
import json
import os
import shutil
import signal
import struct
import sys
import threading
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from avr.cli import main
from avr.core import UsageError
from avr.datasets import Dataset, RawFrames, Video, index_dataset
from avr.video import Need, Sampling, VideoError, VideoFile, bytes_missing, check_dataset, decode, open_frames


@pytest.fixture
def videos(tmp_path, write_clip, overstate) -> Path:
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
    overstate(root / "b" / "overstated.avi", 30)
    return root


def test_check_lists_each_bad_video_with_its_reason_and_keeps_the_decoder_quiet(videos, capfd):
    dataset = index_dataset("folder", videos, drawn=False)
    dataset = replace(dataset, videos=(*dataset.videos, Video("a/gone", videos / "a" / "gone.avi", 0, "g")))
    result = check_dataset(dataset, workers=2)
    assert capfd.readouterr().err == ""
    assert result.videos == 8
    reasons = {finding.id: finding.reason for finding in result.bad}
    assert set(reasons) == {"a/text", "a/empty", "a/one", "a/gone", "b/cut"}
    assert reasons["a/text"] == "is a text file, not a video"
    assert reasons["a/empty"] == "the file is empty"
    assert reasons["a/one"] == "one frame only: there is no motion to see"
    assert reasons["a/gone"] == "no such file"
    assert reasons["b/cut"].startswith("cut in the middle: ")
    # A header that promises too much is worth a note: the clip can be used.
    assert [(finding.id, finding.reason) for finding in result.notes] == [
        (
            "b/cut",
            "1 of 20 packets do not decode, the first at 0.8 s; 19 frames decode of 40 promised; "
            "FFmpeg says mjpeg: dht: invalid len 181",
        ),
        ("b/overstated", "12 frames decode of 30 promised"),
    ]


def test_claims_of_real_clips(real_data):
    for path in sorted((real_data / "clips").glob("*.avi")):
        assert bytes_missing(path) == 0
        with VideoFile(path) as file:
            assert file.promised == open_frames(Video("clip", path, 0, "g"), hold=0).count > 50
            assert 24 < file.rate < 31


def test_a_duration_beyond_all_measure_is_believed_to_a_bound(tmp_path):
    """Matroska's own field, as a broken muxer wrote it."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        for frame in [av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")] * 12:
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    content = path.read_bytes()
    place = content.index(b"\x44\x89\x88") + 3
    path.write_bytes(content[:place] + struct.pack(">d", 1e12) + content[place + 8 :])
    facts = open_frames(Video("a", path, 0, "g")).facts
    assert (facts.frames, facts.promised) == (12, 10**9)


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
    for name in ("good", "damaged", "holed"):
        (tmp_path / name).mkdir()
        for number in (1, 2, 3):
            cv2.imwrite(str(tmp_path / name / f"img_{number:05d}.jpg"), image)
            if number < 3:
                cv2.imwrite(str(tmp_path / name / f"flow_x_{number:05d}.jpg"), image)
    (tmp_path / "damaged" / "img_00002.jpg").write_text("no image")
    (tmp_path / "holed" / "img_00002.jpg").unlink()
    (tmp_path / "train.txt").write_text("good 3 0\ndamaged 3 0\nholed 3 0\n")
    dataset = index_dataset("list", tmp_path)
    assert dataset.videos[0].frames == RawFrames(count=3, first=1)
    assert {finding.id: finding.reason for finding in check_dataset(dataset, workers=1).bad} == {
        "damaged": "img_00002.jpg is missing or cannot be read",
        "holed": "img_00002.jpg is missing, 3 frames are listed",
    }


def files_of_every_kind(root: Path, write_clip, overstate, raw: Video) -> list[Video]:
    """What the tests of decoding decode, good and bad."""
    contents = {
        "text": b"This is a list of videos.\nclip1.avi\n" * 30,
        "letters": "é".encode() * 400,
        "empty": b"",
        "noise": bytes(range(256)) * 20,
    }
    for name, content in contents.items():
        (root / f"{name}.avi").write_bytes(content)
    whole = write_clip(root / "good.avi", 20).read_bytes()
    (root / "cut.avi").write_bytes(whole[: len(whole) // 2])
    (root / "headless.avi").write_bytes(whole[: whole.index(b"movi") + 4])
    overstate(write_clip(root / "overstated.avi", 20), 21)
    write_clip(root / "one.avi", 1)
    (root / "folder.avi").mkdir()
    videos = [Video(path.stem, path, 0, "g") for path in sorted(root.glob("*.avi"))]
    good = root / "good.avi"
    videos += [Video("part", good, 0, "g", start=0.2, end=0.44), Video("late", good, 0, "g", start=30)]
    videos += [Video("none", root / "none.avi", 0, "g"), raw, replace(raw, id="gone", path=root / "none")]
    for name in ("holed", "sizes", "flowless", "damaged"):
        videos.append(replace(raw, id=name, path=shutil.copytree(raw.path, root / name)))
    (root / "holed" / "img_00008.png").unlink()
    cv2.imwrite(str(root / "sizes" / "img_00011.png"), np.zeros((20, 64, 3), np.uint8))
    (root / "flowless" / "flow_y_00006.png").unlink()
    (root / "damaged" / "img_00007.png").write_text("no image")
    return videos


def test_check_and_extraction_agree(tmp_path, write_clip, overstate, folder):
    place = tmp_path / "videos"
    place.mkdir()
    videos = files_of_every_kind(place, write_clip, overstate, folder[0])
    dataset = Dataset("all", place, ("all",), tuple(videos), {})
    result = check_dataset(dataset, workers=2)
    bad = {finding.id: finding.reason for finding in result.bad}
    refused = {}
    for video in videos:
        try:
            twelve = Sampling(segments=12)
            flow = Need(twelve, pairs=4, colour=False, flow_images=True)
            decode(video, {"rgb": Need(twelve), "flow": flow})
        except VideoError as error:
            refused[video.id] = error.reason
    # What extraction refuses is bad, for the same reason but where the check can say more.
    unreadable = {"text", "letters", "empty", "noise", "headless", "folder", "none", "late"}
    assert set(refused) == unreadable | {"gone", "sizes", "flowless", "damaged", "holed"}
    assert set(refused) <= set(bad)
    assert {name for name in refused if bad[name] != refused[name]} == {"headless"}
    assert bad["headless"].startswith(refused["headless"] + "; ")
    # What it takes and the check calls bad.
    assert {name: reason for name, reason in bad.items() if name not in refused} == {
        "cut": bad["cut"],
        "one": "one frame only: there is no motion to see",
    }
    assert bad["cut"].startswith("cut in the middle: ")
    assert {finding.id for finding in result.notes} == {"cut", "overstated"}


@pytest.fixture
def with_an_endless_one(tmp_path, write_clip, endless) -> Dataset:
    """Two good clips, and before them one that the decoder does not come to the end of."""
    paths = [endless, *(write_clip(tmp_path / f"good{number}.avi") for number in "12")]
    return Dataset("all", tmp_path, ("all",), tuple(Video(path.stem, path, 0, "g") for path in paths), {})


def test_a_video_that_hangs_the_decoder_costs_that_video_alone(with_an_endless_one):
    result = check_dataset(with_an_endless_one, workers=1, time_limit=3)
    assert [(finding.id, finding.reason) for finding in result.bad] == [("endless", "decoding took more than 3 s")]
    assert (result.videos, result.frames) == (3, 24)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the child in /proc")
def test_a_crash_of_the_decoder_costs_one_video(with_an_endless_one):
    path = with_an_endless_one.videos[0].path

    def crash() -> None:
        while True:
            for children in Path("/proc/self/task").glob("*/children"):
                for child in children.read_text().split():
                    with contextlib.suppress(OSError):
                        if any(link.resolve() == path for link in Path(f"/proc/{child}/fd").iterdir()):
                            os.kill(int(child), signal.SIGSEGV)
                            return

    thread = threading.Thread(target=crash)
    thread.start()
    result = check_dataset(with_an_endless_one, workers=1, time_limit=60)
    thread.join()
    assert [(finding.id, finding.reason) for finding in result.bad] == [
        ("endless", "the decoder crashed on it (SIGSEGV)")
    ]
    assert result.frames == 24


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe that blocks who opens it")
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.avi")
    with pytest.raises(VideoError, match="is no regular file"):
        open_frames(Video("pipe", tmp_path / "pipe.avi", 0, "g"))


def test_numbers_that_make_no_sense(tmp_path):
    dataset = Dataset("none", tmp_path, ("all",), (), {})
    with pytest.raises(UsageError, match="-1 workers; give at least 1"):
        check_dataset(dataset, workers=-1)
    with pytest.raises(UsageError, match="the time limit must be above 0 s, not 0"):
        check_dataset(dataset, time_limit=0)


# --- commands ---------------------------------------------------------------------------------------------------------


def test_command_check(runner, videos):
    result = runner.invoke(main, ["datasets", "check", "folder", "--root", str(videos)])
    assert result.exit_code == 1
    assert f"bad   {videos / 'a' / 'text.avi'}: is a text file, not a video\n" in result.stdout
    assert "7 videos, " in result.stdout
    assert "4 bad, 2 with notes" in result.stdout
    cut, overstated = (videos / "b" / f"{name}.avi" for name in ("cut", "overstated"))
    assert (
        f"note  2 videos: … frames decode of … promised\n        {cut}: 19 frames decode of 40 promised\n"
        f"        {overstated}: 12 frames decode of 30 promised\n"
    ) in result.stdout
    assert f"note  {cut}: FFmpeg says mjpeg: dht: invalid len 181\n" in result.stdout


def test_command_check_json(runner, videos):
    result = runner.invoke(main, ["datasets", "check", "folder", "--root", str(videos), "--json"])
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert {finding["id"] for finding in found["bad"]} == {"a/text", "a/empty", "a/one", "b/cut"}
    assert [finding["id"] for finding in found["notes"]] == ["b/cut", "b/overstated"]


def test_good_clips_exit_0(runner, tmp_path, write_clip):
    for number, name in enumerate(("a/1", "a/2", "b/1", "b/2"), start=5):
        write_clip(tmp_path / f"{name}.avi", num_frames=number)
    result = runner.invoke(main, ["datasets", "check", "folder", "--root", str(tmp_path)])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "4 videos, 26 frames in " in result.stdout
    assert result.stdout.endswith(" s: 0 bad, 0 with notes\n")
