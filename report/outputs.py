"""What scores hold, as probabilities: streams, the untrained rules over them, a head's or a fusion's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, softmax
from avr.store import AVERAGE, MULTIPLY, Scores


def check_alike(path: Path, found: Sequence[Scores]) -> None:
    """Refuse scores of splits that cannot be taken together (UsageError)."""
    for what, kinds in (
        ("classes", {scores.class_names for scores in found}),
        ("outputs", {(scores.fused, *sorted(scores.streams)) for scores in found}),
    ):
        if len(kinds) > 1:
            raise UsageError(f"{path}: its splits have other {what}: report on them one by one")


def with_untrained(streams: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Probabilities `(M, K)` of streams by name, and of several their average and their product.

    The product is the mean of their log-probabilities. A stream that is called as one of the two stays what it is.
    """
    if len(streams) < 2:
        return dict(streams)
    every = list(streams.values())
    logs = np.log(np.maximum(every, np.finfo(np.float64).tiny))
    both = {AVERAGE: np.mean(every, axis=0), MULTIPLY: softmax(np.mean(logs, axis=0))}
    return {**streams, **{name: values for name, values in both.items() if name not in streams}}


def outputs_of(scores: Scores) -> dict[str, NDArray[np.float64]]:
    """Probabilities `(M, K)` of everything that scores hold, the untrained rules over a head's streams among it."""
    own = {name: probabilities(values, scores.kind) for name, values in scores.streams.items()}
    return with_untrained({name: values for name, values in own.items() if name != scores.fused}) | own


def probabilities(values: NDArray, kind: str) -> NDArray[np.float64]:
    """Of scores `(M, K)` that are "logits" or "probabilities"."""
    return softmax(values) if kind == "logits" else values.astype(np.float64)
