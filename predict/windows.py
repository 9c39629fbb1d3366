"""A long video cut into windows, read once from its start to its end; memory holds one window."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from avr.extract import Settings
from avr.extract.decode import Decoded, VideoError, _open, _stack, resize_short_side
from avr.extract.plan import needs_of, plan_frames


def frame_rate(path: Any) -> float:
    """Frames a second, as the container says; 25 where it says nothing of use."""
    capture = _open(path)
    try:
        rate = float(capture.get(cv2.CAP_PROP_FPS))
    finally:
        capture.release()
    return rate if 1 <= rate <= 1000 else 25.0


def read_windows(path: Any, *, length: int, step: int) -> Iterator[tuple[int, list[Any]]]:
    """Windows of `length` frames, one every `step` frames, and one at the end that the last of these does not reach.

        F = 11, length 4, step 3:   0000.......
                                    ...1111....
                                    ......2222.
                                    .......3333

    Yields:
        The first frame's number, and the frames, `(H, W, 3)` BGR; a video shorter than a window is one window.

    Raises:
        VideoError: no frame decodes, or the size changes on the way.
    """
    capture = _open(path)
    held: list[Any] = []
    first = total = 0
    reached = 0  # frames before this one are in a window that was given
    try:
        while capture.grab():
            whole, frame = capture.retrieve()
            if not whole:
                break
            if held and frame.shape != held[0].shape:
                raise VideoError("its frames change size", path)
            held.append(frame)
            total += 1
            if len(held) > length:  # the next window has not begun yet: the oldest is still wanted for the last one
                held.pop(0)
                first += 1
            if len(held) == length and first % step == 0:
                reached = total
                yield first, list(held)
    finally:
        capture.release()
    if not total:
        raise VideoError("no frame decodes", path)
    if reached < total:
        yield first, held


def decode_frames(frames: list[Any], settings: Settings, *, key: str, colour_flow: bool) -> Decoded:
    """What `decode_video` gives for a video of these frames.

    Args:
        frames: all frames of the window, `(H, W, 3)` BGR.
        settings: the plan and the streams.
        key: stands for the video's id where views are random.
        colour_flow: keep RGB for the flow method, not grey.
    """
    views = plan_frames(settings, len(frames), key=key)
    needs = needs_of(settings, views, len(frames))
    rgb = [cv2.cvtColor(frames[index], cv2.COLOR_BGR2RGB) for index in needs.frames if "rgb" in settings.streams]
    code = cv2.COLOR_BGR2RGB if colour_flow else cv2.COLOR_BGR2GRAY
    wanted = needs.flow_frames if "flow" in settings.streams else np.zeros(0, np.intp)
    grey = [resize_short_side(cv2.cvtColor(frames[index], code), settings.flow_size) for index in wanted]
    return Decoded(needs, _stack(rgb), _stack(grey), None)
