"""The one way to open a video file: FFmpeg's libraries, by PyAV, used as FFmpeg's own program uses them.

What the program shows of a file by default is what is read here: the same stream of several, every frame that decodes,
in the same order, behind damage as well. What is unusual about a file is counted on the way; reasons why it gives
nothing are in plain words, since they end up in the store.
"""

import contextlib
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from .converting import Converter, FileFrame
from .pictures import MOST_FRAMES, VideoError, next_second

OUTPUT_CORRUPT = 1 << 3  # AV_CODEC_FLAG_OUTPUT_CORRUPT: frames that decode in part are shown, and marked
SEEKABLE = {"mov", "matroska"}  # containers whose time stamps tell what a jump leads to

# FFmpeg's log goes to whoever captures it, of each file apart, and never to the terminal.
av.logging.set_level(av.logging.ERROR)
av.logging.set_skip_repeated(False)
logging.getLogger("libav").addHandler(logging.NullHandler())


class VideoFile:
    """A video file, read from its start to its end; a context manager.

    Iterating gives its frames in the order in which they are shown; once, and afterwards the attributes that count say
    what was met. To read it again, open it again.

    Args:
        path: of the file.
        start: second of the first frame wanted; what lies before it is passed over, if need be by decoding it.

    Attributes:
        path: of the file.
        codec: its name, as FFmpeg has it: "h264".
        promised: frames that the header promises, 0 when it says nothing; often wrong.
        rate: frames a second, as the header says; 0.0 when it says nothing of use.
        duration: seconds that the header promises, 0.0 when it says nothing; often that of the sound.
        streams: how many video streams there are, cover pictures left out.
        decoded: frames that decoded, those before `start` among them.
        packets: pieces of the stream that were read.
        damaged: pieces that did not decode.
        damaged_at: second about which the first of them lies.
        marred: frames that decoded in part.
        interlaced: whether a frame was.
        resized: whether a frame had another size than the first, and was scaled to it.
        untimed: whether a frame had no time stamp, and was given a place behind the one before.
        words: what FFmpeg said of the file, the first line.

    Raises:
        VideoError: no such file, or it cannot be opened as a video; says why.
    """

    def __init__(self, path: Path, *, start: float = 0.0) -> None:
        self.path, self.start = path, start
        self.words = ""
        self.decoded = self.packets = self.damaged = self.marred = 0
        self.damaged_at = math.nan
        self.interlaced = self.resized = self.untimed = False
        self._converter: Converter | None = None
        self._open()

    def _open(self) -> None:
        if not self.path.exists():
            raise VideoError("no such file", self.path)
        if not self.path.is_file():
            raise VideoError("is a folder, not a video" if self.path.is_dir() else "is no regular file", self.path)
        _check_beginning(self.path)
        with av.logging.Capture() as said:
            try:
                self._container: Any = _container(self.path)
            except (av.FFmpegError, OSError, ValueError) as error:
                words = _line(said) or getattr(error, "strerror", "") or str(error)
                reason = f"cannot be opened as a video: cut short, damaged or of an unknown format ({words})"
                raise VideoError(reason, self.path) from error
        self.words = _line(said)
        self._stream, self.streams = self._choose()
        self._codec: Any = self._stream.codec_context
        if self._codec is None:
            self.close()
            raise VideoError(f"its codec is not in this build of FFmpeg{_codec_of(self.path)}", self.path)
        self._codec.thread_count = 1  # several videos decode at once
        if self._codec.name == "hevc":  # other decoders would show what they hold before the first whole frame
            self._codec.flags |= OUTPUT_CORRUPT
        self.codec: str = self._codec.codec.canonical_name
        rate = float(self._stream.average_rate or 0)
        self.rate = rate if 0.01 <= rate <= 1000 else 0.0
        # AVI tells no times but places in a row; what FFmpeg makes up for its B-frames runs to and fro.
        self._in_order = self._container.format.name == "avi"
        self._last: float | None = None
        self._zero, self._unit = self._stream.start_time or 0, float(self._stream.time_base or 0)
        self.promised = int(min(max(self._stream.frames, 0), MOST_FRAMES))
        # Matroska counts it from 0, wherever the first frame stands.
        late = self._container.start_time or 0 if "matroska" in self._container.format.name else 0
        self.duration = max(0.0, float((self._container.duration or 0) - late) / av.time_base)

    def _choose(self) -> tuple[Any, int]:
        """The video stream that FFmpeg's program takes, the largest, or one marked as the default; and of how many."""
        streams = list(self._container.streams.video)
        shown = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
        if not shown:
            what = "a cover picture alone" if streams else "sound alone" if self._container.streams.audio else ""
            self.close()
            raise VideoError(f"there is no video in it{what and f' ({what})'}", self.path)

        def weight(stream: Any) -> int:
            codec = stream.codec_context
            area = codec.width * codec.height if codec is not None else 0
            return area + 5_000_000 * bool(stream.disposition & Disposition.default)

        return max(shown, key=weight), len(shown)

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._container.close()

    @property
    def odd_turn(self) -> bool:
        """Whether it asks for an angle that is no multiple of 90 degrees; its frames are shown as they are stored."""
        return self._converter is not None and self._converter.odd_turn

    def __iter__(self) -> Iterator[FileFrame]:
        for frame in self._from_start():
            second = self._last = self._second(frame)
            self.decoded += 1
            if 0 < self.start > second:
                continue
            if self._converter is None and self.start > 0:  # what was met before is not of this stretch
                self._forget()
            self._converter = self._converter or Converter(frame)
            self.interlaced |= bool(frame.interlaced_frame)
            self.resized |= not self._converter.fits(frame)
            self.marred += bool(frame.is_corrupt)
            yield FileFrame(frame, self._converter, second)

    def _second(self, frame: av.VideoFrame) -> float:
        """When a frame is shown, counted from the file's start; later than the one before."""
        stamp = frame.dts if self._in_order else frame.pts
        if stamp is None:
            self.untimed |= not self._in_order  # whose last frames have none
            return next_second(self._last, math.nan, self.rate)
        if self._in_order and self._last is None:
            self._zero = stamp
        return next_second(self._last, (stamp - self._zero) * self._unit, self.rate)

    def _from_start(self) -> Iterator[av.VideoFrame]:
        """All frames from `start` on, and perhaps earlier ones; a jump leads to a frame that decodes by itself."""
        names = set(self._container.format.name.split(","))
        if self.start > 0 and names & SEEKABLE:
            with contextlib.suppress(av.FFmpegError):
                self._container.seek(self._zero + int(self.start / self._unit), stream=self._stream)
                frames = self._decode()
                first = next(frames, None)
                if first is not None and self._second(first) <= self.start and first.pts is not None:
                    yield first
                    yield from frames
                    return
            self.close()  # the jump went too far
            self._forget()
            self._open()
        yield from self._decode()

    @property
    def damage(self) -> float:
        """Share of the packets that do not decode, 0…1; one of them aside: the last one of a file that was cut."""
        return max(0, self.damaged - 1) / max(1, self.packets)

    def _forget(self) -> None:
        """Count from here."""
        self.packets = self.damaged = self.marred = 0
        self.damaged_at, self.words = math.nan, ""

    def _decode(self) -> Iterator[av.VideoFrame]:
        """All frames; what does not decode is counted, and decoding goes on behind it."""
        packets = self._container.demux(self._stream)
        while True:
            with av.logging.Capture() as said:
                packet, frames = self._next(packets)
            if said and not self.words:
                self.words = _line(said)
            if packet is None:
                return
            yield from frames

    def _next(self, packets: Iterator[Any]) -> tuple[Any, list[av.VideoFrame]]:
        """The next packet, None at the end, and the frames that it completes."""
        try:
            packet = next(packets, None)
        except av.FFmpegError:  # of the container itself; FFmpeg's program ends there, too
            return None, []
        if packet is None:
            return None, []
        self.packets += bool(packet.size)
        try:
            return packet, self._codec.decode(packet)
        except av.FFmpegError:
            self._count_damaged(packet)
            return packet, []

    def _count_damaged(self, packet: Any) -> None:
        if not packet.size:  # the decoder's last frames were asked for
            return
        self.damaged += 1
        stamp = packet.pts if packet.pts is not None else packet.dts
        if math.isnan(self.damaged_at) and stamp is not None:
            self.damaged_at = max(0.0, (stamp - self._zero) * self._unit)


