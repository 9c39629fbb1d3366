"""`check_dataset`: decode every video once and say which are bad, before a night of extraction does."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from avr.core import Progress, UsageError
from avr.datasets import Dataset, Video

from .child import TIME_LIMIT, Decoder
from .decoding import refuse_damaged
from .facts import SLACK
from .frames import open_frames, same_size
from .pictures import VideoError
from .sampling import Sampling

_ONE_FRAME = "one frame only: there is no motion to see"


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


_Examined = tuple[int, str, str]  # frames of one video, what is bad, what is worth a note; "" for nothing


def check_dataset(dataset: Dataset, *, workers: int = 0, time_limit: float = TIME_LIMIT) -> CheckResult:
    """Decode every video of a data set, each in a child process that it may hang or crash.

    Bad is what extraction would refuse, for the reason that it would give (missing, empty, a text file named .avi, no
    frame decodes, a decoder that hangs), and what it would take and you would not want: cut in the middle, a raw frame
    missing, one frame (no motion to see). What extraction takes and keeps a note of is a note here, in the same words.

    Args:
        workers: child processes; 0 takes one a core.
        time_limit: seconds that one video may take.

    Raises:
        UsageError: workers below 0, a time limit not above 0.
        WorkError: no child process starts; says why.
    """
    if workers < 0:
        raise UsageError(f"{workers} workers; give at least 1, or 0 for one a core")
    if not time_limit > 0:
        raise UsageError(f"the time limit must be above 0 s, not {time_limit:g}")
    start, frames = time.monotonic(), 0
    bad: list[Finding] = []
    notes: list[Finding] = []
    decoder = Decoder(_examine, time_limit=time_limit)

    def examine(video: Video) -> _Examined:
        try:
            return decoder(video)
        except VideoError as error:
            return 0, error.reason, ""

    # On the way out: first the children are ended, so that no thread waits for them, then the threads.
    threads = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    with Progress("check", total=len(dataset.videos), unit="videos") as progress, threads as pool, decoder:
        for video, (count, fault, remark) in zip(dataset.videos, pool.map(examine, dataset.videos), strict=True):
            frames += count
            if fault:
                bad.append(Finding(video.id, video.path, fault))
            if remark:
                notes.append(Finding(video.id, video.path, remark))
            progress.advance(bad=len(bad))
    return CheckResult(len(dataset.videos), frames, time.monotonic() - start, bad, notes)


def _examine(video: Video) -> _Examined:
    """What a child does with one video: what extraction would do, and a look at the pictures.

    Raises:
        VideoError: extraction would refuse it.
    """
    try:
        frames = open_frames(video, hold=0)
        refuse_damaged(frames, Sampling.damage)
        looked_at = range(frames.count) if video.frames else [0]  # of a folder each image is a file of its own
        looked_at = looked_at if frames.has_images else []
        same_size((frames.take([number])[number].rgb().shape for number in looked_at), video.path)
        if frames.has_flow_images:
            same_size((frames.flow_images([pair])[0, 0].shape for pair in range(frames.count - 1)), video.path)
    except VideoError as error:
        if os.access(video.path, os.R_OK) and video.path.is_file() and bytes_missing(video.path):
            raise VideoError(f"{error.reason}; cut off before its end") from error
        raise
    count, promised = frames.count, frames.facts.promised
    if count == 1:
        return count, _ONE_FRAME, ""
    part = video.frames or video.start or video.end  # which may be whole though its file is not
    missing = 0 if part else bytes_missing(video.path)
    if missing:
        return count, f"cut in the middle: {missing} bytes missing, {count} of {promised} frames decode", frames.note
    if missing is None and count < (1 - SLACK) * promised:  # the container cannot be checked by its bytes
        return count, f"{count} of {promised} frames decode: cut or damaged", frames.note
    return count, "", frames.note


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
