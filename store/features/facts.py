"""What a store keeps of its videos beside features: rates and sizes, and which frame and second each row shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avr.core import UsageError
from avr.store.tables import Tables

# Of a video, as `avr.video.Facts` has them; what is not known is 0. Its codec is text.
NUMBERS = {
    "promised": "i4",
    "rate": "f8",
    "varies": "i1",
    "start": "f8",
    "end": "f8",
    "seconds": "f8",
    "width": "i4",
    "height": "i4",
}
CODEC = "codec"


@dataclass(frozen=True)
class Facts:
    """Tables of M videos with R rows of N steps.

    Attributes:
        videos: name to (M,): promised, rate, varies, start, end, seconds, width, height, codec.
        frame: (R, N) int32 which of its video's frames each step shows, from 0; −1 is not known.
        second: (R, N) float64 when, in seconds from its file's start; NaN is not known.
    """

    videos: Mapping[str, NDArray]
    frame: NDArray[np.int32]
    second: NDArray[np.float64]

    @classmethod
    def unknown(cls, count: int, num_rows: int, steps: int) -> "Facts":
        """Where nothing is known."""
        videos = {name: np.zeros(count, "<" + kind) for name, kind in NUMBERS.items()}
        videos[CODEC] = np.zeros(count, dtype=str)
        return cls(videos, np.full((num_rows, steps), -1, "<i4"), np.full((num_rows, steps), np.nan, "<f8"))

    @classmethod
    def of(cls, told: Mapping[str, Any], shown: tuple[ArrayLike, ArrayLike] | None, rows: tuple[int, int]) -> "Facts":
        """Of one video with V rows of N steps: what is told of it by name, and which frame and second they show."""
        known = cls.unknown(1, *rows)
        videos = dict(known.videos)
        for name in videos.keys() & told.keys():
            videos[name] = _column(told[name], str if name == CODEC else videos[name].dtype)
        if shown is None:
            return cls(videos, known.frame, known.second)
        frame, second = np.asarray(shown[0], "<i4"), np.asarray(shown[1], "<f8")
        if frame.shape != rows or second.shape != rows:
            raise UsageError(f"frames and seconds of shape {frame.shape} and {second.shape}, not {rows}")
        return cls(videos, frame, second)

    @classmethod
    def join(cls, parts: Sequence["Facts"], steps: int) -> "Facts":
        """Several one after the other."""
        parts = [cls.unknown(0, 0, steps), *parts]
        videos = {name: np.concatenate([part.videos[name] for part in parts]) for name in parts[0].videos}
        frame, second = (np.concatenate([getattr(part, name) for part in parts]) for name in ("frame", "second"))
        return cls(videos, frame, second)

    def tables(self) -> dict[str, Any]:
        """As `write_tables` takes them."""
        columns = {f"index/facts/{name}": self.videos[name] for name in NUMBERS}
        columns[f"index/facts/{CODEC}"] = self.videos[CODEC].tolist()
        return {**columns, "index/shown/frame": self.frame, "index/shown/second": self.second}

    @classmethod
    def read(cls, tables: Tables, count: int, num_rows: int, steps: int) -> "Facts":
        """What `tables` gave; an older file holds none."""
        if "index/shown/frame" not in tables.content:
            return cls.unknown(count, num_rows, steps)
        videos = {name: tables.numbers(f"index/facts/{name}", (count,), kind) for name, kind in NUMBERS.items()}
        codecs = tables.text(f"index/facts/{CODEC}")
        if len(codecs) != count:
            raise ValueError(f"{len(codecs)} codecs of {count} videos")
        videos[CODEC] = np.array(codecs, dtype=str)
        frame = tables.numbers("index/shown/frame", (num_rows, steps), "i4")
        return cls(videos, frame, tables.numbers("index/shown/second", (num_rows, steps), "f8"))


def _column(value: Any, kind: Any) -> NDArray:
    """One value, `(1,)`; a number that is beyond its column's, as a file may promise, is the last that it holds."""
    column = np.array([value])
    if np.issubdtype(kind, np.integer):
        column = np.clip(column, np.iinfo(kind).min, np.iinfo(kind).max)
    return column.astype(kind)
