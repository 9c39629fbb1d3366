"""Which axis of scores is videos, views or classes: told by facts, never by place."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError

from .kinds import share_a_sum

NAMES = {"M": "videos", "V": "views", "K": "classes"}
Labels = Sequence[int] | None
SURE = 4.0  # standard deviations by which labels tell the axes, where other axes are right by chance


@np.errstate(invalid="ignore", over="ignore")  # values that are no numbers are told of where they are checked
def lay(
    values: NDArray | list[NDArray], where: str, *, videos: int, classes: int | None, labels: Labels, axes: str
) -> tuple[NDArray[np.float64], str]:
    """Scores as (M, K), the mean over views; and what the axes were taken for, in words.

    Args:
        values: all in one array, or those of each video, which may have views of their own number.
        where: the file, for messages.
        videos: M, which the names tell.
        classes: K, if it is known.
        labels: class numbers of the videos that have one, if they are known: K is larger than all of them.
        axes: a letter an axis; empty: found out.

    Raises:
        UsageError: no way to read the axes, or two.
    """
    if isinstance(values, list) and len({value.shape for value in values}) > 1:
        return _ragged(values, where, classes, labels, axes)
    if isinstance(values, list):
        array, fixed = np.stack(values), True
    else:
        array, fixed = values, False
    if not array.size:
        raise UsageError(f"{where}: scores of shape {array.shape}, expected (videos, classes)")
    way = _given(axes, array.shape, where, fixed=fixed) if axes else _way(array, where, videos, classes, labels, fixed)
    m, k = way
    if array.shape[m] != videos:
        raise UsageError(f"{where}: {array.shape[m]} videos, but {videos} names")
    views = array.size // (array.shape[m] * array.shape[k])
    moved = np.moveaxis(array, (m, k), (0, -1)).reshape(array.shape[m], -1, array.shape[k])
    mean = _mean(moved, 1) if views > 1 else moved[:, 0].astype(np.float64, copy=False)
    return mean, f" × {views} views" if views > 1 else ""


def _mean(values: NDArray, axis: int) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):  # NaN and overflow are looked for later, and named
        return np.asarray(values.mean(axis=axis, dtype=np.float64))


def _given(axes: str, shape: Sequence[int], where: str, *, fixed: bool = False) -> tuple[int, int]:
    """The axes of videos and classes as --axes has them; with `fixed`, the first one of videos needs no letter."""
    letters = axes.upper()
    if fixed and len(letters) == len(shape) - 1 and "M" not in letters:
        letters = "M" + letters
    if len(letters) != len(shape) or set(letters) - set(NAMES) or letters.count("M") != 1 or letters.count("K") != 1:
        raise UsageError(
            f"{where}: --axes {axes}: scores of shape {tuple(shape)} need a letter an axis, one M (videos), one K "
            "(classes), V (views)"
        )
    return letters.index("M"), letters.index("K")


def _least(labels: Labels) -> int:
    return max(2, max(labels, default=-1) + 1) if labels is not None else 2


def _way(array: NDArray, where: str, videos: int, classes: int | None, labels: Labels, fixed: bool) -> tuple[int, int]:
    """The only axes of videos and classes that the facts leave."""
    shape = array.shape
    ways = [
        (m, k)
        for m, k in permutations(range(array.ndim), 2)
        if (m == 0 if fixed else shape[m] == videos) and (shape[k] == classes if classes else shape[k] > 1)
    ]
    if not ways:
        if fixed or videos in shape:
            expected = f"{classes} classes" if classes else "two classes or more"
            width = shape[-1]
            raise UsageError(
                f"{where}: {width} scores a video, but {classes} class names"
                if classes
                else f"{where}: 1 class, in scores of shape {shape}; expected {expected}"
            )
        raise UsageError(
            f"{where}: {shape[0]} videos, but {videos} names"
            if array.ndim == 2
            else f"{where}: {videos} names for scores of shape {shape}"
        )
    least = _least(labels)
    fitting = [way for way in ways if shape[way[1]] >= least]
    if not fitting:
        raise UsageError(
            f"{where}: a label is {least - 1}, but its scores have shape {shape}: is each label a position among them?"
        )
    if len(fitting) > 1:
        summing = [way for way in fitting if share_a_sum(np.moveaxis(array, way, (0, -1)))]
        fitting = summing if len(summing) == 1 else fitting
    if len(fitting) > 1 and labels is not None and len(labels) == videos:
        luck = [_luck(array, way, labels) for way in fitting]
        likely = [way for way, sigmas in zip(fitting, luck, strict=True) if sigmas > SURE]
        fitting = likely if len(likely) == 1 and sorted(luck)[-2] < SURE / 2 else fitting
    if len(fitting) > 1:
        first, second = (_letters(way, array.ndim) for way in fitting[:2])
        raise UsageError(
            f"{where}: scores of shape {shape}: say --axes {first} or --axes {second} (M videos, V views, K classes)"
        )
    return fitting[0]


def _luck(array: NDArray, way: tuple[int, int], labels: Sequence[int]) -> float:
    """By how many standard deviations more videos are right than by chance, if the axes are these."""
    moved = np.moveaxis(array, way, (0, -1))
    mean = _mean(moved.reshape(moved.shape[0], -1, moved.shape[-1]), 1)
    told, true = mean.argmax(axis=1), np.asarray(labels)
    share = float((told == true).mean())
    chance = float(np.mean([(told == label).mean() for label in labels]))
    return (share - chance) / float(np.sqrt(max(chance * (1 - chance), 1e-9) / len(labels)))


def _letters(way: tuple[int, int], count: int) -> str:
    return "".join("M" if axis == way[0] else "K" if axis == way[1] else "V" for axis in range(count))


def _ragged(
    values: list[NDArray], where: str, classes: int | None, labels: Labels, axes: str
) -> tuple[NDArray[np.float64], str]:
    """Scores of videos that have views of their own number: the classes' axis is the one of a length in all."""
    dims = {value.ndim for value in values}
    if len(dims) == 1:
        ndim = dims.pop()
        letters = axes.upper().removeprefix("M")
        same = [
            axis
            for axis in range(ndim)
            if len({value.shape[axis] for value in values}) == 1
            and values[0].shape[axis] >= max(classes or 0, _least(labels))
            and (classes in (None, values[0].shape[axis]))
        ]
        if letters:
            same = [_given("M" + letters, (0, *values[0].shape), where)[1] - 1]
        if len(same) == 1:
            rows = [_mean(np.moveaxis(v, same[0], -1).reshape(-1, v.shape[same[0]]), 0) for v in values if v.size]
            if len(rows) == len(values) and len({len(row) for row in rows}) == 1:
                return np.stack(rows), " × 1 or more views"
    widths = sorted({value.shape[-1] for value in values})
    shapes = sorted({value.shape for value in values})
    if len(widths) > 1:
        raise UsageError(f"{where}: videos with {' and '.join(map(str, widths[:4]))} scores each")
    raise UsageError(f"{where}: videos with scores of shapes {shapes[0]} and {shapes[1]}: say --axes")
