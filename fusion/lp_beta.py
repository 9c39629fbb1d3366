"""LP-β: weights shared by all classes, from the soft-margin linear program."""

from typing import Annotated

from avr.core import About, PositiveFloat, Range

from ._base import Kind
from .awf import Awf


class LpBeta(Awf):
    """LP-β (Gehler & Nowozin 2009, section 3): the margin program of `awf` with δ = 0, one weight a stream.

    Departure from the paper: it combines the margins of one kernel machine a feature, here log-probabilities at one
    temperature a stream are combined.

    Args:
        nu: ν, in (0, 1]: the share of videos whose margins are made large.
        tolerance: of the program's gap.

    Attributes: as in `awf` with objective "margin".
    """

    def __init__(
        self,
        *,
        nu: Annotated[float, Range(above=0, most=1), About("The share of videos that count.")] = 0.5,
        tolerance: Annotated[PositiveFloat, About("How near to the optimum it is solved.")] = 1e-4,
        kind: Kind = "auto",
    ) -> None:
        super().__init__(objective="margin", nu=nu, delta=0.0, tolerance=tolerance, kind=kind)

    def notes(self) -> list[str]:
        return [text.replace("awf margin", "lp-beta") for text in super().notes()]


RULE = LpBeta
