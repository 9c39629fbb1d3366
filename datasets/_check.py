"""`check_dataset`: decode every video once and say which are bad, before a night of extraction does."""

import importlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avr.core import Progress, UsageError

from ._types import Dataset, RawFrames, Video

# Larger gaps between the header's count and the frames decoded are damage where the container cannot be checked.
HEADER_SLACK = 0.1


@dataclass(frozen=True)
class Finding:
    """What is wrong with, or worth knowing of, one video."""

    id: str
    path: Path
    reason: str


@dataclass(frozen=True)
class CheckResult:
    """Outcome of a check: `bad` videos cannot be used as they are, `notes` can; `frames` were decoded in all."""

    videos: int
    frames: int
    seconds: float
    bad: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)


def check_dataset(dataset: Dataset, *, workers: int = 0) -> CheckResult:
    """Decode every video of a data set on threads.

    Bad: missing, empty, unreadable (such as a text file named .avi), no frame decodes, cut in the middle, one frame (no
    motion to see). A header that promises other than the frames that decode is a note: about one clip of UCF101 in a
    hundred has that, and avr never trusts it.

    Args:
        dataset: what `index_dataset` returned.
        workers: threads; 0 takes one a core.
    """
    if workers < 0:
        raise UsageError(f"{workers} workers; give at least 1, or 0 for one a core")
    start, frames = time.monotonic(), 0
    bad: list[Finding] = []
    notes: list[Finding] = []
    with (
        _quiet_decoder(),
        ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool,
        Progress("check", total=len(dataset.videos), unit="videos") as progress,
    ):
        for video, (count, fault, remark) in zip(dataset.videos, pool.map(_examine, dataset.videos), strict=True):
            frames += count
            if fault:
                bad.append(Finding(video.id, video.path, fault))
            elif remark:
                notes.append(Finding(video.id, video.path, remark))
            progress.advance(bad=len(bad))
    return CheckResult(len(dataset.videos), frames, time.monotonic() - start, bad, notes)


def _examine(video: Video) -> tuple[int, str, str]:
    """Frames decoded, what is bad, what is worth a note; empty strings for nothing."""
    if video.frames is not None:
        return _examine_folder(video.path, video.frames)
    try:
        size = video.path.stat().st_size
    except OSError as error:
        return 0, f"cannot be read: {error.strerror}", ""
    if not size:
        return 0, "empty file", ""
    missing = bytes_missing(video.path)
    header, count = count_frames(video.path)
    if count is None:
        return 0, "cannot be opened as a video" + (", cut off before its index" if missing else ""), ""
    if missing:
        return count, f"cut in the middle: {missing} bytes missing, {count} of {header} frames decode", ""
    if count == 0:
        return 0, "opens, but no frame decodes", ""
    if count == 1:
        return 1, "one frame only: there is no motion to see", ""
    if missing is None and count < (1 - HEADER_SLACK) * header:
        return count, f"{count} of {header} frames decode: cut or damaged", ""
    return count, "", "" if header == count else f"the header says {header} frames, {count} decode"


def _examine_folder(folder: Path, frames: RawFrames) -> tuple[int, str, str]:
    """The same for a folder of raw frames: every image must be there and decode."""
    import cv2

    templates = [frames.image, frames.flow_x, frames.flow_y]
    used = [name for name in templates if (folder / name.format(frames.first)).exists()]
    if not used:
        return 0, f"no {frames.image.format(frames.first)} nor flow image of that number in the folder", ""
    for template in used:
        # The last frame has no flow to a next one.
        for number in range(frames.first, frames.first + frames.count - (template != frames.image)):
            path = folder / template.format(number)
            if not path.exists():
                return 0, f"{path.name} is missing, of {frames.count} frames listed", ""
            if cv2.imread(str(path), cv2.IMREAD_REDUCED_GRAYSCALE_2) is None:
                return 0, f"{path.name} cannot be decoded", ""
    if frames.count < 2:
        return frames.count, "one frame only: there is no motion to see", ""
    return frames.count, "", ""


def count_frames(path: Path) -> tuple[int, int | None]:
    """Frames that the header promises, and frames that decode; None for the latter when no decoder opens the file."""
    import cv2

    capture: Any = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            return 0, None
        header, count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0
        while capture.grab():
            count += 1
        return max(header, 0), count
    finally:
        capture.release()


def bytes_missing(path: Path) -> int | None:
    """Bytes that the container says the file should still have: 0 when whole, None where the format is not known.

    AVI files say their size in each RIFF header; MP4 and MOV files are a row of boxes that each say theirs.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(12)
        riff, boxes = head[:4] == b"RIFF", head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
        if not riff and not boxes:
            return None
        position = 0
        while position + 8 <= size:
            file.seek(position)
            head = file.read(16)
            if riff:
                length = 8 + int.from_bytes(head[4:8], "little")
                if head[:4] != b"RIFF":
                    return 0  # what follows the last RIFF list belongs to nobody
                length += length % 2
            else:
                length = int.from_bytes(head[:4], "big")
                if length == 1:
                    length = int.from_bytes(head[8:16], "big")
                elif length == 0:
                    return 0  # "to the end of the file"
                if length < 8:
                    return None
            position += length
        # A missing pad byte at the end harms nobody.
        return max(position - size, 0) if position - size > 1 else 0


_decoder_lock = threading.Lock()


@contextmanager
def _quiet_decoder() -> Iterator[None]:
    """Keep FFmpeg and OpenCV from printing about each bad file: avr says it once, in its own words."""
    log: Any = importlib.import_module("cv2").utils.logging  # OpenCV's stubs lack it

    with _decoder_lock:
        before, told = log.getLogLevel(), os.environ.get("OPENCV_FFMPEG_LOGLEVEL")
        os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
        log.setLogLevel(log.LOG_LEVEL_SILENT)
        try:
            yield
        finally:
            log.setLogLevel(before)
            if told is None:
                os.environ.pop("OPENCV_FFMPEG_LOGLEVEL", None)
            else:
                os.environ["OPENCV_FFMPEG_LOGLEVEL"] = told
