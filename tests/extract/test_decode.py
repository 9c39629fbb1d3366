"""Decoding: what comes out against OpenCV's plain loop, and what is said of files that give nothing."""

import os
import struct
import sys
import time

import cv2
import numpy as np
import pytest

from avr.datasets import RawFrames, Video
from avr.extract import Settings, decode
from avr.extract._decoder import Decoder
from avr.extract.decode import VideoError, count_frames, decode_video, read_frames

RGB = Settings(streams=("rgb",), segments=3)
BOTH = Settings(segments=3, stack=4)


def all_frames(path) -> np.ndarray:
    """Every frame, RGB, by a loop that keeps nothing in mind but read()."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        whole, frame = capture.read()
        if not whole:
            return np.array(frames)
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


def overstate(path, frames: int) -> None:
    """Write another frame count into an AVI's two headers."""
    data = bytearray(path.read_bytes())
    main, stream = data.index(b"avih"), data.index(b"strh")
    data[main + 8 + 16 : main + 8 + 20] = struct.pack("<I", frames)
    data[stream + 8 + 32 : stream + 8 + 36] = struct.pack("<I", frames)
    path.write_bytes(data)


def test_frames_are_those_of_a_plain_loop(clip):
    video = clip(num_frames=20)
    reference = all_frames(video.path)
    decoded = decode_video(video, BOTH)
    assert decoded.needs.num_frames == count_frames(video) == len(reference) == 20
    assert decoded.needs.frames.tolist() == [3, 10, 16]
    np.testing.assert_array_equal(decoded.rgb, reference[[3, 10, 16]])
    grey = [cv2.cvtColor(reference[index], cv2.COLOR_RGB2GRAY) for index in decoded.needs.flow_frames]
    # From BGR or from RGB, the same weights apply to the same channels.
    np.testing.assert_array_equal(decoded.flow_frames, grey)
    assert decoded.note == ""
    np.testing.assert_array_equal(read_frames(video, [7, 0, 7]), reference[[7, 0, 7]])


def test_a_video_too_long_to_hold_is_decoded_twice_to_the_same(clip, monkeypatch):
    video = clip(num_frames=20)
    held = decode_video(video, BOTH)
    monkeypatch.setattr(decode, "HOLD_BYTES", 5 * 48 * 64 * 3)
    twice = decode_video(video, BOTH)
    np.testing.assert_array_equal(twice.rgb, held.rgb)
    np.testing.assert_array_equal(twice.flow_frames, held.flow_frames)
    assert twice.needs.num_frames == 20


def test_colour_for_flow_and_its_size(clip):
    video = clip(num_frames=9)
    decoded = decode_video(video, BOTH.change(flow_size=24), colour_flow=True)
    assert decoded.flow_frames.shape[1:] == (24, 32, 3)
    assert decoded.rgb.shape[1:] == (48, 64, 3)


def test_only_frames_of_the_video_count(clip):
    video = clip(num_frames=20)
    reference = all_frames(video.path)
    part = Video("part", video.path, 0, "g", start=5, end=11)
    decoded = decode_video(part, RGB)
    assert decoded.needs.num_frames == 6
    np.testing.assert_array_equal(decoded.rgb, reference[[6, 8, 10]])
    with pytest.raises(VideoError, match="only 20 frames decode, it starts at 30"):
        decode_video(Video("late", video.path, 0, "g", start=30), RGB)


def test_one_frame(clip):
    decoded = decode_video(clip(num_frames=1), BOTH)
    assert decoded.needs.views.tolist() == [[0, 0, 0]]
    assert len(decoded.rgb) == len(decoded.flow_frames) == 1


def test_a_header_that_overstates_its_frames(clip):
    video = clip(num_frames=20)
    overstate(video.path, 50)
    assert int(cv2.VideoCapture(str(video.path)).get(cv2.CAP_PROP_FRAME_COUNT)) == 50
    decoded = decode_video(video, RGB)
    assert decoded.needs.num_frames == 20
    assert decoded.needs.frames.tolist() == [3, 10, 16]
    assert decoded.note == "20 frames decode of 50 promised"


