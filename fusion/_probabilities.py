"""From what a file holds (logits or probabilities, told apart a stream) to log-probabilities; a temperature."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, check_known, log_softmax, softmax

# Probabilities written with four decimals still sum to one within this, whatever K in use.
SUM_TOLERANCE = 5e-3
# Note [float32 above 64 million scores]: (240 000, 2, 400) in float64 is 1.5 GB a copy; the rounding of float32
# (1e-6 on a log-probability of -10) is far below what any rule can tell apart, so big problems keep it.
BIG = 2**26
# A stream that is right on every video would take an infinite inverse temperature; one that is worse than chance a
# negative one. Between these two, scores keep their order and stay finite.
INVERSE_TEMPERATURES = (1e-3, 1e3)
MAX_STEPS = 100
LAPSES = (1e-4, 0.95)  # fewer than that of the videos, no set of scores can tell


def check_scores(X: object) -> NDArray:
    """Scores as a float array `(M, S, K)`; refused where there is nothing to fuse, or NaN or infinity (with where)."""
    scores = np.asarray(X)
    if scores.ndim != 3:
        raise UsageError(f"X has shape {scores.shape}: scores are (videos, streams, classes)")
    M, S, K = scores.shape
    if M == 0 or S == 0:
        raise UsageError(f"X holds {M} videos and {S} streams: there is nothing to fuse")
    if K < 2:
        raise UsageError(f"X holds scores of {K} class: there is nothing to tell apart")
    if scores.dtype.kind not in "fiu":
        raise UsageError(f"X holds {scores.dtype} values: scores are numbers")
    if not np.isfinite(scores).all():
        video, stream, label = np.argwhere(~np.isfinite(scores))[0]
        count = int((~np.isfinite(scores)).any(axis=(1, 2)).sum())
        raise UsageError(
            f"X holds NaN or infinite scores in {count} of {M} videos, first video {video}, stream {stream}, "
            f"class {label}: write those scores again or leave the videos out"
        )
    dtype = np.float32 if scores.dtype == np.float32 and scores.size > BIG else np.float64
    return scores.astype(dtype, copy=False)


def kinds_of(X: NDArray, kind: str | Sequence[str]) -> list[str]:
    """ "logits" or "probabilities" for each stream of `X (M, S, K)`; `kind` "auto" tells them apart by looking.

    Raises:
        UsageError: an unknown kind, a wrong number of them, or negative scores that are said to be probabilities.
    """
    S = X.shape[1]
    kinds = [kind] * S if isinstance(kind, str) else list(kind)
    if len(kinds) != S:
        raise UsageError(f"{len(kinds)} kinds for {S} streams: give one, or one a stream")
    for stream, name in enumerate(kinds):
        check_known("kind of scores", name, ("auto", "logits", "probabilities"))
        negative = X[:, stream].min() < 0
        if name == "auto":
            off = np.abs(X[:, stream].sum(axis=-1) - 1).max()
            kinds[stream] = "logits" if negative or off > SUM_TOLERANCE else "probabilities"
        elif name == "probabilities" and negative:
            raise UsageError(f"stream {stream} is said to hold probabilities, but has negative scores: logits?")
    return kinds


def floors_of(X: NDArray, kinds: Sequence[str]) -> NDArray:
    """What stands for a probability of zero, one a stream `(S,)`.

    A file rounded to four decimals holds zeros that only mean "under 0.00005"; taken as they are, one of them would
    veto its class in every product. Half of the smallest positive probability seen stands for them, and never more
    than a thousandth of a uniform guess. Streams of logits need none (0).
    """
    floors = np.zeros(X.shape[1])
    for stream, kind in enumerate(kinds):
        if kind == "probabilities":
            positive = X[:, stream][X[:, stream] > 0]
            smallest = float(positive.min()) / 2 if positive.size else 1.0
            floors[stream] = min(max(smallest, float(np.finfo(np.float32).tiny)), 1e-3 / X.shape[2])
    return floors


def log_probabilities(X: NDArray, kinds: Sequence[str], floors: NDArray) -> NDArray:
    """Log-probabilities `(M, S, K)` of scores `(M, S, K)`, each row of each stream normalised."""
    result = np.array(X, copy=True)
    for stream, kind in enumerate(kinds):
        row = result[:, stream]
        if kind == "probabilities":
            np.log(np.maximum(row, floors[stream]), out=row)
        log_softmax(row, out=row)
    return result


def probabilities(X: NDArray, kinds: Sequence[str]) -> NDArray:
    """Probabilities `(M, S, K)`: those given as they are, logits through softmax."""
    result = np.array(X, copy=True)
    for stream, kind in enumerate(kinds):
        if kind == "logits":
            softmax(result[:, stream], out=result[:, stream])
    return result


def tempered(log_probabilities: NDArray, temperature: NDArray | float) -> NDArray:
    """Log-probabilities `(…, K)` at a temperature, normalised again and of the same type."""
    scaled = log_probabilities / temperature
    return log_softmax(scaled, out=scaled)


def fit_temperature(log_probabilities: NDArray, labels: NDArray, *, near: float = 1.0) -> float:
    """The temperature T > 0 for which softmax(log_probabilities / T) makes the labels likeliest (Guo et al. 2017).

    The mean log-loss is convex in β = 1/T; its root is found by Newton steps kept inside a shrinking bracket.

    Args:
        log_probabilities: (M, K); logits serve as well.
        labels: (M,) class numbers.
        near: where to begin; nothing but time depends on it.

    Returns:
        T, between 0.001 and 1000. Where the likelihood has no maximum (every video right, or worse than chance) it goes
        towards an end, as far as float64 sees the loss change.
    """
    low, high = INVERSE_TEMPERATURES
    true = log_probabilities[np.arange(len(labels)), labels].astype(np.float64)
    shifted = log_probabilities - log_probabilities.max(axis=1, keepdims=True)
    mean_true = float(np.mean(true - log_probabilities.max(axis=1)))
    beta = 1 / near if mean_true < 0 else 1.0  # where all are right, how far it goes is a matter of the start
    for _ in range(MAX_STEPS):
        slope, curvature = _slope(shifted, mean_true, beta)
        if slope < 0:
            low = beta
        else:
            high = beta
        step = beta - slope / curvature if curvature > 0 else -1.0
        newton = low < step < high
        following = step if newton else float(np.sqrt(low * high))
        # Newton's steps square the error: after one of a millionth, what is left is below float64's own.
        done = abs(following - beta) <= (1e-6 if newton else 1e-10) * beta or high - low <= 1e-12 * high
        beta = following
        if done:
            break
    return 1 / beta


def _slope(shifted: NDArray, mean_true: float, beta: float) -> tuple[float, float]:
    """First and second derivative in β of the mean log-loss; `shifted (M, K)` has row maxima of zero."""
    weights = beta * shifted
    np.exp(weights, out=weights)
    total = weights.sum(axis=1)
    weights *= shifted
    mean = weights.sum(axis=1) / total
    square = np.einsum("mk,mk->m", weights, shifted) / total
    return float(mean.mean() - mean_true), float((square - mean**2).mean())


def temperatures_of(log_probabilities: NDArray, labels: NDArray) -> NDArray:
    """A temperature a stream `(S,)`, by likelihood."""
    return np.array([fit_temperature(log_probabilities[:, s], labels) for s in range(log_probabilities.shape[1])])


def calibrate(log_probabilities: NDArray, temperatures: NDArray) -> NDArray:
    """Log-probabilities `(n, S, K)` at a temperature a stream, `(S,)`, normalised again."""
    return tempered(log_probabilities, temperatures[:, None].astype(log_probabilities.dtype))


def fit_lapses(log_probabilities: NDArray, labels: NDArray) -> tuple[NDArray, NDArray]:
    """Temperature and lapse rate of each stream, by likelihood.

    A stream that is trusted at its temperature T on a share 1 - ε of the videos, and on the rest says nothing, has the
    probabilities `(1 - ε) softmax(f/T) + ε/K`. ε is the lapse rate of psychometric functions (Wichmann & Hill 2001):
    with a temperature alone, a few videos on which a saturated stream is sure and wrong cost so much that it is
    calibrated, and weighted, as if it knew little everywhere.

    Args:
        log_probabilities: (M, S, K).
        labels: (M,) class numbers.

    Returns:
        T (S,) between 0.001 and 1000, and ε (S,) between 0.0001 and 0.95.
    """
    each = [_fit_lapse(log_probabilities[:, s], labels) for s in range(log_probabilities.shape[1])]
    temperatures, lapses = np.array(each).T
    return temperatures, lapses


def _fit_lapse(log_probabilities: NDArray, labels: NDArray) -> tuple[float, float]:
    from scipy.optimize import minimize

    videos, K = np.arange(len(labels)), log_probabilities.shape[1]
    # Videos last: sums over classes then run along whole rows.
    shifted = np.ascontiguousarray((log_probabilities - log_probabilities.max(axis=1, keepdims=True)).T)
    true = shifted[labels, videos].astype(np.float64)

    def loss(unknowns: NDArray) -> tuple[float, NDArray]:
        """The mean log-loss at (ln 1/T, ln ε/(1-ε)), and its gradient."""
        beta, lapse = float(np.exp(unknowns[0])), float(1 / (1 + np.exp(-unknowns[1])))
        weights = shifted * beta
        np.exp(weights, out=weights)
        total = weights.sum(axis=0)
        sharp = weights[labels, videos] / total
        mixed = (1 - lapse) * sharp + lapse / K
        slope = beta * (true - np.einsum("km,km->m", weights, shifted) / total)
        by_beta = -float(np.mean((1 - lapse) * sharp / mixed * slope))
        by_lapse = lapse * (1 - lapse) * float(np.mean((sharp - 1 / K) / mixed))
        return -float(np.log(mixed).mean()), np.array([by_beta, by_lapse])

    # Sharper than without lapses: from there on, a lapse rate is found where there is one.
    start = np.clip(np.log(2 / fit_temperature(log_probabilities, labels)), *np.log(INVERSE_TEMPERATURES))
    ends = [tuple(np.log(INVERSE_TEMPERATURES)), tuple(_logit(np.array(LAPSES)))]
    found = minimize(loss, [start, _logit(0.05)], jac=True, method="L-BFGS-B", bounds=ends)
    return float(np.exp(-found.x[0])), float(1 / (1 + np.exp(-found.x[1])))


def _logit(share: Any) -> Any:
    return np.log(share) - np.log1p(-share)


def with_lapses(log_probabilities: NDArray, temperatures: NDArray, lapses: NDArray) -> NDArray:
    """Log-probabilities `(M, S, K)` at temperatures and lapse rates, each `(S,)`."""
    result = calibrate(log_probabilities, temperatures)
    np.exp(result, out=result)
    result *= (1 - lapses)[:, None].astype(result.dtype)
    result += (lapses / result.shape[2])[:, None].astype(result.dtype)
    return np.log(result, out=result)


def log_loss(log_probabilities: NDArray, labels: NDArray) -> float:
    """Mean negative log-probability of the true class, natural logarithm; `(M, K)` normalised, labels `(M,)`."""
    return float(-np.mean(log_probabilities[np.arange(len(labels)), labels])) if len(labels) else float("nan")
