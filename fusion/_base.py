"""What every rule is, a scikit-learn classifier over the streams of videos, and the rules by name.

Note [a classifier without scikit-learn]: importing scikit-learn takes longer than fusing by most rules. What its own
base classes would give (parameters, score, tags) stands here, and scikit-learn is imported where it is used: by who
puts a rule into its searches and pipelines, and by the rules that fit its machines.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, check_fields, check_known, item_names, load_item, options_of, read_options, softmax

from ._given import check_learnable, columns_of, numbered, stacked
from ._probabilities import check_scores, floors_of, kinds_of, log_probabilities, probabilities

Kind = str | Sequence[str]  # "auto", "logits" or "probabilities", for all streams or one a stream


class Rule:
    """Base of all rules: arguments stored in `__init__`, `fit` validates and returns self, learnt names end in `_`.

    Each has a `fit(X, y, groups=None)` that learns from `X (M, S, …)`, one row a video and stream, and labels `y (M,)`,
    and a `decision_function(X)` that gives fused scores `(M, K)`, the larger the better.

    Attributes:
        classes_: (K,) the classes: numbers int64, or names where the labels are names.
    """

    trained: ClassVar[bool] = True
    """Whether the rule learns from scores, and so needs scores of videos that their head was not trained on."""
    combines: str = "log-probabilities"
    """What `decision_function` gives: "log-probabilities" up to a constant a video, or "probabilities" up to a factor.
    """
    warning: ClassVar[str] = ""
    """What to say loudly whenever the rule is used."""
    _estimator_type = "classifier"  # what scikit-learn before 1.6 reads instead of tags
    classes_: NDArray[Any]

    def fit(self, X: object, y: object, groups: object = None) -> Self:
        """Learn from `X (M, S, …)`, labels `y (M,)` and, where the rule makes folds, `groups (M,)`."""
        raise NotImplementedError

    def decision_function(self, X: object) -> NDArray:
        """Fused scores `(M, K)`, the larger the better."""
        raise NotImplementedError

    def predict_proba(self, X: object) -> NDArray:
        """Fused probabilities `(M, K)`, in the order of `decision_function`."""
        return self.as_probabilities(self.decision_function(X))

    def as_probabilities(self, fused: NDArray) -> NDArray:
        """Probabilities `(M, K)` of what `decision_function` gave `(M, K)`."""
        if self.combines == "log-probabilities":
            return softmax(fused)
        total = fused.sum(axis=1, keepdims=True)
        # Per-class weights can take from each class the stream that gives it nothing: then nothing is known.
        return np.where(total > 0, fused / np.where(total > 0, total, 1), 1 / fused.shape[1])

    def predict(self, X: object) -> NDArray:
        """Classes `(M,)`, as `classes_` has them; a tie goes to the one that comes first there."""
        best = np.argmax(self.decision_function(X), axis=1)
        return self.classes_[best]

    @classmethod
    def options_of_before(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Options that an earlier avr wrote beside a fitted rule, without those that are no more."""
        return options

    def class_weights(self) -> NDArray | None:
        """Per-class stream weights `(K, S)` of a fitted rule that has them, each row summing to one, else None."""
        return None

    def notes(self) -> list[str]:
        """What the rule has to say about its fit, a line each."""
        return []

    def score(self, X: object, y: object, sample_weight: object = None) -> float:
        """Share of the videos that are right, each counted by its weight `(M,)`."""
        return float(np.average(self.predict(X) == np.asarray(y), weights=sample_weight))  # type: ignore[call-overload]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The rule's options by name; `deep` is there for scikit-learn alone, since no option is an estimator."""
        return {name: getattr(self, name) for name in options_of(type(self))}

    def set_params(self, **options: Any) -> Self:
        """Set options by name; their values are checked in `fit`.

        Raises:
            UsageError: no such option; the known ones are listed.
        """
        for name, value in options.items():
            check_known(f"option of {type(self).__name__}", name, options_of(type(self)))
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=False, three_d_array=True),
        )

    def set_fit_request(self, *, groups: bool | str | None) -> Self:
        """Whether scikit-learn's metadata routing hands `groups` on to `fit`, or by which other name."""
        return self._request("fit", "groups", groups)

    def set_score_request(self, *, sample_weight: bool | str | None) -> Self:
        """Whether scikit-learn's metadata routing hands `sample_weight` on to `score`, or by which other name."""
        return self._request("score", "sample_weight", sample_weight)

    def get_metadata_routing(self) -> Any:
        """What scikit-learn's metadata routing hands on to `fit` and `score`; until it is set, nothing."""
        from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object

        if hasattr(self, "_metadata_request"):  # the name by which scikit-learn's `clone` copies it
            return get_routing_for_object(self._metadata_request)
        routing = MetadataRequest(owner=type(self).__name__)
        routing.fit.add_request(param="groups", alias=None)
        routing.score.add_request(param="sample_weight", alias=None)
        return routing

    def _request(self, method: str, name: str, alias: bool | str | None) -> Self:
        routing = self.get_metadata_routing()
        getattr(routing, method).add_request(param=name, alias=alias)
        self._metadata_request = routing
        return self

    def _check_fitted(self) -> None:
        if not hasattr(self, "classes_"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call `fit` first")


class Fuser(Rule):
    """Base of the rules over scores `(M, S, K)`, which implement `_learn` (if they learn) and `_combine`.

    Scores are one array `(M, S, K)`, or a list of S arrays or pandas frames `(M, K)`, one a stream. Labels are class
    numbers 0 … K-1; or what the frames' columns are called; or names, the columns of the arrays being the sorted names.
    Classes without a training video are allowed, but where names alone tell the columns. A rule that is not `trained`
    looks in `fit` at shapes and kinds alone.

    Args:
        kind: what the scores are, "auto", "logits" or "probabilities", for all streams or one a stream.

    Attributes:
        kinds_: "logits" or "probabilities" a stream, as taken in `fit`; `predict` reads its scores the same way.
        floors_: (S,) float64, what stands for a probability of zero.
    """

    def __init__(self, *, kind: Kind = "auto") -> None:
        self.kind = kind

    def fit(self, X: object, y: object, groups: object = None) -> Self:
        """Learn from scores `X (M, S, K)` (or a list of S), labels `y (M,)` and, for the inner folds, `groups (M,)`.

        `groups` are what must not be split between folds (source film, person); None: each video is its own group.

        Raises:
            UsageError: an option's value that it does not take, shapes that do not fit, labels out of range, NaN or
                infinite scores, one class or one video.
        """
        check_fields(self)
        scores = check_scores(stacked(X))
        classes, labels = numbered(y, len(scores), scores.shape[2], columns_of(X))
        names = np.arange(len(scores)) if groups is None else np.asarray(groups)
        if names.shape != labels.shape:
            raise UsageError(f"groups of shape {names.shape} for {len(scores)} videos")
        if self.trained:
            check_learnable(labels, classes)
        self.classes_ = classes
        self.kinds_ = kinds_of(scores, self.kind)
        self.floors_ = floors_of(scores, self.kinds_)
        self._learn(scores, labels, np.unique(names, return_inverse=True)[1])
        return self

    def decision_function(self, X: object) -> NDArray:
        """Fused scores `(M, K)`, the larger the better; log-probabilities up to a constant a video for most rules."""
        self._check_fitted()
        scores, columns = check_scores(stacked(X)), columns_of(X)
        _, S, K = scores.shape
        if (len(self.kinds_), len(self.classes_)) != (S, K):
            raise UsageError(
                f"scores of {S} streams and {K} classes for a fuser fitted on {len(self.kinds_)} streams and "
                f"{len(self.classes_)} classes"
            )
        if columns is not None and columns.tolist() != self.classes_.tolist():
            raise UsageError("the frames' columns are not the classes that the fuser was fitted on, in their order")
        return self._combine(scores)

    def predict_proba(self, X: object) -> Any:
        """Fused probabilities `(M, K)`; a frame, with the classes as columns, where X holds frames."""
        fused = super().predict_proba(X)
        if columns_of(X) is None:
            return fused
        first: Any = X[0]  # type: ignore[index]
        return type(first)(fused, index=first.index, columns=self.classes_)

    @classmethod
    def options_for(cls, streams: Sequence[str], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The options `given`, completed by what follows from the streams' names."""
        return dict(given or {})

    def _learn(self, X: NDArray, y: NDArray, groups: NDArray) -> None:
        """Set the learnt attributes from valid scores, labels and groups."""

    def _combine(self, X: NDArray) -> NDArray:
        """Fused scores `(M, K)` of valid scores `(M, S, K)`."""
        raise NotImplementedError

    def _probabilities(self, X: NDArray) -> NDArray:
        return probabilities(X, self.kinds_)

    def _log_probabilities(self, X: NDArray) -> NDArray:
        return log_probabilities(X, self.kinds_, self.floors_)


def rule_names() -> list[str]:
    """Names of the rules over scores, sorted. (The files of this folder that do not start with `_` are all rules.)"""
    return [name for name in item_names("avr.fusion") if issubclass(load_rule(name), Fuser)]


def rule_class(name: str) -> type[Fuser]:
    """The estimator class of a rule over scores.

    Raises:
        UsageError: no such rule; the known ones are listed. A rule that reads features.
    """
    rule = load_rule(name)
    if not issubclass(rule, Fuser):
        raise UsageError(
            f"{name} reads features, not scores: run `avr fuse {name} --store STORE`, or `avr.fusion.fuse_features`"
        )
    return rule


def make_fuser(name: str, **options: Any) -> Rule:
    """An unfitted rule, such as `make_fuser("weighted", weights=[1, 2])`: over scores, or `early-svm`, over features.

    Args:
        name: of the rule.
        options: of the rule, as values or as texts from a command line.

    Raises:
        UsageError: no such rule, option or value; the known ones are listed.
    """
    rule = load_rule(name)
    return rule(**read_options(options_of(rule), options, kind=f"option of rule {name}"))


def load_rule(name: str) -> type[Rule]:
    """The class of a rule, over scores or features.

    Raises:
        UsageError: no such rule; the known ones are listed.
    """
    rule: type[Rule] = load_item("avr.fusion", name, "rule").RULE
    return rule
