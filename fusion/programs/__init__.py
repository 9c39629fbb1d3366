"""The linear programs behind `awf` and `lp-beta`; each works alone and has its own tests."""

from .margin import MarginProgram, MarginSolution, margins, soft_margin
from .select import LADDER, NUS, Setting, calibrate, choose, shared_weights, temperatures_of, worse_by
from .stilt import stilt_gains, stilt_weights

__all__ = [
    "LADDER",
    "NUS",
    "MarginProgram",
    "MarginSolution",
    "Setting",
    "calibrate",
    "choose",
    "margins",
    "shared_weights",
    "soft_margin",
    "stilt_gains",
    "stilt_weights",
    "temperatures_of",
    "worse_by",
]
