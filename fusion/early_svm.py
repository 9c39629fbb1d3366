"""A linear SVM on the streams' concatenated pooled features."""

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from avr.core import PositiveFloat, PositiveInt, UsageError, check_options, options_of

from ._base import Fuser, check_labels, check_learnable
from ._linear_svm import fit_linear_svm, unit_rows


class EarlySvm(Fuser):
    """Early fusion of STILT table 5: features of all streams concatenated, one linear SVM.

    `X` holds features `(M, S, D)`, not scores: one vector a video and stream, narrower streams filled up with zeros.
    Each stream's vector is first scaled to length one, so that no stream outweighs another by its units.

    Departure from the paper: it gives neither the SVM's penalty, nor its multi-class form, nor a normalisation; ours
    are C = 1, one against rest, and unit length.

    Args:
        C: inverse strength of the penalty.
        num_classes: K; None: one more than the largest label.

    Attributes:
        coefficients_: (K, S·D) float64. intercept_: (K,) float64. shape_: (S, D).
    """

    reads = "features"

    def __init__(self, *, C: PositiveFloat = 1.0, num_classes: PositiveInt | None = None) -> None:
        super().__init__()
        self.C = C
        self.num_classes = num_classes

    def fit(self, X: object, y: object, groups: object = None) -> "EarlySvm":
        """Learn from features `X (M, S, D)` and labels `y (M,)`; `groups` is taken for the common interface alone.

        Raises:
            UsageError: shapes that do not fit, NaN or infinite features, labels out of range, one class or one video.
        """
        check_options(options_of(type(self)), self.get_params(deep=False))
        features = check_features(X)
        most = int(np.asarray(y).max(initial=0)) + 1
        num_classes = most if self.num_classes is None else self.num_classes
        labels = check_labels(y, len(features), num_classes)
        check_learnable(labels)
        self.classes_ = np.arange(num_classes)
        self.shape_ = list(features.shape[1:])
        rows = unit_rows(features).reshape(len(features), -1)
        self.coefficients_, self.intercept_ = fit_linear_svm(rows, labels, num_classes, C=self.C)
        return self

    def decision_function(self, X: object) -> NDArray:
        """Margins `(M, K)` of features `(M, S, D)`."""
        check_is_fitted(self, "coefficients_")
        features = check_features(X)
        if list(features.shape[1:]) != self.shape_:
            raise UsageError(
                f"features of shape {features.shape[1:]} a video for an SVM fitted on {tuple(self.shape_)}"
            )
        rows = unit_rows(features).reshape(len(features), -1)
        return np.asarray(rows @ self.coefficients_.T + self.intercept_)


def check_features(X: object) -> NDArray:
    """Features as float64 `(M, S, D)`, finite."""
    features = np.asarray(X, dtype=np.float64)
    if features.ndim != 3 or not features.size:
        raise UsageError(f"features of shape {features.shape}: they are (videos, streams, width), none of them 0")
    if not np.isfinite(features).all():
        raise UsageError(f"features: NaN or infinite in {int((~np.isfinite(features)).any(axis=(1, 2)).sum())} videos")
    return features


RULE = EarlySvm
