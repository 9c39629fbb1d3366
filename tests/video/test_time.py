"""Time in videos: stretches of a file, grids of so many frames a second, which second a step shows."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avr.datasets import Dataset, Video
from avr.video import (
    ArrayFrame,
    HeldFrames,
    Need,
    Sampling,
    VideoError,
    VideoFile,
    check_dataset,
    decode,
    open_frames,
    read_frames,
)

SIZE = (48, 64)  # height, width


def encode(path: Path, count: int, rate: int, *, codec: str = "libx264", stamps=None) -> Path:
    """A clip with a bar that goes once across the picture in `count` frames; `stamps` in thousandths of a second."""
    with av.open(str(path), "w") as file:
        options = {"g": "12", "bf": "2"} if codec == "libx264" else {}
        stream = file.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(count):
            image = np.zeros((*SIZE, 3), np.uint8)
            image[:, round(number / count * (SIZE[1] - 8)) :][:, :8] = 255
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts = number if stamps is None else stamps[number]
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def place_of_bar(image: np.ndarray) -> float:
    """Where the bar is, 0…1 of the picture's width."""
    weights = image[..., 0].astype(float).mean(0)
    return float((weights * np.arange(SIZE[1])).sum() / weights.sum() / SIZE[1])


def images_of(path: Path) -> np.ndarray:
    with VideoFile(path) as file:
        return np.stack([frame.rgb() for frame in file])


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.avi"])
def test_a_stretch_is_those_frames_of_its_file(tmp_path, name):
    """MP4 and Matroska are entered at a key frame, the others read from their start: the frames are the same."""
    path = encode(tmp_path / name, 60, 25)
    whole = images_of(path)
    for start, end in ((0.0, 0.4), (0.52, 1.0), (1.96, 2.4), (2.2, None)):
        frames = open_frames(Video("part", path, 0, "g", start=start or None, end=end))
        first, last = round(start * 25), 60 if end is None else round(end * 25)
        assert frames.count == last - first
        np.testing.assert_allclose(frames.seconds, np.arange(first, last) / 25, atol=0.0015)
        taken = frames.take(range(frames.count))
        np.testing.assert_array_equal(np.stack([taken[n].rgb() for n in range(frames.count)]), whole[first:last])
        assert (frames.facts.start, frames.facts.end) == (start, end or 0.0)
        assert frames.note == ""


def test_stretches_that_are_not_in_the_file(tmp_path):
    path = encode(tmp_path / "clip.mp4", 30, 25)
    with pytest.raises(VideoError, match="it ends before second 5, at which its stretch starts"):
        open_frames(Video("late", path, 0, "g", start=5, end=6))
    assert open_frames(Video("long", path, 0, "g", end=9)).note == "it ends at 1.20 s, its stretch was to end at 9 s"


def test_a_grid_in_time_shows_the_same_motion_at_every_rate(tmp_path):
    """One second of one motion at 15, 30 and 60 frames a second: at --fps 15 the same steps and pairs."""
    sampling = Sampling(segments=5, fps=15)
    needs = {"rgb": Need(sampling), "flow": Need(sampling, pairs=4, colour=False)}
    shown = {}
    for rate in (15, 30, 60):
        path = encode(tmp_path / f"{rate}.mp4", rate, rate)
        decoded = decode(Video(str(rate), path, 0, "g"), needs)
        found = decoded.answers["rgb"]
        assert found.steps.num_frames == 15
        assert decoded.facts.frames == decoded.facts.rate == rate
        np.testing.assert_allclose(found.seconds, found.numbers / rate, atol=1e-6)
        assert len(decoded.answers["flow"].images) == len(decoded.answers["flow"].pairs.frames)
        shown[rate] = found.seconds.tolist(), [place_of_bar(image) for image in found.images]
    for rate in (30, 60):
        np.testing.assert_allclose(shown[rate][0], shown[15][0], atol=1e-6)
        np.testing.assert_allclose(shown[rate][1], shown[15][1], atol=0.02)
    off = decode(Video("60", tmp_path / "60.mp4", 0, "g"), {"rgb": Need(Sampling(segments=5))})
    assert off.answers["rgb"].steps.num_frames == 60


def test_a_grid_finer_than_the_frames_repeats_them(tmp_path):
    frames = open_frames(Video("clip", encode(tmp_path / "clip.mp4", 10, 10), 0, "g"), fps=20)
    assert frames.count == 20
    assert frames.numbers.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9]


def test_a_rate_that_varies_is_told_and_its_seconds_are_the_stamps(tmp_path):
    stamps = [0, 20, 40, 60, 80, 280, 480, 680, 880, 1080]
    frames = open_frames(Video("clip", encode(tmp_path / "clip.mkv", 10, 25, stamps=stamps), 0, "g"), fps=5)
    assert frames.facts.varies
    assert "its frame rate varies" in frames.note
    assert frames.numbers.tolist() == [0, 5, 6, 7, 8, 9]  # at 0, 200, 400 … ms the nearest
    np.testing.assert_allclose(frames.seconds, [0, 0.28, 0.48, 0.68, 0.88, 1.08], atol=1e-6)


