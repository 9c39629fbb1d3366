"""The programs behind `awf`, `lp-beta` and `log-linear-pool`; each works alone and has its own tests."""

from .margin import MarginProgram, MarginSolution, margins, soft_margin
from .pool import ClassPool, PoolProgram, class_pools, pool_loss, shared_exponents
from .select import STRENGTHS, first_good, held_out_errors, worse_by
from .stilt import stilt_gains, stilt_weights

__all__ = [
    "STRENGTHS",
    "ClassPool",
    "MarginProgram",
    "MarginSolution",
    "PoolProgram",
    "class_pools",
    "first_good",
    "held_out_errors",
    "margins",
    "pool_loss",
    "shared_exponents",
    "soft_margin",
    "stilt_gains",
    "stilt_weights",
    "worse_by",
]
