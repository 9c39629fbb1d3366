"""Predictions as a table: a row a video and one for each window of its time line."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from avr.core import write_csv


def write_table(path: Path, predictions: Sequence[Mapping[str, Any]]) -> None:
    """Write predictions as CSV, whole or not at all.

        video,start,end,frames,class_1,probability_1,class_2,probability_2,error
        clips/a.mp4,0,12.4,310,run,0.91,walk,0.06,
        clips/a.mp4,0,5,,run,0.97,walk,0.02,
        clips/b.mp4,,,,,,,,is a text file, not a video

    Seconds from the video's start; a video's own row alone has its number of frames. Cells are safe for spreadsheets
    (`avr.core.safe_cell`).

    Args:
        path: of the file.
        predictions: of `Prediction.to_dict`, or of a video that cannot be read "video" and "error".

    Raises:
        WorkError: it cannot be written.
    """
    most = max((len(one.get("top", ())) for one in predictions), default=0)
    write_csv(path, _rows(predictions, most))


def _rows(predictions: Sequence[Mapping[str, Any]], most: int) -> Iterator[list[object]]:
    places = [f"{name}_{place}" for place in range(1, most + 1) for name in ("class", "probability")]
    yield ["video", "start", "end", "frames", *places, "error"]
    for one in predictions:
        whole = [0, round(one["seconds"], 3), one["frames"]] if "seconds" in one else [None, None, None]
        yield [one["video"], *whole, *_cells(one.get("top", ()), most), one.get("error")]
        for window in one.get("timeline", ()):
            span = [round(window["start"], 3), round(window["end"], 3), None]
            yield [one["video"], *span, *_cells(window["top"], most), None]


def _cells(top: Sequence[Mapping[str, Any]], most: int) -> list[object]:
    """Classes and probabilities, best first, in `most` pairs of columns."""
    cells: list[object] = [cell for one in top for cell in (one["class"], round(one["probability"], 6))]
    return cells + [None] * (2 * most - len(cells))
