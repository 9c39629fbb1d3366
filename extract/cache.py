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
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from avr.core import (
    AvrError,
    Progress,
    WorkError,
    check_fields,
    note,
    read_json,
    warn,
    write_json,
    write_whole,
)
from avr.datasets import Video
from avr.video import (
    Answer,
    Decoded,
    Facts,
    Sampling,
    Steps,
    VideoError,
    answer,
    open_frames,
    refuse_damaged,
    sample_steps,
)

from .preprocess import resize_images, resized_to
from .settings import Settings
from .streams import Stream, open_streams

CACHE_FOLDER = Path("cache")


class Known(NamedTuple):
    """What is known of a video: number and second of each frame, `(T,)`, and what its decoding said."""

    facts: Facts
    note: str
    numbers: NDArray
    seconds: NDArray


class ClipCache:
    """The stored frames and flow pairs of videos.

    Args:
        folder: made when missing; may be shared by runs and processes.
        streams: each one's settings, filled in; what it looks at, its sizes, quantisation and interpolation count.
        opened: the streams, where they are open already.
    """

    def __init__(
        self,
        folder: Path,
        streams: Mapping[str, Settings],
        *,
        device: str = "cpu",
        opened: Mapping[str, Stream] | None = None,
    ) -> None:
        self.folder, self.settings = Path(folder), dict(streams)
        self.streams = opened or open_streams(streams, device)

    def path(self, video: Video, stream: str, *, facts: bool = False) -> Path:
        """The file of one video's stream, or of what is known of the video as it samples it."""
        kept = self.settings[stream]
        shaped: dict[str, Any] = {"fps": kept.fps, "damage": kept.damage}
        if not facts:
            shaped |= {"resize": kept.resize, "with": kept.interpolation, "antialias": kept.antialias}
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
        return self.folder / digest[:2] / (f"{digest[2:26]}.json" if facts else f"{digest[2:26]}.npy")

    def has(self, video: Video, streams: Iterable[str] = ()) -> bool:
        """Whether all streams of a video, or some, are stored."""
        names = list(streams) or list(self.settings)
        return all(self.path(video, name, facts=facts).exists() for name in names for facts in (False, True))

    def build(self, videos: Iterable[Video]) -> dict[str, str]:
        """Store what is missing; gives the reason by id of each video that cannot be decoded.

        Raises:
            WorkError: the disk is full or cannot be written.
        """
        missing = [video for video in videos if not self.has(video)]
        failures: dict[str, str] = {}
        if not missing:
            return failures
        note(f"cache: {' and '.join(self.settings)} of {len(missing)} videos → {self.folder}")
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

    def num_clips(self, video: Video, streams: Mapping[str, Settings]) -> int:
        """How many views a video has in some streams, by the frames that it has."""
        name, settings = next(iter(streams.items()))
        return len(sample_steps(settings.sampling, len(self._known(video, name).numbers), key=video.id).views)

    def decoded(
        self,
        video: Video,
        streams: Mapping[str, Settings],
        *,
        generator: np.random.Generator | None = None,
        clip: int | None = None,
    ) -> Decoded:
        """What `avr.video.decode` gives for the sampling of some streams, out of the files, their images made; of plan
        clips one that the generator draws, or `clip`."""
        answers = {}
        drawn: dict[Sampling, Steps] = {}
        for name, settings in streams.items():
            known, need = self._known(video, name), self.streams[name].need
            sampling = settings.sampling
            if sampling not in drawn:
                count = len(known.numbers)
                drawn[sampling] = sample_steps(sampling, count, key=video.id, generator=generator, clip=clip)
            steps = drawn[sampling]
            pairs = steps.pairs(need.pairs) if need.pairs else None
            chosen, stacks = (pairs.firsts, pairs.stacks) if pairs else steps.clips(need.frames, need.stride)
            count = len(known.numbers) - bool(need.pairs and len(known.numbers) > 1)  # pairs of neighbours
            channels = self.streams[name].image_channels
            ready = self._images(self.path(video, name), chosen, count=count, channels=channels)
            ready = ready if ready.dtype == np.uint8 else ready.astype(np.float32)
            shown = known.numbers[steps.shown], known.seconds[steps.shown]
            answers[name] = Answer(steps, stacks, np.zeros((0, 0, 0), np.uint8), pairs, ready, *shown)
        return Decoded(answers, known.facts, known.note)

    def _known(self, video: Video, stream: str) -> "Known":
        path = self.path(video, stream, facts=True)
        try:
            known = read_json(path)
            check_fields(facts := Facts(**known["facts"]))
            numbers, seconds = np.array(known["numbers"], np.int64), np.array(known["seconds"], np.float64)
            if not numbers.size or numbers.ndim != 1 or numbers.shape != seconds.shape:
                raise ValueError("frames without a number or a second")
        except (OSError, AvrError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise damaged(path, error) from error
        return Known(facts, str(known.get("note", "")), numbers, seconds)

    def _images(self, path: Path, chosen: NDArray, *, count: int, channels: int) -> NDArray:
        """Some of a file's images, by their places among the `count` that it holds."""
        try:
            array: NDArray = np.load(path, mmap_mode="r", allow_pickle=False)
            if array.ndim != 4 or array.shape[:2] != (count, channels) or array.dtype not in (np.uint8, np.float16):
                raise ValueError("no images")
            return np.ascontiguousarray(array[chosen])
        except (OSError, ValueError, EOFError, IndexError) as error:  # numpy: an empty file is an EOFError
            raise damaged(path, error) from error

    def _store(self, video: Video) -> int:
        """Decode one video, make the images of every frame and pair, write them; gives the bytes written."""
        written = 0
        # Every frame, and every pair: stacks of one.
        needs = {name: stream.need for name, stream in self.streams.items()}
        needs = {
            name: replace(need, frames=1, pairs=min(1, need.pairs))
            for name, need in needs.items()
            if not self.has(video, [name])
        }
        by_file = {self.path(video, name): name for name in needs}  # several may look at the same images
        needs = {name: needs[name] for name in by_file.values()}
        for fps, damage in dict.fromkeys((need.sampling.fps, need.sampling.damage) for need in needs.values()):
            own = {
                name: need for name, need in needs.items() if (need.sampling.fps, need.sampling.damage) == (fps, damage)
            }
            frames = open_frames(video, fps=fps)
            refuse_damaged(frames, damage)
            every = Steps.of(np.arange(frames.count)[None], frames.count)
            decoded = answer(frames, dict.fromkeys(own, every), own)
            for name, found in decoded.answers.items():
                written += self._write_images(video, name, found)
            known = {"facts": asdict(decoded.facts), "note": decoded.note}
            known |= {"numbers": found.numbers[0].tolist(), "seconds": found.seconds[0].tolist()}
            write_json(self.path(video, name, facts=True), known)
        return written

    def _write_images(self, video: Video, stream: str, found: Answer) -> int:
        made, kept = self.streams[stream].images([found])[0].cpu(), self.settings[stream]
        if math.prod(resized_to(made, kept)) < math.prod(made.shape[-2:]):  # extraction would, and then leaves them
            made = resize_images(made, kept)
        images = np.ascontiguousarray(made.numpy())
        images = images if images.dtype == np.uint8 else images.astype(np.float16)
        with write_whole(self.path(video, stream)) as temporary, open(temporary, "wb") as file:
            np.save(file, images)
        return images.nbytes


def damaged(path: Path, error: Exception) -> WorkError:
    """What is said of a file that cannot be read."""
    why = getattr(error, "strerror", None)  # the system's, of its files
    return WorkError(f"{path} is damaged or gone{f' ({why})' if why else ''}: remove it, and it is made again")


def leave_out(videos: Sequence[Video], failures: dict[str, str]) -> list[Video]:
    """The videos that decode.

    Raises:
        WorkError: none does.
    """
    kept = [video for video in videos if video.id not in failures]
    if videos and not kept:
        raise WorkError(f"none of the {len(videos)} videos decodes: {next(iter(failures.values()))}")
    return kept
