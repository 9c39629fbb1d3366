"""Every kind of file, in small: avr's frames against PyAV used directly, and against the pictures that went in.

Files are written by `benchmarks/videos.py`, the reference is that of `benchmarks/frames.py`, which compares the same
kinds with the ffmpeg program. No program is needed here.
"""

import importlib.util
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from avr.datasets import Video
from avr.video import Decoder, Need, Sampling, VideoError, VideoFile, decode


def script(name: str) -> ModuleType:
    """A benchmark as a module."""
    path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FRAMES = 10
DAMAGE = "damage|do not decode|in part"
videos, reference = script("videos"), script("frames")
THREE = Sampling(segments=3)
WORK = partial(decode, needs={"rgb": Need(THREE), "flow": Need(THREE, pairs=2, colour=False)})
# Every container and codec, and each kind with one that has it.
KINDS = {
    "mp4-h264": "plain one 10bit 422-10bit 422 444 grey odd tff bff full bt709 vfr rot90 rot180 rot270 mirror flip "
    "rot90-mirror two two-default fragmented faststart edited damaged-first damaged-middle",
    "mkv-ffv1": "plain 10bit 422 444 grey rgb alpha odd tff bff full",
    "avi-mpeg4": "plain one odd tff two cut damaged-first damaged-middle",
    "mp4-h264rgb": "plain rot90",
    "mp4-hevc": "plain 10bit edited damaged-middle",
    "mp4-av1": "plain edited",
    "mkv-vp9": "444 alpha vfr no-duration two-default",
    "webm-vp8": "plain alpha",
    "mov-prores": "plain alpha rot270 tff",
    "mov-rle": "alpha",
    "avi-mjpeg": "422 odd cut",
    "avi-raw": "422 rgb grey",
    "avi-png": "alpha grey",
    "avi-msmpeg4": "plain",
    "nut-ffv1": "plain",
    "mpg-mpeg1": "odd resized",
    "ts-mpeg2": "bff resized cut damaged-first",
    "ts-h264": "bt709 resized",
    "gif-gif": "plain vfr cut",
    "flv-flv1": "plain",
    "3gp-mpeg4": "rot180",
    "wmv-wmv2": "plain",
    "h264-h264": "plain tff resized",
    "m2v-mpeg2": "plain",
    "ivf-vp9": "plain",
}


def small(stream: "videos.Stream") -> "videos.Stream":
    """A stream of few frames of 64 × 48 or near it."""
    width, height = stream.size
    return replace(stream, size=(width - 96, height - 72), frames=min(stream.frames, FRAMES))


def write(folder: Path, name: str, kind: str = "plain", **changes: object) -> Path:
    """A small file of a container and codec, such as "mp4-h264", of some kind."""
    container, _, codec = name.partition("-")
    for found, streams, options in videos.kinds(container, videos.CODECS[codec]):
        if found == kind:
            path = folder / f"{name}-{kind}.{container}"
            videos.encode(path, [replace(small(stream), **changes) for stream in streams], options=options)
            return path
    raise AssertionError(f"{name} has no {kind}")


def spoilt(folder: Path, name: str, kind: str) -> Path:
    """A small file whose bytes are changed."""
    path = write(folder, name)
    other = write(folder, name, size=(96, 64)).read_bytes() if kind == "resized" else b""
    whole = write(folder, name).read_bytes()
    found = path.with_name(path.name.replace("plain", kind))
    found.write_bytes(videos.changed(kind, whole, other))
    return found


def read(path: Path) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """avr's frames: RGB, grey, seconds."""
    with VideoFile(path) as file:
        frames = [(frame.rgb(), frame.grey(), frame.second) for frame in file]
    colour, grey, seconds = zip(*frames, strict=True)
    return np.stack(colour), np.stack(grey), list(seconds)


def sources(stream: "videos.Stream") -> np.ndarray:
    """The pictures that went into a file, RGB."""
    return np.stack([picture.to_ndarray(format="rgb24") for picture in stream.pictures()])


def note_of(path: Path) -> str:
    return WORK(Video(path.stem, path, 0, "")).note


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