def _container(path: Path) -> Any:
    # An absolute path is never taken for an address, nor followed is any address inside the file.
    return av.open(str(path.absolute()), options={"protocol_whitelist": "file"}, metadata_errors="ignore")


def decoder_versions() -> dict[str, str]:
    """Versions of what decodes."""
    return {"pyav": av.__version__, "libavcodec": ".".join(map(str, av.library_versions["libavcodec"]))}


def _line(said: list[Any]) -> str:
    """The first line of a log, "" where it is empty."""
    return next((f"{name}: {' '.join(text.split())}" for _, name, text in said), "")


def _codec_of(path: Path) -> str:
    """The name of a codec that FFmpeg cannot decode, for a person: it stands in a warning alone."""
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as said, contextlib.suppress(av.FFmpegError, OSError), _container(path):
            pass
    finally:
        av.logging.set_level(av.logging.ERROR)
    named = [text.partition("(Video: ")[2].partition("):")[0] for _, _, text in said if "(Video: " in text]
    return f" ({named[0]})" if named else ""


def _check_beginning(path: Path) -> None:
    """Refuse what needs no decoder to be told, and text, which FFmpeg may take for a list of other files to open.

    Raises:
        VideoError: unreadable, empty, or text.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise VideoError(f"cannot be read ({error.strerror})", path) from error
    if not head:
        raise VideoError("the file is empty", path)
    try:
        head.decode()
        text = True
    except UnicodeDecodeError as error:
        text = error.start > len(head) - 4  # a letter cut by the 512 bytes
    if text and b"\0" not in head and not head.startswith(b"YUV4MPEG2"):
        raise VideoError("is a text file, not a video", path)