def test_a_clip_cut_in_the_middle_gives_what_decodes(clip):
    video = clip(num_frames=20)
    data = video.path.read_bytes()
    video.path.write_bytes(data[: len(data) // 2])
    decoded = decode_video(video, RGB)
    assert 5 <= decoded.needs.num_frames <= 12
    assert decoded.note == f"{decoded.needs.num_frames} frames decode of 20 promised"


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
        decode_video(Video("clip", path, 0, "g"), RGB)
    assert caught.value.reason.startswith(message)
    assert str(path) in str(caught.value)


def test_a_video_whose_frames_are_cut_away(clip):
    video = clip(num_frames=20)
    data = video.path.read_bytes()
    video.path.write_bytes(data[: data.index(b"movi") + 4])
    with pytest.raises(VideoError, match=r"no frame decodes|cannot be opened as a video"):
        decode_video(video, RGB)


@pytest.fixture
def folder(tmp_path, draw):
    """Raw frames counted from 1, with flow images, lossless so that they can be compared."""
    place = tmp_path / "raw"
    place.mkdir()
    frames = draw(12)
    for number, frame in enumerate(frames, 1):
        cv2.imwrite(str(place / f"img_{number:05d}.png"), frame)
        if number < 12:
            for axis, value in (("x", number), ("y", 100 + number)):
                cv2.imwrite(str(place / f"flow_{axis}_{number:05d}.png"), np.full((30, 40), value, np.uint8))
    names = {"image": "img_{:05d}.png", "flow_x": "flow_x_{:05d}.png", "flow_y": "flow_y_{:05d}.png"}
    return Video("raw", place, 0, "g", frames=RawFrames(12, 1, **names)), frames


def test_raw_frames_and_their_flow_images(folder):
    video, frames = folder
    decoded = decode_video(video, BOTH)
    assert decoded.needs.num_frames == 12
    np.testing.assert_array_equal(decoded.rgb, frames[decoded.needs.frames][..., ::-1])
    assert decoded.flow_images is not None
    assert decoded.flow_images.shape == (len(decoded.needs.pairs), 2, 30, 40)
    # Pair p (from 0) is image p + 1 (from 1).
    assert decoded.flow_images[:, 0, 0, 0].tolist() == (decoded.needs.pairs + 1).tolist()
    assert decoded.flow_images[:, 1, 0, 0].tolist() == (decoded.needs.pairs + 101).tolist()
    assert decoded.flow_frames.size == 0


def test_raw_frames_without_flow_images_have_their_flow_computed(folder):
    video, _ = folder
    for path in video.path.glob("flow_*"):
        path.unlink()
    decoded = decode_video(video, BOTH)
    assert decoded.flow_images is None
    assert len(decoded.flow_frames) == len(decoded.needs.flow_frames)


def test_flow_images_alone_serve_the_flow_stream(folder):
    video, _ = folder
    for path in video.path.glob("img_*"):
        path.unlink()
    decoded = decode_video(video, Settings(streams=("flow",), segments=3, stack=4))
    assert decoded.flow_images is not None
    with pytest.raises(VideoError, match=r"img_00002.png is missing"):
        decode_video(video, BOTH)


def test_a_raw_frame_or_flow_image_that_is_missing(folder):
    video, _ = folder
    (video.path / "flow_y_00006.png").unlink()
    with pytest.raises(VideoError, match=r"flow_y_00006.png is missing"):
        decode_video(video, BOTH)
    (video.path / "img_00008.png").unlink()
    assert count_frames(video) == 7


def test_raw_frames_of_several_sizes_are_refused(folder):
    video, frames = folder
    cv2.imwrite(str(video.path / "img_00011.png"), frames[0][:20])
    with pytest.raises(VideoError, match="change size: 64x20 and 64x48"):
        decode_video(video, RGB)


def test_the_child_gives_what_this_process_gives(clip, folder):
    decoder = Decoder(BOTH)
    try:
        for video in (clip(num_frames=20), folder[0]):
            here, there = decode_video(video, BOTH), decoder(video)
            for name in ("rgb", "flow_frames", "flow_images"):
                np.testing.assert_array_equal(getattr(there, name), getattr(here, name))
            assert there.note == here.note
            np.testing.assert_array_equal(there.needs.stacks, here.needs.stacks)
        with pytest.raises(VideoError, match="no such file"):
            decoder(Video("none", clip().path.with_name("none.avi"), 0, "g"))
        assert len(decoder(clip(num_frames=9)).rgb) == 3  # goes on after a failure
    finally:
        decoder.close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe that blocks who opens it")
def test_a_video_that_hangs_the_decoder_is_given_up(tmp_path, clip):
    os.mkfifo(tmp_path / "hangs.avi")  # opening it waits for a writer that never comes
    decoder = Decoder(RGB, time_limit=1.0)
    try:
        start = time.monotonic()
        with pytest.raises(VideoError, match="decoding took more than 1 s"):
            decoder(Video("hangs", tmp_path / "hangs.avi", 0, "g"))
        assert time.monotonic() - start < 60
        decoder.time_limit = 60.0
        assert len(decoder(clip(num_frames=9)).rgb) == 3
    finally:
        decoder.close()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_crash_of_the_decoder_costs_one_video(clip):
    decoder = Decoder(RGB)
    try:
        decoder(clip(num_frames=9))
        decoder.kill()
        with pytest.raises(VideoError, match=r"the decoder crashed on it .SIGKILL."):
            decoder(clip(num_frames=9))
        assert len(decoder(clip(num_frames=9)).rgb) == 3
    finally:
        decoder.close()
