"""Score fusion: one file a rule, every rule a scikit-learn estimator over scores `(M, S, K)`.

    from avr.fusion import make_fuser
    fuser = make_fuser("awf").fit(X, y, groups)      # X (M, S, K), y (M,), groups (M,)
    fuser.predict_proba(X_new)                       # (M, K)

`fuse` and `compare` work on score files and are what `avr fuse` calls. Names are loaded when they are first used, so
that listing the rules needs neither SciPy nor scikit-learn.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._base import Fuser
    from ._calibration import expected_calibration_error, fit_temperature, reliability_table
    from ._compare import Comparison, compare
    from ._evaluate import Evaluation
    from ._fuse import FusionResult, fuse
    from ._inputs import Table, gather
    from ._rules import make_fuser, rule_class, rule_names
    from ._saving import load_fuser, save_fuser
    from ._statistics import mcnemar_p, paired_bootstrap

_PLACES = {
    "Comparison": "_compare",
    "Evaluation": "_evaluate",
    "Fuser": "_base",
    "FusionResult": "_fuse",
    "Table": "_inputs",
    "compare": "_compare",
    "expected_calibration_error": "_calibration",
    "fit_temperature": "_calibration",
    "fuse": "_fuse",
    "gather": "_inputs",
    "load_fuser": "_saving",
    "make_fuser": "_rules",
    "mcnemar_p": "_statistics",
    "paired_bootstrap": "_statistics",
    "reliability_table": "_calibration",
    "rule_class": "_rules",
    "rule_names": "_rules",
    "save_fuser": "_saving",
}

__all__ = [
    "Comparison",
    "Evaluation",
    "Fuser",
    "FusionResult",
    "Table",
    "compare",
    "expected_calibration_error",
    "fit_temperature",
    "fuse",
    "gather",
    "load_fuser",
    "make_fuser",
    "mcnemar_p",
    "paired_bootstrap",
    "reliability_table",
    "rule_class",
    "rule_names",
    "save_fuser",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its file at first use."""
    if name not in _PLACES:
        raise AttributeError(f"module 'avr.fusion' has no attribute '{name}'")
    return getattr(importlib.import_module(f"avr.fusion.{_PLACES[name]}"), name)
