"""Foreign arrays of any length laid into N segments: which axis is which, and what becomes of the steps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from avr.core import NonNegativeInt, UsageError, check_fields

SEGMENTS = 7  # where videos differ in length, as STFN has them and `avr extract` takes
ORDERS = {2: ("pooled", "TD"), 3: ("tokens", "TPD"), 4: ("map", "TCHW")}  # by the number of axes
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Laying:
    """How arrays become a stream's.

    Attributes:
        layer: name of the store's layer; "": pooled of (T, D), map of (T, C, H, W).
        axes: what the arrays' axes are, in their order, such as "DT" or "THWC"; "": as just said, if nothing speaks
            against it.
        segments: N; 0: as many as all videos have steps, or else 7.
        how: of each of N equal parts of more steps than N, the average, or the middle one picked.
    """

    layer: str = ""
    axes: str = ""
    segments: NonNegativeInt = 0
    how: Literal["average", "pick"] = "average"

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        check_fields(self)
        if self.axes and sorted(self.axes) not in [sorted(order) for _, order in ORDERS.values()]:
            raise UsageError(f"--axes {self.axes}: the letters of {', '.join(order for _, order in ORDERS.values())}")

    def settled(self, shapes: Shapes) -> "Laying":
        """The same with all that it leaves open, told by the arrays of a stream: where each is, and its shape.

        Raises:
            UsageError: arrays of different widths, or that can be read in two ways.
        """
        plain = {where: squeezed(shape, self) for where, shape in shapes.items()}
        axes = self.axes or _axes(plain, self.layer)
        layer = self.layer or ORDERS[len(axes)][0]
        _alike({where: (len(shape),) for where, shape in {f"axes {axes}": axes, **plain}.items()}, "number of axes")
        laid = {where: tuple(shape[axis] for axis in _turn(axes)) for where, shape in plain.items()}
        _alike({where: shape[1:] for where, shape in laid.items()}, "numbers a step")
        steps = {shape[0] for shape in laid.values()}
        segments = self.segments or (steps.pop() if len(steps) == 1 else SEGMENTS)
        return Laying(layer, axes, segments, self.how)

    def steps(self, values: NDArray) -> NDArray:
        """A video's array as (T, …), with the axes in the store's order."""
        return values.reshape(squeezed(values.shape, self)).transpose(_turn(self.axes))

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """What `lay` makes of an array of a shape: (N, …)."""
        plain = squeezed(shape, self)
        return self.segments, *(plain[axis] for axis in _turn(self.axes)[1:])

    def lay(self, steps: NDArray) -> NDArray:
        """Steps (T, …) as segments (N, …), float64 where several are averaged.

        Of T ≥ N steps, segment n has floor(nT / N) … floor((n + 1)T / N) − 1; of fewer, the last is repeated, as `avr
        extract` repeats the last frame.
        """
        count, wanted = len(steps), self.segments
        if count <= wanted:
            return steps[np.minimum(np.arange(wanted), count - 1)]
        if self.how == "pick":
            return steps[(2 * np.arange(wanted) + 1) * count // (2 * wanted)]
        edges = (np.arange(wanted + 1) * count // wanted).tolist()
        return np.stack([steps[start:stop].mean(axis=0, dtype=np.float64) for start, stop in pairwise(edges)])

    def rule(self, shapes: Iterable[Sequence[int]]) -> str:
        """What is done with arrays of these shapes, in words."""
        if all(squeezed(shape, self)[_turn(self.axes)[0]] == self.segments for shape in shapes):
            return "as they are"
        many = "averaged" if self.how == "average" else "picked from, the middle one"
        return f"equal parts of a video's steps {many}; the last step of a shorter one repeated"


def squeezed(shape: Sequence[int], laying: Laying) -> tuple[int, ...]:
    """A shape without axes of 1 that say nothing: (D,) is (1, D), (T, D, 1, 1) is (T, D), (1, T, D) is (T, D)."""
    sides = tuple(shape)
    wanted = len(laying.axes) or (2 if laying.layer in ("", "pooled") else len(sides))
    if len(sides) == 1 and wanted == 2:
        return (*sides, 1) if laying.axes == "DT" else (1, *sides)
    while len(sides) > wanted and sides[-1] == 1:
        sides = sides[:-1]
    if len(sides) == wanted + 1 and sides[0] == 1:
        sides = sides[1:]
    return sides if len(sides) == wanted else tuple(shape)


def _turn(axes: str) -> list[int]:
    """Where the axes lie that the store has first, second, …."""
    return [axes.index(letter) for letter in ORDERS[len(axes)][1]]


def _axes(shapes: Shapes, layer: str) -> str:
    """What the axes are, by what differs among videos: their steps do, the width of a step does not."""
    _alike({where: (len(shape),) for where, shape in shapes.items()}, "number of axes")
    where, first = next(iter(shapes.items()))
    if len(first) not in ORDERS or (len(first) == 3 and not layer):
        raise UsageError(
            f"{where}: an array of shape {first}; expected (T, D), or (T, C, H, W); of (T, P, D), P tokens a step, say "
            "--layer tokens"
        )
    order = ORDERS[len(first)][1]
    turned = order[1] + order[0] + order[2:]
    last = order[0] + order[2:] + order[1]
    varies = [len({shape[axis] for shape in shapes.values()}) > 1 for axis in (0, 1)]
    if len(order) == 4 and first[1] == first[2] != first[3]:
        raise _two_readings(where, first, order, last)
    if varies == [False, True] and len(order) != 3:
        return turned
    if varies == [False, False] and len(order) != 3 and first[0] >= first[1]:
        raise _two_readings(where, first, order, turned)
    return order


def _two_readings(where: str, shape: tuple[int, ...], *orders: str) -> UsageError:
    one, other = (f"({', '.join(order)})" for order in orders)
    return UsageError(
        f"{where}: an array of shape {shape} may be {one} or {other}: say --axes {orders[0]} or --axes {orders[1]}"
    )


def _alike(found: Mapping[str, Any], what: str) -> None:
    """Refuse arrays that differ, naming two."""
    (where, first), *others = found.items()
    for other, value in others:
        if value != first:
            shown = [" × ".join(map(str, one)) for one in (first, value)]
            raise UsageError(f"{where} and {other} differ in their {what}: {shown[0]} and {shown[1]}")
