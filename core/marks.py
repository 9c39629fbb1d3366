"""What an annotation says of a value beside its type, as marks of an `Annotated`; `avr.core.options` reads them."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """Where a number must lie, as the mark of an `Annotated`: least ≤ number ≤ most and above < number < below."""

    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf

    def __contains__(self, number: float) -> bool:
        return self.least <= number <= self.most and self.above < number < self.below

    def describe(self, kind: str) -> str:
        """With kind "float": "float > 0", "0 ≤ float < 1"."""
        low, sign = (self.least, "≤≥") if self.least > self.above else (self.above, "<>")
        high = f" < {self.below:g}" if self.below <= self.most else f" ≤ {self.most:g}"
        if min(self.below, self.most) == math.inf:
            return f"{kind} {sign[1]} {low:g}"
        return f"{low:g} {sign[0]} {kind}{high}" if low > -math.inf else f"{kind}{high}"


@dataclass(frozen=True)
class OneOf:
    """The names a text is one of, as the mark of an `Annotated`: those of a table as it is when they are asked for."""

    names: Collection[str]

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def describe(self, _: str) -> str:
        """ "a|b|c"."""
        return "|".join(self.names)


@dataclass(frozen=True)
class About:
    """What an option is for, as the mark of an `Annotated`: its help text on a command line, and the unit it is in."""

    text: str
    unit: str = ""


PositiveInt = Annotated[int, Range(least=1)]
NonNegativeInt = Annotated[int, Range(least=0)]
PositiveFloat = Annotated[float, Range(above=0)]
NonNegativeFloat = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(least=0, below=1)]  # a dropout, the part of the videos left out: never all
