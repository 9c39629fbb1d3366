"""Frames and flow pairs of whole videos, stored once: fine-tuning writes them, extraction can read them.

An epoch then decodes nothing and computes no flow, nor does the extraction with the weights that came of it.

A video is one `.npy` file a stream, read through a memory map: frames `(T, 3, H, W)` uint8 RGB, and encoded flow pairs
`(P, 2, H, W)`, uint8 or, unquantised, float16; and a `.json` file of what is known of it and when its frames are shown.
They are what extraction makes before it crops, so that testing from the cache sees what a store would hold. Images
larger than `settings.resize` are stored at that size.

A file's name is a digest of the video (id, path, size, time of change) and of the settings that shaped it: changed
videos or settings give new files beside the old ones, and several runs share one folder. Files are written whole, so
what is there is complete.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from avr.core import Progress, WorkError, note, warn, write_whole
from avr.datasets import Video
from avr.video import Answer, Decoded, Facts, Steps, VideoError, answer, open_frames, refuse_damaged

from .preprocess import resize_images
from .settings import Settings
from .streams import Stream, open_streams

CACHE_FOLDER = Path("cache")


class ClipCache:
    """The stored frames and flow pairs of videos.

    Args:
        folder: made when missing; may be shared by runs and processes.
        settings: an extraction's, filled in; streams, flow, flow size, quantisation, resize and interpolation count.
        streams: those of the settings, where they are open already.
    """

    def __init__(
        self, folder: Path, settings: Settings, *, device: str = "cpu", streams: Mapping[str, Stream] | None = None
    ) -> None:
        self.folder, self.settings = Path(folder), settings
        self.streams = streams or open_streams(settings, device)

    def path(self, video: Video, stream: str) -> Path:
        """The file of one video's stream; of "", that of what is known of the video."""
        shaped: dict[str, Any] = {"fps": self.settings.fps, "damage": self.settings.damage}
        if stream:
            shaped |= {"stream": stream, "resize": self.settings.resize, "with": self.settings.interpolation}
            shaped |= self.streams[stream].shaping
        try:
            status = os.stat(video.path)
        except OSError:
            size, changed = 0, 0
        else:
            size, changed = status.st_size, status.st_mtime_ns
        identity = [video.id, str(video.path.resolve()), video.start, video.end, size, changed]
        if video.frames is not None:
            identity += [video.frames.first, video.frames.count]
        digest = hashlib.sha256(json.dumps([identity, shaped], sort_keys=True).encode()).hexdigest()
        return self.folder / digest[:2] / (f"{digest[2:26]}.{stream}.npy" if stream else f"{digest[2:26]}.json")

    def has(self, video: Video) -> bool:
        """Whether all streams of a video are stored."""
        return all(self.path(video, stream).exists() for stream in ("", *self.settings.streams))

    def build(self, videos: Iterable[Video]) -> dict[str, str]:
        """Store what is missing; gives the reason by id of each video that cannot be decoded.

        Raises:
            WorkError: the disk is full or cannot be written.
        """
        missing = [video for video in videos if not self.has(video)]
        failures: dict[str, str] = {}
        if not missing:
            return failures
        note(f"cache: {' and '.join(self.settings.streams)} of {len(missing)} videos → {self.folder}")
        written = 0
        with Progress("cache", total=len(missing), unit="videos") as progress:
            for number, video in enumerate(missing, start=1):
                try:
                    written += self._store(video)
                except VideoError as error:
                    failures[video.id] = error.reason
                    warn(f"left out: {video.id}: {error.reason}")
                if number in (1, 20) and number < len(missing):
                    note(f"cache: about {written / number * len(missing) / 1e9:.2g} GB in all")
                progress.advance()
        return failures

    def decoded(self, video: Video, settings: Settings, *, generator: np.random.Generator | None = None) -> Decoded:
        """What `avr.video.decode` gives for the plan of some settings, out of the files, with the flow computed."""
        known = self._known(video)
        count = len(known["numbers"])
        views = settings.sampling.sample(count, key=video.id, generator=generator)
        if settings.plan == "clips" and generator is not None:
            views = views[[int(generator.integers(len(views)))]]  # training draws one of the video's clips
        steps = Steps.of(views, count)
        answers = {}
        for name in self.settings.streams:
            num_pairs = self.streams[name].pairs
            pairs = steps.pairs(num_pairs) if num_pairs else None
            images = self._open(self.path(video, name))
            ready = np.ascontiguousarray(images[steps.frames if pairs is None else pairs.firsts])
            ready = ready if ready.dtype == np.uint8 else ready.astype(np.float32)
            answers[name] = Answer(np.zeros((0, 0, 0), np.uint8), pairs, ready)
        numbers, seconds = (np.array(known[name])[views] for name in ("numbers", "seconds"))
        return Decoded(steps, answers, Facts(**known["facts"]), numbers, seconds, known["note"])

    def _known(self, video: Video) -> dict[str, Any]:
        path = self.path(video, "")
        try:
            known: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise WorkError(f"{path} is damaged or gone ({error}): remove it, and it is made again") from error
        return known

    def _open(self, path: Path) -> NDArray:
        try:
            array: NDArray = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:  # numpy: an empty file is an EOFError
            raise WorkError(f"{path} is damaged or gone ({error}): remove it, and it is made again") from error
        return array

    def _store(self, video: Video) -> int:
        """Decode one video, compute its flow, write both; gives the bytes written."""
        # Every frame, and every pair: stacks of one.
        frames = open_frames(video, fps=self.settings.fps)
        refuse_damaged(frames, self.settings.damage)
        needs = {name: stream.need for name, stream in self.streams.items()}
        needs = {name: replace(need, pairs=min(1, need.pairs)) for name, need in needs.items()}
        decoded = answer(frames, Steps.of(np.arange(frames.count)[None], frames.count), needs)
        written = 0
        for name, stream in self.streams.items():
            made = stream.images([decoded.answers[name]])[0].cpu()
            if min(made.shape[-2:]) > self.settings.resize:  # extraction would resize them to it, and then leaves them
                made = resize_images(made, self.settings)
            images = np.ascontiguousarray(made.numpy())
            images = images if images.dtype == np.uint8 else images.astype(np.float16)
            self._write(self.path(video, name), partial(np.save, arr=images))
            written += images.nbytes
        known = {"facts": asdict(decoded.facts), "note": decoded.note}
        known |= {"numbers": decoded.numbers[0].tolist(), "seconds": decoded.seconds[0].tolist()}
        self._write(self.path(video, ""), lambda file: file.write(json.dumps(known).encode()))
        return written

    def _write(self, path: Path, write: Callable[[BinaryIO], object]) -> None:
        try:
            with write_whole(path) as temporary, open(temporary, "wb") as file:
                write(file)
        except OSError as error:
            raise WorkError(f"cannot write the cache at {self.folder}: {error.strerror or error}") from error


def leave_out(videos: Sequence[Video], failures: dict[str, str]) -> list[Video]:
    """The videos that decode.

    Raises:
        WorkError: none does.
    """
    kept = [video for video in videos if video.id not in failures]
    if videos and not kept:
        raise WorkError(f"none of the {len(videos)} videos decodes: {next(iter(failures.values()))}")
    return kept
