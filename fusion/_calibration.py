"""How far probabilities can be believed: a temperature by likelihood, reliability, expected calibration error."""

import numpy as np
from numpy.typing import NDArray

from avr.core import log_softmax

# A stream that is right on every video would take an infinite inverse temperature; one that is worse than chance a
# negative one. Between these two, scores keep their order and stay finite.
INVERSE_TEMPERATURES = (1e-3, 1e3)
MAX_STEPS = 100


def tempered(log_probabilities: NDArray, temperature: NDArray | float) -> NDArray:
    """Log-probabilities `(…, K)` at a temperature, normalised again and of the same type."""
    scaled = log_probabilities / temperature
    return log_softmax(scaled, out=scaled)


def fit_temperature(log_probabilities: NDArray, labels: NDArray) -> float:
    """The temperature T > 0 for which softmax(log_probabilities / T) makes the labels likeliest (Guo et al. 2017).

    The mean log-loss is convex in β = 1/T; its root is found by Newton steps kept inside a shrinking bracket.

    Args:
        log_probabilities: (M, K); logits serve as well.
        labels: (M,) class numbers.

    Returns:
        T, between 0.001 and 1000. Where the likelihood has no maximum (every video right, or worse than chance) it goes
        towards an end, as far as float64 sees the loss change.
    """
    low, high = INVERSE_TEMPERATURES
    beta = 1.0
    true = log_probabilities[np.arange(len(labels)), labels].astype(np.float64)
    shifted = log_probabilities - log_probabilities.max(axis=1, keepdims=True)
    mean_true = float(np.mean(true - log_probabilities.max(axis=1)))
    for _ in range(MAX_STEPS):
        slope, curvature = _slope(shifted, mean_true, beta)
        if slope < 0:
            low = beta
        else:
            high = beta
        step = beta - slope / curvature if curvature > 0 else -1.0
        following = step if low < step < high else float(np.sqrt(low * high))
        if abs(following - beta) <= 1e-10 * beta or high - low <= 1e-12 * high:
            break
        beta = following
    return 1 / beta


def _slope(shifted: NDArray, mean_true: float, beta: float) -> tuple[float, float]:
    """First and second derivative in β of the mean log-loss; `shifted (M, K)` has row maxima of zero."""
    weights = np.exp(beta * shifted)
    weights /= weights.sum(axis=1, keepdims=True)
    mean = np.einsum("mk,mk->m", weights, shifted)
    square = np.einsum("mk,mk,mk->m", weights, shifted, shifted)
    return float(mean.mean() - mean_true), float((square - mean**2).mean())


def log_loss(log_probabilities: NDArray, labels: NDArray) -> float:
    """Mean negative log-probability of the true class, natural logarithm; `(M, K)` normalised, labels `(M,)`."""
    return float(-np.mean(log_probabilities[np.arange(len(labels)), labels])) if len(labels) else float("nan")


def reliability_table(probabilities: NDArray, labels: NDArray, *, bins: int = 15) -> list[dict[str, float]]:
    """Confidence against accuracy in bins of equal width (Guo et al. 2017, section 2), empty ones left out.

    Args:
        probabilities: (M, K).
        labels: (M,) class numbers.
        bins: how many; bin b holds confidences in (b/bins, (b+1)/bins].

    Returns:
        one dict a bin: low, high, videos, confidence (mean of the largest probability), accuracy.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return [
        {
            "low": b / bins,
            "high": (b + 1) / bins,
            "videos": int((place == b).sum()),
            "confidence": float(confidence[place == b].mean()),
            "accuracy": float(right[place == b].mean()),
        }
        for b in range(bins)
        if (place == b).any()
    ]


def expected_calibration_error(probabilities: NDArray, labels: NDArray, *, bins: int = 15) -> float:
    """Mean distance of accuracy from confidence over the reliability bins, each weighted by its videos."""
    table = reliability_table(probabilities, labels, bins=bins)
    return sum(row["videos"] * abs(row["accuracy"] - row["confidence"]) for row in table) / max(len(labels), 1)
