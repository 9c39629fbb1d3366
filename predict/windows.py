"""A long video cut into windows, read once from its start to its end; memory holds one window."""

from collections.abc import Iterable, Iterator

from avr.video import Frame


def cut_windows(frames: Iterable[Frame], *, length: int, step: int) -> Iterator[tuple[int, list[Frame]]]:
    """Windows of `length` frames, one every `step` frames, and one at the end that the last of these does not reach.

        F = 11, length 4, step 3:   0000.......
                                    ...1111....
                                    ......2222.
                                    .......3333

    Yields:
        The first frame's number, and the frames, for `HeldFrames`; fewer frames than a window are one window.
    """
    held: list[Frame] = []
    first = total = 0
    reached = 0  # frames before this one are in a window that was given
    for frame in frames:
        held.append(frame)
        total += 1
        if len(held) > length:  # the next window has not begun yet: the oldest is still wanted for the last one
            held.pop(0)
            first += 1
        if len(held) == length and first % step == 0:
            reached = total
            yield first, list(held)
    if reached < total:
        yield first, held