def wrong(path: Path) -> str:
    """What is wrong with avr's frames of a file, or ""."""
    row = reference.against(path, "", reference.avr_frames, reference.library_frames)
    damaged = any(kind in path.stem for kind in ("cut", "damaged"))  # a damaged picture is in part unwritten memory
    fine = row.verdict != "wrong" or (damaged and row.frames[0] == row.frames[1] and not row.said)
    return "" if fine else f"{row.frames[0]} frames of {row.frames[1]}, RGB {row.rgb}, grey {row.grey}; {row.said}"


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kinds in KINDS.items() for kind in kinds.split()])
def test_frames_are_those_of_ffmpeg(tmp_path, name, kind):
    path = (spoilt if kind in videos.SPOILT else write)(tmp_path, name, kind)
    assert wrong(path) == ""


@pytest.mark.parametrize(
    ("name", "kind", "most"),
    [
        ("mp4-h264rgb", "plain", 0),
        ("mkv-ffv1", "rgb", 0),
        ("mkv-ffv1", "alpha", 0),
        ("mov-rle", "plain", 0),
        ("avi-png", "plain", 0),
        ("mkv-ffv1", "444", 1),
        ("mkv-ffv1", "tff", 1),
        ("mkv-ffv1", "grey", 0),
        ("avi-raw", "rgb", 0),
    ],
)
def test_lossless_frames_are_the_pictures_that_went_in(tmp_path, name, kind, most):
    container, _, codec = name.partition("-")
    (stream,) = next(streams for found, streams, _ in videos.kinds(container, videos.CODECS[codec]) if found == kind)
    wanted = sources(small(stream))
    colour, grey, seconds = read(write(tmp_path, name, kind))
    assert colour.shape == wanted.shape
    assert difference(colour, wanted) <= most
    assert difference(grey, wanted @ np.array([0.299, 0.587, 0.114])) <= 1.5
    np.testing.assert_allclose(seconds, np.arange(FRAMES) / videos.RATE, atol=0.002)


@pytest.mark.parametrize(("name", "order"), [("mp4-h264", "tff"), ("ts-mpeg2", "bff"), ("avi-mpeg4", "tff")])
def test_interlaced_frames_are_woven_as_progressive_ones_are(tmp_path, name, order):
    """The flag alone changes no pixel: FFmpeg would convert the fields' chroma apart."""
    path = write(tmp_path, name, order)
    colour, grey, _ = read(path)
    direct = list(reference.library_frames(path))
    assert len(colour) == len(direct) == FRAMES
    np.testing.assert_array_equal(colour, [one for one, _ in direct])
    assert max(difference(one, other) for one, (_, other) in zip(grey, direct, strict=True)) <= 0.1
    assert "interlaced" in note_of(path)


@pytest.mark.parametrize(
    ("kind", "turned"),
    [
        ("rot90", lambda image: np.rot90(image)),
        ("rot180", lambda image: np.rot90(image, 2)),
        ("rot270", lambda image: np.rot90(image, 3)),
        ("mirror", lambda image: image[:, ::-1]),
        ("flip", lambda image: image[::-1]),
    ],
)
@pytest.mark.parametrize("container", ["mp4", "mov", "mkv"])
def test_frames_stand_as_the_display_matrix_says(tmp_path, container, kind, turned):
    codec = "h264rgb" if container == "mp4" else "png" if container == "mov" else "ffv1"
    pixels = {"ffv1": "bgr0"}.get(codec, "")
    upright, grey, _ = read(write(tmp_path, f"{container}-{codec}", pixels=pixels))
    found, found_grey, _ = read(write(tmp_path, f"{container}-{codec}", kind, pixels=pixels))
    np.testing.assert_array_equal(found, [turned(image) for image in upright])
    np.testing.assert_array_equal(found_grey, [turned(image) for image in grey])


def test_seconds_are_those_of_a_variable_rate(tmp_path):
    filters = (("setpts", f"if(lt(N,5),N,2*N-5)/{videos.RATE}/TB"),)
    for name in ("mp4-h264", "mkv-h264"):
        path = write(tmp_path, name, "vfr", filters=filters)
        seconds = read(path)[2]
        numbers = [number if number < 5 else 2 * number - 5 for number in range(FRAMES)]
        np.testing.assert_allclose(seconds, np.array(numbers) / videos.RATE, atol=0.002)
        assert "rate varies" in note_of(path)


def test_a_plain_file_has_no_note(tmp_path):
    for name in ("mp4-h264", "avi-mpeg4", "mkv-vp9", "webm-vp8", "mov-prores", "avi-mjpeg", "gif-gif"):
        assert note_of(write(tmp_path, name)) == "", name


