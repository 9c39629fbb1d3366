"""Score fusion: one file a rule, every rule a scikit-learn classifier.

    from avr.fusion import make_fuser
    fuser = make_fuser("awf").fit(X, y, groups)      # X (M, S, K) scores, y (M,), groups (M,)
    fuser.predict_proba(X_new)                       # (M, K)

`fuse` and `compare` work on score files and are what `avr fuse` calls. `early-svm` alone takes features, not scores:
`fuse_features` works on a store.
"""

from ._base import Fuser, Rule, make_fuser, rule_class, rule_names
from ._fuse import Comparison, FusionResult, compare, fuse
from ._inputs import Table, gather
from ._probabilities import fit_temperature
from ._report import expected_calibration_error, mcnemar_p, paired_bootstrap, reliability_table
from ._saving import load_fuser, save_fuser
from ._trials import Evaluation
from .early_svm import fuse_features, pooled_features

__all__ = [
    "Comparison",
    "Evaluation",
    "Fuser",
    "FusionResult",
    "Rule",
    "Table",
    "compare",
    "expected_calibration_error",
    "fit_temperature",
    "fuse",
    "fuse_features",
    "gather",
    "load_fuser",
    "make_fuser",
    "mcnemar_p",
    "paired_bootstrap",
    "pooled_features",
    "reliability_table",
    "rule_class",
    "rule_names",
    "save_fuser",
]
