"""Mean of the streams with fixed weights: TSN's 1 : 1.5 for rgb and flow, or those given."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from avr.core import About, UsageError, check_known

from ._base import Fuser, Kind

TSN = {"rgb": 1.0, "flow": 1.5}  # Wang et al. 2016, section 5.2


class Weighted(Fuser):
    """Mean of the streams' log-probabilities (or probabilities) with given weights.

    Weighted sums of logits, as published two-stream results add them, order the classes of each video as the same sums
    of log-probabilities do: a stream's two differ by one number a video.

    Args:
        weights: one a stream, in the streams' order, not negative; `avr fuse` takes them by the streams' names, too.
            None: TSN's 1 for rgb and 1.5 for flow (Wang et al. 2016, section 5.2), which needs two streams in that
            order (`avr fuse` goes by the streams' names).
        space: what is averaged.
    """

    trained = False

    def __init__(
        self,
        *,
        weights: Annotated[
            Mapping[str, float] | Sequence[float] | None,
            About("One a stream, such as rgb=1,flow=1.5, or in the streams' order.  [default: rgb=1,flow=1.5]", "LIST"),
        ] = None,
        space: Annotated[
            Literal["log-probabilities", "probabilities"],
            About("What is averaged; log-probabilities order classes as sums of logits do."),
        ] = "log-probabilities",
        kind: Kind = "auto",
    ) -> None:
        super().__init__(kind=kind)
        self.weights = weights
        self.space = space

    @property
    def combines(self) -> str:  # type: ignore[override]
        return self.space

    def _learn(self, X: NDArray, y: NDArray, groups: NDArray) -> None:
        S = X.shape[1]
        if isinstance(self.weights, Mapping):
            raise UsageError("weighted: arrays have no streams' names: give the weights in the streams' order")
        if self.weights is None and S != 2:
            raise UsageError(f"weighted: {S} streams need {S} weights (1 : 1.5 is for rgb and flow)")
        given = np.array(list(TSN.values()) if self.weights is None else self.weights, dtype=np.float64)
        if given.shape != (S,):
            raise UsageError(f"weighted: {given.size} weights for {S} streams")
        if not np.isfinite(given).all() or given.min() < 0 or given.sum() <= 0:
            raise UsageError(f"weighted: weights {given.tolist()} must be finite, not negative and not all zero")
        self.weights_ = given / given.sum()

    @classmethod
    def options_for(cls, streams: Sequence[str], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Weights in the streams' order, of those given by name, or TSN's where all streams are rgb or flow.

        A weight of "flow" is that of every head's stream flow.
        """
        options = dict(given or {})
        told = options.get("weights")
        if told is not None and not isinstance(told, Mapping):
            return options
        known = {name: (name, name.rpartition("/")[2]) for name in streams}
        weights = TSN if told is None else told
        for name in told or ():
            check_known("stream", name, dict.fromkeys(one for names in known.values() for one in names))
        lacking = [name for name, names in known.items() if not any(one in weights for one in names)]
        if lacking or (told is None and {short for _, short in known.values()} != set(TSN)):
            hint = ",".join(f"{name}=1" for name in streams)
            why = "1 : 1.5 is for streams rgb and flow" if told is None else f"no weight of {', '.join(lacking)}"
            raise UsageError(f"weighted: {why}: give each stream's, such as --weights {hint}")
        return {
            **options,
            "weights": [next(weights[one] for one in names if one in weights) for names in known.values()],
        }

    def class_weights(self) -> NDArray:
        """The weights, the same for each class: `(K, S)`."""
        return np.tile(self.weights_, (len(self.classes_), 1))

    def _combine(self, X: NDArray) -> NDArray:
        given = self._log_probabilities(X) if self.space == "log-probabilities" else self._probabilities(X)
        return np.einsum("msk,s->mk", given, self.weights_)


RULE = Weighted
