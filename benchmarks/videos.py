"""Videos of every kind that people have, encoded here: containers × codecs × what is unusual about them.

    python benchmarks/videos.py OUT                   # about 1 000 files of 30 frames, 160 × 120, 110 MB
    python benchmarks/videos.py OUT --only mkv-h264   # those whose container and codec hold a text

A file is called `<container>-<codec>-<kind>.<suffix>`. PyAV encodes, so that every machine gets the same files; what
its build lacks (XviD with packed B-frames, VP9 of 10 bits) is encoded by the ffmpeg program where that is installed,
else left out and counted. `benchmarks/frames.py` compares what is read of them.
"""

import argparse
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import numpy as np
from av.filter import Graph

os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder tells its settings otherwise
FRAMES, RATE, SIZE = 30, 25, (160, 120)


@dataclass(frozen=True)
class Codec:
    """How one codec is written: the encoder's name, its options, and the pixel formats of the kinds that it can do."""

    encoder: str
    options: dict[str, str] = field(default_factory=dict)
    plain: str = "yuv420p"
    formats: dict[str, str] = field(default_factory=dict)
    interlaced: dict[str, str] | None = None  # options; "{}" stands for tff or bff


ILDCT = {"flags": "+ildct+ilme"}
DEEP = {"10bit": "yuv420p10le", "422-10bit": "yuv422p10le", "422": "yuv422p", "444": "yuv444p", "grey": "gray"}
RATES = {"g": "10", "b": "400k"}
CODECS = {
    "mpeg4": Codec("mpeg4", RATES | {"bf": "2"}, interlaced=ILDCT),
    "xvid": Codec("libxvid", RATES | {"bf": "2"}),
    "h264": Codec(
        "libx264",
        {"g": "10", "preset": "veryfast"},
        formats=DEEP | {"odd": "yuv444p"},
        interlaced={"x264-params": "{}=1"},
    ),
    "h264rgb": Codec("libx264rgb", {"g": "10", "qp": "0"}, plain="bgr24"),
    "hevc": Codec(
        "libx265",
        {"g": "10", "preset": "ultrafast", "x265-params": "log-level=none:pools=1"},
        formats=DEEP | {"rgb": "gbrp"},
    ),
    "vp8": Codec("libvpx", RATES | {"deadline": "realtime", "auto-alt-ref": "0"}, formats={"alpha": "yuva420p"}),
    "vp9": Codec(
        "libvpx-vp9",
        RATES | {"deadline": "realtime", "cpu-used": "8"},
        formats={kind: pixels for kind, pixels in DEEP.items() if kind != "grey"}
        | {"rgb": "gbrp", "alpha": "yuva420p"},
    ),
    "av1": Codec("libsvtav1", {"g": "10", "preset": "12"}, formats={"10bit": "yuv420p10le"}),
    "mpeg1": Codec("mpeg1video", RATES | {"bf": "2"}),
    "mpeg2": Codec("mpeg2video", RATES | {"bf": "2"}, formats={"422": "yuv422p"}, interlaced=ILDCT),
    "mjpeg": Codec("mjpeg", {"b": "2M"}, plain="yuvj420p", formats={"422": "yuvj422p", "444": "yuvj444p"}),
    "ffv1": Codec("ffv1", formats=DEEP | {"rgb": "bgr0", "alpha": "bgra"}, interlaced=ILDCT),
    "prores": Codec("prores_ks", plain="yuv422p10le", formats={"alpha": "yuva444p10le"}, interlaced=ILDCT),
    "gif": Codec("gif", plain="rgb8"),
    "png": Codec("png", plain="rgb24", formats={"alpha": "rgba", "grey": "gray"}),
    "rle": Codec("qtrle", plain="rgb24", formats={"alpha": "argb"}),
    "raw": Codec("rawvideo", formats={"422": "yuyv422", "rgb": "bgr24", "grey": "gray"}),
    "wmv2": Codec("wmv2", RATES),
    "msmpeg4": Codec("msmpeg4v3", RATES),
    "flv1": Codec("flv", RATES),
}
# Raw streams (the last row) have no time stamps.
CONTAINERS = {
    "avi": "mpeg4 xvid h264 mpeg2 mjpeg ffv1 png raw wmv2 msmpeg4",
    "mp4": "mpeg4 xvid h264 h264rgb hevc vp9 av1 mjpeg mpeg2",
    "mkv": "mpeg4 xvid h264 hevc vp8 vp9 av1 mpeg2 mjpeg ffv1 prores",
    "mov": "mpeg4 h264 hevc mjpeg prores png rle",
    "webm": "vp8 vp9 av1",
    "nut": "ffv1 raw",
    "mpg": "mpeg1 mpeg2",
    "ts": "mpeg2 h264 hevc",
    "gif": "gif",
    "flv": "flv1 h264",
    "3gp": "mpeg4 h264",
    "wmv": "wmv2",
} | {"h264": "h264", "hevc": "hevc", "m2v": "mpeg2", "m4v": "mpeg4", "mjpeg": "mjpeg", "ivf": "vp9 av1"}
BOXES = {"mp4", "mov"}
STAMPED = {*BOXES, "mkv", "webm", "nut", "ts", "flv", "gif"}
SPOILT = ("cut", "damaged-first", "damaged-middle", "edited", "resized")  # made of a whole file's bytes
TURNS = {"rot90": (90, False, False), "rot180": (180, False, False), "rot270": (270, False, False)}
TURNS |= {"mirror": (0, True, False), "flip": (0, False, True), "rot90-mirror": (90, True, False)}


