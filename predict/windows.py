"""A long video cut into windows of time, read once from its start to its end; memory holds one window."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from avr.video import Frame


class Part(NamedTuple):
    """One window.

    Attributes:
        number: of its first frame.
        start: second at which that is shown.
        end: second at which the frame behind its last is shown, or the video ends.
        frames: for `HeldFrames`.
    """

    number: int
    start: float
    end: float
    frames: list[Frame]


class _Held(NamedTuple):
    number: int
    second: float
    frame: Frame


def timed(frames: Iterable[Frame], rate: float) -> Iterator[tuple[float, Frame]]:
    """Frames of one video with the seconds at which they are shown, from the first one's on; counted at `rate` a
    second, if that is not 0."""
    zero = 0.0
    for number, frame in enumerate(frames):
        zero = zero if number else frame.second
        yield number / rate if rate else frame.second - zero, frame


def cut_windows(
    frames: Iterable[tuple[float, Frame]], *, length: float, step: float, end: float, rate: float
) -> Iterator[Part]:
    """Windows of `length` seconds, one every `step` seconds, and one at the end that the last of these does not reach.

        a frame a second, end 11, length 4, step 3:   0000.......
                                                      ...1111....
                                                      ......2222.
                                                      .......3333

    A window's frames are those whose showing begins in it, give or take half a frame, since time stamps are rounded.
    It begins with its first frame; one without a frame of its own is left out. A video shorter than a window is one.

    Args:
        frames: with their seconds, as `timed` gives them.
        length, step: seconds, of a frame at least.
        end: second at which the video ends.
        rate: frames a second, in the mean.
    """
    slack, length, step = 0.5 / rate, max(length, 1 / rate), max(step, 1 / rate)
    held: deque[_Held] = deque()
    begin = reached = 0.0  # where the next window begins, and how far those given reach
    given = -1  # the first frame of the last one
    for number, (second, frame) in enumerate(_with_end(frames, end)):
        while second > begin + length - slack:
            part = [one for one in held if one.second > begin - slack]
            begin += step
            if part and part[0].number > given:
                given, reached = part[0].number, second
                yield _part(part, second)
        if frame is None:
            if reached < second:
                yield _part([one for one in held if one.second > second - length - slack], second)
            return
        held.append(_Held(number, second, frame))
        while held[0].second <= min(begin, second - length) - slack:  # in no window to come, nor in the last one
            held.popleft()


def _with_end(frames: Iterable[tuple[float, Frame]], end: float) -> Iterator[tuple[float, Frame | None]]:
    for second, frame in frames:
        yield second, frame
        end = max(end, second)
    yield end, None


def _part(held: list[_Held], end: float) -> Part:
    return Part(held[0].number, held[0].second, end, [one.frame for one in held])