def test_raw_frames_tell_no_time(folder):
    with pytest.raises(VideoError, match="raw frames tell no time: leave out --fps"):
        open_frames(folder[0], fps=10)


def test_a_list_of_other_files_is_not_followed(tmp_path):
    encode(tmp_path / "secret.ts", 10, 25)
    for name, text in (
        ("a.avi", "#EXTM3U\n#EXTINF:1,\nsecret.ts\n"),
        ("b.avi", "ffconcat version 1.0\nfile secret.ts\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(VideoError, match="is a text file, not a video"):
            open_frames(Video("list", tmp_path / name, 0, "g"))


@pytest.mark.parametrize(("share", "limit", "refused"), [(0.05, 0.1, False), (0.4, 0.1, True), (0.4, 0.9, False)])
def test_damage_beyond_the_limit_is_refused_and_says_what_takes_it(tmp_path, share, limit, refused):
    path = encode(tmp_path / "clip.avi", 40, 25, codec="mjpeg")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for offset, size in places[1 : 1 + round(share * len(places))]:
        data[offset + 8 : offset + 8 + size - 10] = bytes(size - 10)
    path.write_bytes(data)
    video, sampling = Video("clip", path, 0, "g"), Sampling(segments=3, damage=limit)
    if refused:
        with pytest.raises(
            VideoError, match=r"too damaged: 16 of 40 packets do not decode, .*; avr extract --damage 0\.38 takes it"
        ):
            decode(video, {"rgb": Need(sampling)})
    else:
        assert f"{round(share * 40)} of 40 packets do not decode" in decode(video, {"rgb": Need(sampling)}).note


def damaged_between(path: Path, start: float, end: float) -> Path:
    """The clip with its packets of those seconds overwritten."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.size and start <= packet.dts * packet.time_base < end:
                data[packet.pos + 20 : packet.pos + packet.size] = bytes(max(0, packet.size - 20))
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["clip.avi", "clip.mp4"])
def test_damage_before_a_stretch_is_none_of_its_own(tmp_path, name):
    path = encode(tmp_path / name, 100, 25)
    whole = images_of(path)
    damaged_between(path, 0.6, 1.6)
    assert "FFmpeg says h264: " in open_frames(Video("whole", path, 0, "g")).note
    part = Video("part", path, 0, "g", start=3, end=4)
    assert (open_frames(part).note, open_frames(part).damage) == ("", 0)
    np.testing.assert_array_equal(read_frames(part, range(25)), whole[75:])


def test_a_stretch_between_two_frames_and_one_of_a_cut_file(tmp_path):
    path = encode(tmp_path / "clip.avi", 100, 25)
    with pytest.raises(VideoError, match=r"no frame is shown from second 1.01 to 1.02"):
        open_frames(Video("none", path, 0, "g", start=1.01, end=1.02))
    data = path.read_bytes()
    path.write_bytes(data[: 3 * len(data) // 4])
    videos = (Video("part", path, 0, "g", start=1, end=2), Video("whole", path, 0, "g"))
    result = check_dataset(Dataset("all", tmp_path, ("a",), videos, {}), workers=1)
    assert [finding.id for finding in result.bad] == ["whole"]


def test_stamps_that_do_not_rise_are_counted_in_memory_too():
    frames = [ArrayFrame(np.zeros((4, 4, 3), np.uint8), second) for second in (0.0, 0.0, np.nan, 0.0)]
    assert HeldFrames(frames, fps=25).seconds.tolist() == [0, 0.04, 0.08, 0.12]


def test_flow_images_alone_are_no_fault(folder):
    video, _ = folder
    for path in video.path.glob("img_*"):
        path.unlink()
    assert check_dataset(Dataset("all", video.path, ("a",), (video,), {}), workers=1).bad == []
    (video.path / "flow_y_00004.png").write_text("no image")
    bad = check_dataset(Dataset("all", video.path, ("a",), (video,), {}), workers=1).bad
    assert [finding.reason for finding in bad] == ["flow_y_00004.png is missing or cannot be read"]


def test_a_stretch_at_the_very_end_which_no_packet_follows(tmp_path):
    path = encode(tmp_path / "clip.mp4", 60, 25)
    whole = images_of(path)
    for first in (57, 58, 59):
        part = Video("part", path, 0, "g", start=first / 25)
        assert (open_frames(part).count, open_frames(part).damage) == (60 - first, 0)
        np.testing.assert_array_equal(read_frames(part, range(60 - first)), whole[first:])


def test_stamps_that_start_again_go_on_behind_the_last(tmp_path):
    parts = [encode(tmp_path / name, 10, 25).read_bytes() for name in ("a.ts", "b.ts")]
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    with VideoFile(tmp_path / "both.ts") as file:
        seconds = [frame.second for frame in file]
    assert len(seconds) == 20
    assert (np.diff(seconds) > 0).all()
    np.testing.assert_allclose(np.diff(seconds), 0.04, atol=0.001)
