"""Decoding: what comes out against OpenCV's plain loop, and what is said of files that give nothing."""

import gc
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import av
import cv2
import numpy as np
import pytest

from avr.core import WorkError
from avr.datasets import Video
from avr.video import (
    Decoder,
    Facts,
    Need,
    Sampling,
    VideoError,
    VideoFile,
    answer,
    decode_held,
    open_frames,
    read_frames,
    sample_steps,
)
from avr.video import decode as decode_needs

SAMPLING = Sampling(segments=3)
RGB = Need(SAMPLING)
PAIRS = Need(SAMPLING, pairs=4, colour=False, flow_images=True)
BOTH = {"rgb": RGB, "flow": PAIRS}
decode = partial(decode_needs, needs=BOTH)
decode_rgb = partial(decode_needs, needs={"rgb": RGB})


def all_frames(path) -> np.ndarray:
    """Every frame, RGB, by a loop that keeps nothing in mind but decode."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_frames_are_those_of_a_plain_loop(clip):
    video = clip(num_frames=20)
    reference = all_frames(video.path)
    decoded = decode(video)
    found = decoded.answers["rgb"]
    assert found.steps.num_frames == open_frames(video).count == len(reference) == 20
    assert found.steps.frames.tolist() == [3, 10, 16]
    np.testing.assert_array_equal(found.images, reference[[3, 10, 16]])
    with av.open(str(video.path)) as container:
        grey = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])
    np.testing.assert_array_equal(decoded.answers["flow"].images, grey[decoded.answers["flow"].pairs.frames])
    assert found.numbers.tolist() == [[3, 10, 16]]
    np.testing.assert_allclose(found.seconds, [[0.12, 0.4, 0.64]])
    assert decoded.facts == Facts(20, 20, 25.0, seconds=0.8, width=64, height=48, codec="mjpeg")
    assert decoded.note == ""
    np.testing.assert_array_equal(read_frames(video, [7, 0, 7]), reference[[7, 0, 7]])


def test_no_frame_outlives_its_video(clip):
    """One that did, in a cycle, would keep all the pictures of its file for as long as Python looks for no cycles."""
    gc.collect()
    gc.disable()
    try:
        decode(clip(num_frames=20))
        assert not [thing for thing in gc.get_objects() if type(thing) is av.VideoFrame]
    finally:
        gc.enable()


def test_a_video_too_long_to_hold_is_decoded_twice_to_the_same(clip):
    video = clip(num_frames=20)
    held = decode(video)
    frames = open_frames(video, hold=5 * 48 * 64 * 3)
    twice = answer(frames, dict.fromkeys(BOTH, sample_steps(SAMPLING, frames.count)), BOTH)
    np.testing.assert_array_equal(twice.answers["rgb"].images, held.answers["rgb"].images)
    np.testing.assert_array_equal(twice.answers["flow"].images, held.answers["flow"].images)
    assert twice.answers["rgb"].steps.num_frames == 20


def test_colour_for_flow_and_its_size(clip):
    video = clip(num_frames=9)
    decoded = decode_needs(video, {"flow": Need(SAMPLING, pairs=4, size=24), "rgb": RGB})
    assert decoded.answers["flow"].images.shape[1:] == (24, 32, 3)
    assert decoded.answers["rgb"].images.shape[1:] == (48, 64, 3)


def test_only_frames_of_the_video_count(clip):
    video = clip(num_frames=20)
    reference = all_frames(video.path)
    part = Video("part", video.path, 0, "g", start=0.2, end=0.44)
    decoded = decode_rgb(part)
    assert decoded.answers["rgb"].steps.num_frames == 6
    np.testing.assert_array_equal(decoded.answers["rgb"].images, reference[[6, 8, 10]])
    with pytest.raises(VideoError, match="it ends before second 30, at which its stretch starts"):
        decode_rgb(Video("late", video.path, 0, "g", start=30))


def test_a_codec_that_this_build_lacks_is_named(clip):
    video = clip()
    video.path.write_bytes(video.path.read_bytes().replace(b"MJPG", b"ZZZZ"))
    with pytest.raises(VideoError, match=r"its codec is not in this build of FFmpeg \(none \(ZZZZ"):
        decode(video)


def test_one_frame(clip):
    decoded = decode(clip(num_frames=1))
    assert decoded.answers["rgb"].steps.views.tolist() == [[0, 0, 0]]
    assert len(decoded.answers["rgb"].images) == len(decoded.answers["flow"].images) == 1


def test_a_header_that_overstates_its_frames(clip, overstate):
    video = clip(num_frames=20)
    overstate(video.path, 50)
    with av.open(str(video.path)) as container:
        assert container.streams.video[0].frames == 50
    decoded = decode_rgb(video)
    assert decoded.answers["rgb"].steps.num_frames == 20
    assert decoded.answers["rgb"].steps.frames.tolist() == [3, 10, 16]
    assert decoded.note == "20 frames decode of 50 promised"


def test_a_clip_cut_in_the_middle_gives_what_decodes(clip):
    video = clip(num_frames=20)
    data = video.path.read_bytes()
    video.path.write_bytes(data[: len(data) // 2])
    decoded = decode_rgb(video)
    assert 5 <= decoded.answers["rgb"].steps.num_frames <= 12
    assert f"{decoded.answers['rgb'].steps.num_frames} frames decode of 20 promised" in decoded.note


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"This is a list of videos.\nclip1.avi\n" * 30, "is a text file, not a video", id="text"),
        pytest.param("é".encode() * 400, "is a text file, not a video", id="text-cut-inside-a-letter"),
        pytest.param(b"", "the file is empty", id="empty"),
        pytest.param(bytes(range(256)) * 20, "cannot be opened as a video", id="noise"),
        pytest.param(None, "no such file", id="missing"),
    ],
)
def test_files_that_are_no_video(tmp_path, content, message):
    path = tmp_path / "clip.avi"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoError, match=message) as caught:
        decode_rgb(Video("clip", path, 0, "g"))
    assert caught.value.reason.startswith(message)
    assert str(path) in str(caught.value)


def test_a_video_whose_frames_are_cut_away(clip):
    video = clip(num_frames=20)
    data = video.path.read_bytes()
    video.path.write_bytes(data[: data.index(b"movi") + 4])
    with pytest.raises(VideoError, match=r"no frame decodes|cannot be opened as a video"):
        decode_rgb(video)


def test_raw_frames_and_their_flow_images(folder):
    video, frames = folder
    decoded = decode(video)
    assert decoded.answers["rgb"].steps.num_frames == 12
    np.testing.assert_array_equal(decoded.answers["rgb"].images, frames[decoded.answers["rgb"].steps.frames][..., ::-1])
    assert decoded.answers["flow"].ready is not None
    assert decoded.answers["flow"].ready.shape == (len(decoded.answers["flow"].pairs.firsts), 2, 30, 40)
    # Pair p (from 0) is image p + 1 (from 1).
    assert decoded.answers["flow"].ready[:, 0, 0, 0].tolist() == (decoded.answers["flow"].pairs.firsts + 1).tolist()
    assert decoded.answers["flow"].ready[:, 1, 0, 0].tolist() == (decoded.answers["flow"].pairs.firsts + 101).tolist()
    assert decoded.answers["flow"].images.size == 0


def test_raw_frames_without_flow_images_have_their_flow_computed(folder):
    video, _ = folder
    for path in video.path.glob("flow_*"):
        path.unlink()
    decoded = decode(video)
    assert decoded.answers["flow"].ready is None
    assert len(decoded.answers["flow"].images) == len(decoded.answers["flow"].pairs.frames)


def test_flow_images_alone_serve_the_flow_stream(folder):
    video, _ = folder
    for path in video.path.glob("img_*"):
        path.unlink()
    decoded = decode_needs(video, {"flow": PAIRS})
    assert decoded.answers["flow"].ready is not None
    with pytest.raises(VideoError, match=r"img_00003.png is missing"):
        decode(video)


def test_a_raw_frame_or_flow_image_that_is_missing(folder):
    video, _ = folder
    (video.path / "flow_y_00006.png").unlink()
    with pytest.raises(VideoError, match=r"flow_y_00006.png is missing"):
        decode(video)
    (video.path / "img_00008.png").unlink()
    with pytest.raises(VideoError, match=r"img_00008.png is missing, 12 frames are listed"):
        open_frames(video)


def test_raw_frames_of_several_sizes_are_refused(folder):
    video, frames = folder
    cv2.imwrite(str(video.path / "img_00011.png"), frames[0][:20])
    with pytest.raises(VideoError, match="change size: 64x20 and 64x48"):
        decode_rgb(video)


def test_the_child_gives_what_this_process_gives(clip, folder):
    with Decoder(decode) as decoder:
        for video in (clip(num_frames=20), folder[0]):
            here, there = decode(video), decoder(video)
            assert there.note == here.note
            for name, found in here.answers.items():
                np.testing.assert_array_equal(there.answers[name].images, found.images)
                np.testing.assert_array_equal(there.answers[name].ready, found.ready)
                np.testing.assert_array_equal(there.answers[name].steps.views, found.steps.views)
                assert there.answers[name].images.flags.writeable  # torch refuses others
            np.testing.assert_array_equal(there.answers["flow"].pairs.stacks, here.answers["flow"].pairs.stacks)
        with pytest.raises(VideoError, match="no such file"):
            decoder(Video("none", clip().path.with_name("none.avi"), 0, "g"))
        assert len(decoder(clip(num_frames=9)).answers["rgb"].images) == 3  # goes on after a failure


def test_a_video_that_hangs_the_decoder_is_given_up(endless, clip):
    with Decoder(decode_rgb, time_limit=3.0) as decoder:
        with pytest.raises(VideoError, match="decoding took more than 3 s"):
            decoder(Video("endless", endless, 0, "g"))
        decoder.time_limit = 60.0
        assert len(decoder(clip(num_frames=9)).answers["rgb"].images) == 3


def test_a_crash_of_the_decoder_costs_one_video(endless, clip):
    with Decoder(decode_rgb) as decoder:
        decoder(clip(num_frames=9))
        crash = threading.Timer(0.3, lambda: os.kill(*decoder.pids, signal.SIGKILL))
        crash.start()
        with pytest.raises(VideoError, match=r"the decoder crashed on it .SIGKILL."):
            decoder(Video("endless", endless, 0, "g"))
        assert len(decoder(clip(num_frames=9)).answers["rgb"].images) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="only there a child ends with a thread")
def test_a_decoder_that_ended_while_it_waited_costs_no_video(clip):
    with Decoder(decode_rgb) as decoder:
        with ThreadPoolExecutor(1) as pool:  # a child ends with the thread that started it
            pool.submit(decoder, clip(num_frames=9)).result()
        os.waitid(os.P_PID, decoder.pids[0], os.WEXITED | os.WNOWAIT)
        assert len(decoder(clip(num_frames=9)).answers["rgb"].images) == 3


def test_a_decoder_that_does_not_start_says_why(tmp_path, monkeypatch, clip):
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(
        WorkError, match=r"^the decoding process does not start: .* ImportError: libGL.so.1: cannot open"
    ):
        Decoder(decode)(clip())


def test_a_decoder_imports_nothing_from_the_working_directory(tmp_path, monkeypatch, clip):
    (tmp_path / "queue.py").write_text("raise SystemExit('taken from the working directory')")
    monkeypatch.chdir(tmp_path)
    with Decoder(decode) as decoder:
        assert decoder(clip(num_frames=9)).answers["rgb"].steps.num_frames == 9


def test_frames_in_memory_are_decoded_as_a_file_is(clip):
    video = clip(num_frames=20)
    with VideoFile(video.path) as file:
        frames = list(file)
        assert (file.decoded, file.promised, file.rate) == (20, 20, 25.0)
    held, decoded = decode_held(frames, BOTH), decode(video)
    for name in BOTH:
        np.testing.assert_array_equal(held.answers[name].images, decoded.answers[name].images)


def test_frames_are_had_without_torch():
    code = """
import sys
sys.modules["torch"] = None  # an import of it fails
import avr.video
assert all(hasattr(avr.video, name) for name in dir(avr.video))
import avr.video.child
"""
    subprocess.run([sys.executable, "-c", code], check=True)
