"""The programs behind `awf`, `lp-beta` and `log-linear-pool`; each works alone and has its own tests."""

from .margin import MarginProgram, margins, soft_margin
from .pool import ClassPool, PoolProgram, class_pools, shared_exponents
from .select import STRENGTHS, first_good, held_out_errors
from .stilt import stilt_gains, stilt_weights
