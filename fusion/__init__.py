"""Score fusion: one file a rule, every rule a scikit-learn classifier.

    from avr.fusion import Awf
    fuser = Awf().fit(X, y, groups)      # X (M, S, K) scores, or a list of (M, K), one a stream; y, groups (M,)
    fuser.predict_proba(X_new)           # (M, K)

`fuse`, `compare` and `apply_fusion` work on score files and are what `avr fuse` calls. `early-svm` alone takes
features, not scores: `fuse_features` works on a store.
"""

from typing import TYPE_CHECKING

from avr.core import lazy

if TYPE_CHECKING:
    from ._applying import apply_fusion
    from ._base import Fuser, Rule, make_fuser, rule_class, rule_names
    from ._fuse import compare, fuse
    from ._inputs import Table, gather
    from ._probabilities import fit_temperature
    from ._report import expected_calibration_error, figures, mcnemar_p, paired_bootstrap, reliability_table
    from ._results import Applied, Comparison, FusionResult
    from ._saving import about_scores, find_fusion, load_fuser, save_fuser
    from ._trials import Evaluation
    from ._verdict import FEWEST_GROUPS, told_apart
    from .average import Average
    from .awf import Awf
    from .early_svm import EarlySvm, fuse_features, pooled_features
    from .greedy_selection import GreedySelection
    from .log_linear_pool import LogLinearPool
    from .logistic_stacking import LogisticStacking
    from .lp_beta import LpBeta
    from .maximum import Maximum
    from .multiply import Multiply
    from .svm import Svm
    from .weighted import Weighted
else:
    __getattr__, __dir__ = lazy(__name__)

# Public, a page each in docs/api; the other names here are for avr's own rooms.
__all__ = [
    "Applied",
    "Average",
    "Awf",
    "Comparison",
    "EarlySvm",
    "Evaluation",
    "Fuser",
    "FusionResult",
    "GreedySelection",
    "LogLinearPool",
    "LogisticStacking",
    "LpBeta",
    "Maximum",
    "Multiply",
    "Svm",
    "Table",
    "Weighted",
    "apply_fusion",
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
    "reliability_table",
    "save_fuser",
]
