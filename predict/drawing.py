"""A clip with what was predicted of it drawn onto its frames."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError
from avr.video import Frame, VideoFile, write_video

from .predictor import Prediction, held_frames
from .windows import timed

MOST = 3  # classes shown
LINES, SMALLEST = 20, 11  # so many lines of text would fill a frame's height, unless that makes them too small to read
FONT = cv2.FONT_HERSHEY_SIMPLEX
EM, ASCENT = 30, 22  # of the font at scale 1, in pixels: from line to line, and above the baseline


def draw_prediction(prediction: Prediction, out: Path | str, *, frames: NDArray[np.uint8] | None = None) -> Path:
    """Write a clip with its best classes, at most three, in a dark band below; in one above, the best of the time
    line's window whose middle is nearest. Size and frames a second are the clip's, where these vary their mean.

    Args:
        prediction: what is drawn.
        out: the file, `.mp4` or `.gif` (`avr.video.write_video`).
        frames: `(F, H, W, 3)` uint8 RGB, of a prediction that was made of an array.

    Raises:
        UsageError: `frames` are missing, or others than the prediction was made of.
        WorkError: the clip cannot be read, or `out` not written.
    """
    if frames is None and prediction.path is None:
        raise UsageError("the prediction was made of an array: give that as frames=")
    rate = prediction.frames / prediction.seconds
    held = None if frames is None else held_frames(frames, rate)
    if held is not None and len(held) != prediction.frames:
        raise UsageError(f"frames= holds {len(held)} frames, the prediction was made of {prediction.frames}")
    with VideoFile(prediction.path) if held is None and prediction.path else nullcontext(held or ()) as shown:
        write_video(Path(out), _drawn(prediction, timed(shown, prediction.rate), rate), rate=rate)
    return Path(out)


def _drawn(prediction: Prediction, frames: Iterable[tuple[float, Frame]], rate: float) -> Iterator[NDArray[np.uint8]]:
    below = _lines("whole clip" if prediction.timeline else "", prediction.top)
    for second, frame in frames:
        middle = second + 0.5 / rate
        shown = _with_band(frame.rgb(), below, above=False)
        if prediction.timeline:
            window = min(prediction.timeline, key=lambda one: abs((one.start + one.end) / 2 - middle))
            shown = _with_band(shown, _lines(f"{window.start:.1f} - {window.end:.1f} s", window.top[:1]), above=True)
        yield shown


def _lines(title: str, top: Sequence[tuple[str, float]]) -> list[str]:
    """What a band says, in the letters that OpenCV can draw: accents are left out, other signs are question marks."""
    plain = [f"{100 * probability:3.0f} % {name}" for name, probability in top[:MOST]]
    texts = [unicodedata.normalize("NFKD", text) for text in (*([title] if title else []), *plain)]
    letters = ["".join(c for c in text if not unicodedata.combining(c)) for text in texts]
    return [text.encode("ascii", "replace").decode() for text in letters]


def _with_band(image: NDArray[np.uint8], lines: Sequence[str], *, above: bool) -> NDArray[np.uint8]:
    """A copy of an image with lines of text in a dark band at its top or bottom, as large as fits."""
    height, width = image.shape[:2]
    most = height / 2 / (len(lines) + 0.5)  # a band is half the frame, at most
    scale = min(max(height / LINES, SMALLEST), most) / EM
    widest = max(cv2.getTextSize(line, FONT, scale, 1)[0][0] for line in lines)
    scale *= min(1.0, 0.96 * width / max(1, widest))
    step = scale * EM
    band = min(height, round(step * (len(lines) + 0.5)))
    start = 0 if above else height - band
    shown = image.copy()
    shown[start : start + band] //= 4
    for number, line in enumerate(lines):
        place = (round(0.02 * width), round(start + step * (number + 0.25) + scale * ASCENT))
        cv2.putText(shown, line, place, FONT, scale, (255, 255, 255), max(1, round(1.5 * scale)), cv2.LINE_AA)
    return shown
