"""The linear program of STILT (Liu et al. 2022, eq. 4-9), as printed."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import eye_array as eye
from scipy.sparse import kron

from avr.core import WorkError


def stilt_gains(probabilities: NDArray, labels: NDArray, balance: float) -> NDArray:
    """What a unit of weight gains: `P_y - λ M_y` is linear in w_y, and these are its coefficients.

    Args:
        probabilities: (M, S, K) softmax scores.
        labels: (M,).
        balance: λ of eq. 5.

    Returns:
        (K, S): the sum over the class's own videos of the stream's score of the class (eq. 6), minus λ times the same
        sum over all other videos (eq. 7).
    """
    _, S, K = probabilities.shape
    own = np.zeros((K, S))
    np.add.at(own, labels, np.take_along_axis(probabilities, labels[:, None, None], axis=2)[:, :, 0])
    total = probabilities.sum(axis=0).T  # (K, S)
    return own - balance * (total - own)


def stilt_weights(gains: NDArray) -> NDArray:
    """Weights `(K, S)` that maximise `Σ gains · w` over w ≥ 0, Σ_s w_y,s = 1, by HiGHS (eq. 5).

    The optimum is a vertex: each class takes the stream of the largest gain. Where streams tie, any mix of them is
    optimal, and the first of them is taken.
    """
    K, S = gains.shape
    scale = np.abs(gains).max(axis=1, keepdims=True)
    scaled = gains / np.where(scale > 0, scale, 1)
    found = linprog(-scaled.ravel(), A_eq=kron(eye(K), np.ones((1, S))), b_eq=np.ones(K), bounds=(0, 1), method="highs")
    if found.status != 0:
        raise WorkError(f"awf: HiGHS found no solution of STILT's program ({found.message})")
    weights = found.x.reshape(K, S)
    best = scaled == scaled.max(axis=1, keepdims=True)
    first = np.eye(S)[best.argmax(axis=1)]
    return np.where((weights * best).sum(axis=1, keepdims=True) > 1 - 1e-6, first, weights)