def test_what_is_unusual_is_said(tmp_path):
    two, default = write(tmp_path, "avi-mpeg4", "two"), write(tmp_path, "mkv-h264", "two-default")
    assert read(two)[0].shape[1:3] == (168, 224)  # the larger, as ffmpeg takes it
    assert read(default)[0].shape[1:3] == (48, 64)
    assert "stream" in note_of(two)
    assert "stream" in note_of(default)
    for name in ("mp4-h264", "mkv-ffv1", "ts-mpeg2"):
        assert re.search(DAMAGE, note_of(spoilt(tmp_path, name, "damaged-middle"))), name
    assert "promised" in note_of(spoilt(tmp_path, "avi-mjpeg", "cut"))


def test_a_cover_is_no_film(tmp_path):
    jpeg = replace(small(videos.Stream(videos.CODECS["mjpeg"])), size=(320, 240), frames=1, disposition="attached_pic")
    film = small(videos.Stream(videos.CODECS["h264"]))
    videos.encode(tmp_path / "song.m4a", [jpeg], sound=True)
    with pytest.raises(VideoError, match=r"cover|picture"):
        WORK(Video("song", tmp_path / "song.m4a", 0, ""))
    videos.encode(tmp_path / "film.mp4", [film, jpeg], sound=True)
    assert read(tmp_path / "film.mp4")[0].shape == (FRAMES, 48, 64, 3)
    videos.encode(tmp_path / "sound.mp4", [film], sound=True)
    assert note_of(tmp_path / "sound.mp4") == ""


def answers(decoded) -> bytes:
    return b"".join(answer.images.tobytes() for answer in decoded.answers.values())


def test_the_same_bytes_of_every_copy_and_from_any_number_of_decoders(tmp_path):
    paths = [
        write(tmp_path, "mp4-h264", "tff"),
        write(tmp_path, "mkv-hevc", "10bit"),
        write(tmp_path, "webm-vp8", "alpha"),
        spoilt(tmp_path, "avi-mpeg4", "damaged-first"),
        spoilt(tmp_path, "ts-mpeg2", "cut"),
        spoilt(tmp_path, "avi-mjpeg", "cut"),
    ]
    copies = [path.with_name(f"copy-{number}-{path.name}") for path in paths for number in range(3)]
    for number, copy in enumerate(copies):
        copy.write_bytes(paths[number // 3].read_bytes())
    found = []
    for workers in (1, 2, 3):
        with Decoder(WORK) as decoder, ThreadPoolExecutor(workers) as pool:
            work = [Video("same", copy, 0, "") for copy in copies]
            found.append([answers(decoded) for decoded in pool.map(decoder, work)])
    assert found[0] == found[1] == found[2]
    for number, path in enumerate(paths):
        assert len(set(found[0][3 * number : 3 * number + 3])) == 1, path.name


@pytest.mark.parametrize("name", ["avi-mjpeg", "mjpeg-mjpeg"])
def test_a_half_written_picture_is_the_same_whoever_holds_its_neighbours(tmp_path, name):
    """What a cut JPEG leaves unwritten is what the decoder's memory held, which goes by what else is still in use."""
    path = spoilt(tmp_path, name, "cut")
    with VideoFile(path) as file:
        dropped = [frame.rgb() for frame in file]
    with VideoFile(path) as file:
        held = list(file)
        np.testing.assert_array_equal([frame.rgb() for frame in held], dropped)


@pytest.mark.parametrize(
    ("name", "frames", "word"),
    [
        ("inter264.mp4", 25, "interlaced"),
        ("xvid_inter.avi", 25, "interlaced"),
        ("decord_corrupted.mp4", 49, DAMAGE),
        ("av1.mp4", 10, ""),
        ("many.gif", 30, ""),
    ],
)
def test_files_from_the_field(real_data, name, frames, word):
    path = real_data / "field" / name
    colour, _, _ = read(path)
    assert len(colour) == frames
    assert not wrong(path)
    if word == "interlaced":
        assert 113 <= colour.mean() <= 114.5
    assert re.search(word, note_of(path))


def test_clips_of_real_data_sets(real_data):
    paths = [
        path for place in ("clips", "weizmann", "jhmdb") for path in sorted((real_data / place).rglob("*.avi"))[:2]
    ]
    assert paths
    assert not {path.name: what for path in paths if (what := wrong(path))}