@dataclass(frozen=True)
class Stream:
    """One video stream to be written, of a test picture that moves."""

    codec: Codec
    pixels: str = ""
    size: tuple[int, int] = SIZE
    frames: int = FRAMES
    filters: tuple[tuple[str, str], ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    disposition: str = ""
    turn: tuple[int, bool, bool] | None = None

    def pictures(self) -> Iterator[av.VideoFrame]:
        """The frames to be encoded."""
        width, height = self.size
        rate, count = RATE, self.frames
        if any(name == "weave" for name, _ in self.filters):  # two fields to a frame
            height, rate, count = height // 2, 2 * rate, 2 * count
        graph = Graph()
        nodes = [graph.add("testsrc2", f"size={width}x{height}:rate={rate}:duration={count / rate}")]
        nodes += [graph.add(name, arguments) for name, arguments in self.filters]
        nodes += [graph.add("format", f"pix_fmts={self.pixels or self.codec.plain}"), graph.add("buffersink")]
        graph.link_nodes(*nodes).configure()
        while True:
            try:
                yield graph.vpull()
            except (av.EOFError, av.BlockingIOError):
                return


@contextmanager
def usual_priority() -> Iterator[None]:
    """Take back the real-time priority that SVT-AV1 gives to the process where it may: threads would starve others."""
    try:
        yield
    finally:
        if hasattr(os, "sched_setscheduler"):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def encode(
    path: Path, streams: Iterable[Stream], *, sound: bool = False, options: dict[str, str] | None = None
) -> None:
    """Write a file.

    Raises:
        ValueError, av.FFmpegError: this container or encoder does not take it.
    """
    form = "mp4" if path.suffix == ".m4a" else None
    with usual_priority(), av.open(str(path), "w", format=form, container_options=options or {}) as file:
        if sound:
            tone = file.add_stream("aac", rate=16000, layout="mono")
        made = []
        for stream in streams:
            written = file.add_stream(stream.codec.encoder, rate=RATE, options=stream.codec.options | stream.options)
            written.width, written.height = stream.size
            written.pix_fmt = stream.pixels or stream.codec.plain
            if stream.disposition:
                written.disposition = av.stream.Disposition[stream.disposition]
            if stream.turn:
                degrees, across, down = stream.turn
                written.set_display_rotation(degrees, hflip=across, vflip=down)
            made.append((stream, written))
        if sound:
            samples = (np.sin(np.arange(16000) / 8) * 8000).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = 16000
            file.mux([packet for part in (frame, None) for packet in tone.encode(part)])
        for stream, written in made:
            for picture in stream.pictures():
                picture.pict_type = 0
                file.mux(written.encode(picture))
            file.mux(written.encode(None))


def encode_by_program(path: Path, stream: Stream) -> None:
    """Write a stream whose encoder PyAV's build lacks: lossless first, then by the ffmpeg program."""
    pixels = stream.pixels or stream.codec.plain
    with tempfile.TemporaryDirectory() as folder:
        between = Path(folder) / "between.nut"
        encode(between, [replace(stream, codec=CODECS["ffv1"], pixels=pixels, options={}, turn=None)])
        options = [
            part for key, value in (stream.codec.options | stream.options).items() for part in (f"-{key}", value)
        ]
        command = ["ffmpeg", "-v", "error", "-y", "-i", str(between), "-fps_mode", "passthrough"]
        command += ["-c:v", stream.codec.encoder, "-pix_fmt", pixels, *options, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(" ".join(done.stderr.split())[:200])


def kinds(container: str, codec: Codec) -> Iterator[tuple[str, list[Stream], dict[str, str]]]:
    """What is encoded of one codec in one container: kind, streams, options of the container."""
    made: dict[str, Stream] = {"plain": Stream(codec), "one": Stream(codec, frames=1)}
    for kind, pixels in codec.formats.items():
        deep = {"profile": "3" if "422" in pixels else "2"} if codec.encoder == "libvpx-vp9" and "10" in pixels else {}
        made[kind] = Stream(codec, pixels, options=deep)
    if codec.encoder != "prores_ks":
        made["odd"] = Stream(codec, codec.formats.get("odd", ""), size=(161, 119))
    if codec.interlaced is not None:
        for order, top in (("tff", "top"), ("bff", "bottom")):
            options = {key: value.format(order) for key, value in codec.interlaced.items()}
            weave = (("weave", f"first_field={top}"), ("setfield", order))
            made[order] = Stream(codec, filters=weave, options=options)
    if codec.encoder in ("libx264", "libx265", "mpeg4", "mpeg2video", "libvpx-vp9", "libsvtav1", "ffv1"):
        made["full"] = Stream(codec, filters=(("scale", "out_range=pc"),), options={"color_range": "pc"})
        tags = {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"}
        made["bt709"] = Stream(codec, filters=(("scale", "out_color_matrix=bt709"),), options=tags)
    if container in STAMPED:
        made["vfr"] = Stream(codec, filters=(("setpts", f"if(lt(N,15),N,2*N-15)/{RATE}/TB"),))
    if container in (*BOXES, "mkv", "3gp"):
        made |= {kind: Stream(codec, turn=turn) for kind, turn in TURNS.items()}
    yield from ((kind, [stream], {}) for kind, stream in made.items())
    if container in (*BOXES, "mkv", "avi", "nut", "ts", "mpg", "webm", "3gp"):
        large = Stream(codec, size=(320, 240), frames=20)
        yield "two", [Stream(codec), large], {}
        if container in (*BOXES, "mkv"):
            yield "two-default", [Stream(codec, disposition="default"), large], {}
    if container in BOXES:
        yield "fragmented", [Stream(codec)], {"movflags": "frag_keyframe+empty_moov"}
        yield "faststart", [Stream(codec)], {"movflags": "faststart"}
    endless = {"mkv": {"live": "1"}, "webm": {"live": "1"}, "flv": {"flvflags": "no_duration_filesize"}}
    if container in endless:
        yield "no-duration", [Stream(codec)], endless[container]


def changed(kind: str, data: bytes, other: bytes = b"") -> bytes | None:
    """The bytes of a plain file made into a kind; None where it has no such thing."""
    if kind == "cut":
        return data[: len(data) * 6 // 10]
    if kind == "resized":
        return data + other
    if kind == "edited":  # the edit list starts half a second later
        place = data.find(b"elst")
        if place < 0:
            return None
        place += 16  # version and flags, number of entries, length
        start, scale = int.from_bytes(data[place : place + 4], "big"), data.index(b"mdhd") + 16
        start += int.from_bytes(data[scale : scale + 4], "big") // 2
        return data[:place] + start.to_bytes(4, "big") + data[place + 4 :]
    low, high = {"damaged-first": (0.10, 0.14), "damaged-middle": (0.50, 0.55)}[kind]
    start, end = int(len(data) * low), int(len(data) * high)
    return data[:start] + random.Random(1).randbytes(end - start) + data[end:]


def write_matrix(folder: Path, only: str = "") -> tuple[int, dict[str, str]]:
    """Write every file; how many there are, and why others are not, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    missing, count = {}, 0
    for container, names in CONTAINERS.items():
        for name in names.split():
            if only not in f"{container}-{name}":
                continue
            codec = CODECS[name]
            for kind, streams, options in kinds(container, codec):
                path = folder / f"{container}-{name}-{kind}.{container}"
                reason = write(path, streams, options)
                count += not reason
                if reason:
                    path.unlink(missing_ok=True)
                    missing[path.name] = reason
            for kind in ("plain", "faststart", "fragmented"):
                path = folder / f"{container}-{name}-{kind}.{container}"
                count += spoil(path, codec) if path.exists() else 0
    if not only:
        jpeg, small = (
            Stream(CODECS["mjpeg"], size=(320, 240), frames=1, disposition="attached_pic"),
            Stream(CODECS["h264"]),
        )
        encode(folder / "mp4-h264-sound.mp4", [small], sound=True)
        encode(folder / "mkv-h264-sound.mkv", [small], sound=True)
        encode(folder / "mp4-h264-covered.mp4", [small, jpeg], sound=True)
        encode(folder / "m4a-none-cover.m4a", [jpeg], sound=True)
        count += 4
    return count, missing


def write(path: Path, streams: list[Stream], options: dict[str, str]) -> str:
    """Write a file in one of the two ways; why it cannot be, or ""."""
    try:
        if streams[0].codec.encoder in av.codecs_available:
            encode(path, streams, options=options)
            return ""
        reason = f"no encoder {streams[0].codec.encoder}"
    except (ValueError, av.FFmpegError) as error:
        reason = " ".join(str(error).split())
    if shutil.which("ffmpeg") and len(streams) == 1 and not streams[0].turn:
        try:
            encode_by_program(path, streams[0])
        except ValueError as error:
            return f"{error}"
        return ""
    return reason


def spoil(whole: Path, codec: Codec) -> int:
    """Write the files that are a whole file's bytes, changed; how many."""
    container, data, count, other = whole.suffix[1:], whole.read_bytes(), 0, b""
    kinds = ["cut"]
    if whole.stem.endswith("-plain"):
        kinds += ["damaged-first", "damaged-middle", *(["edited"] if container in BOXES else [])]
        if container in ("ts", "mpg", "h264", "hevc", "m2v", "m4v", "mjpeg"):
            with tempfile.TemporaryDirectory() as folder:
                larger = Path(folder) / whole.name
                encode(larger, [Stream(codec, size=(320, 240), frames=10)])
                other = larger.read_bytes()
            kinds.append("resized")
    for kind in kinds:
        made = changed(kind, data, other)
        if made is not None:
            whole.with_name(f"{whole.stem.removesuffix('-plain')}-{kind}{whole.suffix}").write_bytes(made)
            count += 1
    return count


def main() -> None:
    """Parse, encode, say what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="container and codec hold this")
    options = parser.parse_args()
    av.logging.set_level(av.logging.PANIC)
    count, missing = write_matrix(options.folder, options.only)
    print(f"{count} files in {options.folder}; {len(missing)} cannot be written by this build")
    for name, reason in missing.items():
        print(f"  {name}: {reason}")


if __name__ == "__main__":
    main()
