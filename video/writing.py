"""Frames to a video file: MP4 for whoever looks at it, or GIF. Either holds one frame at a time in memory."""

import itertools
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image  # torchvision brings Pillow

from avr.core import WorkError, cannot_write, write_whole

LONGEST = 65535  # hundredths of a second that a GIF may show an image
Images = Iterable[NDArray[np.uint8]]


def write_video(path: Path, images: Images, *, rate: float) -> None:
    """Write images as a video, whole or not at all: `.gif`, or for any other suffix MP4.

    An MP4 is H.264, or MPEG-4 part 2 where this build of FFmpeg has no encoder for that. Its sizes are even: of an odd
    one the last row or column is repeated.

    Args:
        path: the file.
        images: `(H, W, 3)` uint8 RGB each, of one size; at least one.
        rate: frames a second; those of a GIF are shown for whole hundredths of a second each, at most 655.35 seconds.

    Raises:
        WorkError: no image, or the file cannot be written.
    """
    write: Callable[[Path, Images, float], None] = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    remaining = iter(images)
    first = next(remaining, None)
    if first is None:
        raise WorkError(f"{path}: there is no frame to write")
    try:
        with write_whole(path) as temporary:
            write(temporary, itertools.chain([first], remaining), rate)
    except av.FFmpegError as error:
        raise cannot_write(path, error) from error


def _write_mp4(path: Path, images: Images, rate: float) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream: Any = None
        for image in images:
            height, width = image.shape[:2]
            even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            if stream is None:
                stream = _add_stream(container, rate)
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")))
        container.mux(stream.encode())


def _add_stream(container: Any, rate: float) -> Any:
    written = max(Fraction(rate).limit_denominator(1001), Fraction(1, 1001))
    try:
        return container.add_stream("libx264", rate=written, options={"crf": "20"})
    except (av.FFmpegError, ValueError):  # a build without it
        return container.add_stream("mpeg4", rate=written, options={"qscale": "3"}, bit_rate=4_000_000)


def _write_gif(path: Path, images: Images, rate: float) -> None:
    """Each image in 256 colours of its own; one is held at a time."""
    last = min(max(1, round(100 / rate)), LONGEST)  # as long the last one is shown
    with av.open(str(path), "w", format="gif", options={"final_delay": str(last)}) as container:
        stream: Any = None
        shown = -1
        for number, image in enumerate(images):
            picture = Image.fromarray(image).quantize(256, Image.Quantize.FASTOCTREE)
            if stream is None:
                stream = container.add_stream("gif", rate=100)
                stream.width, stream.height = picture.size
                stream.pix_fmt = "pal8"
            colours = np.full((256, 4), 255, np.uint8)  # alpha, red, green, blue
            own = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
            colours[: len(own), 1:] = own
            frame = av.VideoFrame.from_ndarray((np.asarray(picture), colours), format="pal8")  # type: ignore[arg-type]
            shown = min(max(shown + 1, round(100 * number / rate)), shown + LONGEST)  # none drifts
            frame.pts, frame.time_base = shown, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
