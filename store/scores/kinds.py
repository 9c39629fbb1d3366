"""What scores are, by the numbers' own evidence: probabilities, in percent or summed, or logits of some scale."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, softmax

from .file import Kind

CLOSE = 1e-3  # of a sum: float16 files of many classes
MOST_DIGITS = 6
FEW = 5  # videos whose sums may be alike, or whole numbers, by chance
# How sure the softmax of sums over frames is, at least; that of distances to planes no more than so often chance.
SURE, FLAT = 0.9, 3.0


Said = Literal["auto", "logits", "probabilities"]


@dataclass(frozen=True)
class Told:
    """Scores as avr keeps them, what they are, and why."""

    values: NDArray[np.float64]
    kind: Kind
    words: str
    warning: str = ""


def tell_kind(
    values: NDArray[np.float64],
    kind: Literal["auto", "logits", "probabilities"],
    where: str,
    right: float | None = None,
) -> Told:
    """What scores `(M, K)` are.

    Rows that are not negative and share one sum c, as closely as the file's own digits can tell, are probabilities
    times c; whole sums that differ are of probabilities over frames. Everything else is taken as logits, whose softmax
    is the probability: log-probabilities are such exactly.

    Args:
        values: (M, K), finite.
        kind: what the user says; "probabilities" divides each row by its sum.
        where: the file, for messages.
        right: share of labelled videos whose largest score is right, or None.

    Raises:
        UsageError: negative numbers that are said to be probabilities, or a row of zeros.
    """
    if kind == "logits":
        return Told(values, kind, "logits, as --kind says")
    if -1e-6 * values.max() < values.min() < 0:  # what sums of float32 leave of a zero
        values = np.maximum(values, 0)
    sums = values.sum(axis=1)
    if kind == "probabilities":
        if values.min() < 0:
            raise UsageError(f"{where}: --kind probabilities, but a score is {values.min():.4g}")
        return Told(_divided(values, sums, where), kind, "probabilities, as --kind says")
    if values.min() >= 0 and sums.min() > 0:
        middle = float(np.median(sums))
        scale = next((c for c in (1.0, 100.0) if abs(middle - c) <= _slack(values, c)), middle)
        off = float(np.abs(sums - scale).max())
        # A few rows may share a sum by chance, of whole numbers more of them.
        whole = bool(np.abs(values - np.round(values)).max() < CLOSE)
        enough = 8 if whole else FEW
        summed = np.abs(sums - np.round(sums)).max() < CLOSE and sums.min() >= 1 and not whole
        if scale not in (1, 100) and not whole and 1 < len(values) < FEW and (off <= CLOSE * scale or summed):
            raise UsageError(
                f"{where}: rows sum to {sums.min():.5g} … {sums.max():.5g}: {len(values)} videos are too few to tell "
                "sums of probabilities from logits: say --kind logits or --kind probabilities"
            )
        if off <= CLOSE * scale and (len(values) >= enough or scale in (1, 100)):
            return Told(values / scale if scale != 1 else values, "probabilities", _scaled(scale))
        if off <= _slack(values, scale) and scale in (1, 100):
            words = f"{_scaled(scale)[:-1]}, within what its digits tell), each row divided by its own sum"
            return Told(_divided(values, sums, where), "probabilities", words)
        if summed and len(values) >= FEW:
            words = f"sums of probabilities (rows sum to whole numbers, {sums.min():.0f} … {sums.max():.0f})"
            return Told(_divided(values, sums, where), "probabilities", words)
    return _logits(values, sums, right)


def share_a_sum(values: NDArray) -> bool:
    """Whether vectors along the last axis share one sum and are not negative, or are logarithms of such."""
    if float(values.min()) > -1e9 and float(values.max()) <= CLOSE:
        values = np.exp(values)
    sums = np.asarray(values, dtype=np.float64).sum(axis=-1)
    middle = float(np.median(sums))
    return bool(sums.size > 1 and values.min() >= 0 and middle > 0 and np.abs(sums - middle).max() <= CLOSE * middle)


def _scaled(scale: float) -> str:
    if scale == 1:
        return "probabilities (rows sum to 1)"
    return f"probabilities × {scale:.5g} (rows sum to {scale:.5g})"


def _slack(values: NDArray[np.float64], scale: float) -> float:
    """How far a row's sum may be off by rounding: half a digit a class, and no more than a quarter of it."""
    flat = values[: max(1, 100_000 // values.shape[1])]
    for digits in range(MOST_DIGITS):
        if np.abs(flat - np.round(flat, digits)).max() <= 1e-7 * scale:
            return float(min(1.01 * values.shape[1] / 2 * 10.0**-digits, scale / 4))
    return CLOSE * scale


def _divided(values: NDArray[np.float64], sums: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    empty = np.flatnonzero(sums <= 0)
    if len(empty):
        raise UsageError(f"{where}: the scores of {len(empty)} videos are all 0, which are no probabilities")
    return values / sums[:, None]


def _logits(values: NDArray[np.float64], sums: NDArray[np.float64], right: float | None) -> Told:
    classes = values.shape[1]
    largest = values.max(axis=1, keepdims=True)
    logs = largest[:, 0] + np.log(np.exp(values - largest).sum(axis=1))
    if values.max() <= CLOSE and np.abs(logs).max() < 1e-2:
        return Told(values, "logits", "log-probabilities (their exponentials sum to 1)")
    if values.min() >= 0 and sums.min() > 0 and (sums.max() <= 1.1 * sums.min() or values.max() <= 1):
        near = f"rows sum to {sums.min():.4g} … {sums.max():.4g}"
        warning = f"{near}: nearly probabilities, taken as logits; --kind probabilities divides each row by its sum"
        return Told(values, "logits", f"logits ({near})", warning)
    sure = float(softmax(values).max(axis=1).mean())
    why = "rows have no common sum" if values.min() >= 0 else f"from {values.min():.3g} to {values.max():.3g}"
    told = "" if right is None else f", while {100 * right:.1f} % are right"
    mended = "a rule that learns a temperature evens that out"
    if classes > 2 and sure > SURE and (sure > 0.99 if right is None else right < sure - 0.1):
        why += f"; their softmax is {sure:.3f} sure{told}, as of sums over frames: {mended}"
    elif classes > 2 and sure < FLAT / classes and (sure < 1.5 / classes if right is None else right > 2 * sure):
        why += f"; their softmax is {sure:.3f} sure{told}, as of distances to planes (SVM): {mended}"
    return Told(values, "logits", f"logits ({why})")
