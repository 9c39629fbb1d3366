"""The linear program of STILT (Liu et al. 2022, eq. 4-9), as printed."""

import numpy as np
from numpy.typing import NDArray


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
    """Weights `(K, S)` that maximise `Σ gains · w` over w ≥ 0, Σ_s w_y,s = 1 (eq. 5).

    The optimum is a vertex: each class takes the stream of the largest gain; of streams that tie, the first.
    """
    weights: NDArray = np.eye(gains.shape[1])[gains.argmax(axis=1)]
    return weights
