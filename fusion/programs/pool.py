"""Log-linear pools by likelihood: exponents shared by all classes, and each class's own about them.

With f (n, S, K) calibrated log-probabilities, the pool of `log-linear-pool` is p(k) ∝ exp(Σ_s a_s f_s(k)). Its
refinement gives each class exponents and a bias of its own,

    p(k) ∝ exp(b_k + Σ_s e_k,s (f_s(k) - mean_j f_s(j))),

by penalised likelihood, with λ = `strength`:

    min  -Σ_i log p_i(y_i) + λ/2 Σ_k (b_k² + 30 Σ_s σ_s² (e_k,s - a_s)²)    σ_s² = mean of (f_s(k) - mean_j f_s(j))².

It is convex. The mean over the classes that is taken off changes nothing in the shared pool; about it, an exponent says
how much a stream's vote for the class counts, and not how probable the class is anyway, which is the bias's part.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avr.core import log_softmax
from avr.fusion._probabilities import log_loss

# Videos that are all told apart would take endless weights.
LARGEST_EXPONENT = 100.0
# A class's bias is worth more than its exponents on every set tried: they are held the more firmly.
EXPONENTS_TO_BIAS = 30.0
BLOCK = 512  # videos at a time, so that they stay in the processor's cache
PRECISION = 1e-5  # of the mean log-loss


def pool_loss(exponents: NDArray, log_probabilities: NDArray, labels: NDArray) -> tuple[float, NDArray]:
    """Mean log-loss of the pool with exponents `(S,)` on `(M, S, K)` log-probabilities, and its gradient `(S,)`."""
    pooled = np.einsum("msk,s->mk", log_probabilities, exponents)
    fused = log_softmax(pooled, out=pooled)
    expected = np.einsum("msk,mk->s", log_probabilities, np.exp(fused)) / len(labels)
    observed = np.take_along_axis(log_probabilities, labels[:, None, None], axis=2)[:, :, 0].mean(axis=0)
    return log_loss(fused, labels), expected - observed


def shared_exponents(log_probabilities: NDArray, labels: NDArray) -> NDArray:
    """The pool's likeliest exponents `(S,)`, between 0 and 100, of log-probabilities `(M, S, K)` and labels `(M,)`."""
    from scipy.optimize import minimize

    S = log_probabilities.shape[1]
    found = minimize(
        pool_loss,
        np.full(S, 1 / S),
        args=(log_probabilities, labels),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, LARGEST_EXPONENT)] * S,
        options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-8},
    )
    return np.asarray(found.x, dtype=np.float64)


@dataclass(frozen=True)
class ClassPool:
    """A pool whose classes have exponents `(K, S)` and biases `(K,)` of their own."""

    exponents: NDArray
    biases: NDArray

    @classmethod
    def of(cls, shared: NDArray, num_classes: int) -> "ClassPool":
        """The pool with exponents `(S,)` shared by all classes."""
        return cls(np.tile(shared, (num_classes, 1)), np.zeros(num_classes))

    def fused(self, log_probabilities: NDArray) -> NDArray:
        """Fused scores `(M, K)`, log-probabilities up to a constant a video, of calibrated ones `(M, S, K)`."""
        return np.einsum("msk,ks->mk", centred(log_probabilities), self.exponents) + self.biases


def centred(log_probabilities: NDArray) -> NDArray:
    """Log-probabilities `(M, S, K)` without each row's mean."""
    return log_probabilities - log_probabilities.mean(axis=2, keepdims=True)


def class_pools(log_probabilities: NDArray, labels: NDArray, strengths: Iterable[float]) -> Iterator[ClassPool]:
    """The pools of a row of strengths λ, from strong to weak, each sought from the one before; infinite: all shared.

    Args:
        log_probabilities: (n, S, K), calibrated. labels: (n,).
        strengths: λ > 0 of each.
    """
    shared = shared_exponents(log_probabilities, labels)
    program, unknowns = None, None
    for strength in strengths:
        if np.isinf(strength):
            yield ClassPool.of(shared, log_probabilities.shape[2])
        else:
            program = program or PoolProgram(log_probabilities, labels, shared)
            unknowns = program.solve(strength, unknowns)
            yield program.pool(unknowns)


class PoolProgram:
    """The penalised likelihood on one set of scores; unknowns are √30 σ_s e_k,s, `(S, K)`, and behind them b_k."""

    def __init__(self, log_probabilities: NDArray, labels: NDArray, shared: NDArray) -> None:
        scores = centred(log_probabilities)
        self.scale = np.sqrt(EXPONENTS_TO_BIAS * np.mean(np.square(scores), axis=(0, 2), dtype=np.float64))
        self.scale[self.scale == 0] = 1  # a stream that says nothing
        scores /= self.scale[:, None].astype(scores.dtype)
        # Videos last: sums over classes then run along whole rows.
        self.blocks = [
            (np.ascontiguousarray(scores[first : first + BLOCK].transpose(1, 2, 0)), labels[first : first + BLOCK])
            for first in range(0, len(labels), BLOCK)
        ]
        self.centre = np.zeros((len(shared) + 1, scores.shape[2]))
        self.centre[:-1] = (self.scale * shared)[:, None]
        self.size = len(labels)

    def loss(self, unknowns: NDArray, strength: float) -> tuple[float, NDArray]:
        """What is made small, divided by n, and its gradient."""
        table = unknowns.reshape(self.centre.shape)
        total, gradient = 0.0, np.zeros(table.shape)
        for scores, labels in self.blocks:
            narrow = table[:, :, None].astype(scores.dtype)
            fused = scores[0] * narrow[0]
            for stream in range(1, len(scores)):
                fused += scores[stream] * narrow[stream]
            fused += narrow[-1]
            fused -= fused.max(axis=0)
            videos = np.arange(len(labels))
            true = float(fused[labels, videos].sum())
            np.exp(fused, out=fused)
            sums = fused.sum(axis=0)
            total += float(np.log(sums).sum()) - true
            fused /= sums
            fused[labels, videos] -= 1
            gradient[:-1] += np.einsum("skm,km->sk", scores, fused)
            gradient[-1] += fused.sum(axis=1)
        away = table - self.centre
        loss = total + strength / 2 * float(np.square(away).sum())
        return loss / self.size, ((gradient + strength * away) / self.size).ravel()

    def solve(self, strength: float, start: NDArray | None = None) -> NDArray:
        """The unknowns at which the loss is least, sought from `start`; None: from the shared pool."""
        from scipy.optimize import minimize

        start = self.centre.ravel() if start is None else start
        options = {"maxiter": 200, "ftol": PRECISION}
        found = minimize(self.loss, start, args=(strength,), jac=True, method="L-BFGS-B", options=options)
        return np.asarray(found.x, dtype=np.float64)

    def pool(self, unknowns: NDArray) -> ClassPool:
        """The pool of these unknowns."""
        table = unknowns.reshape(self.centre.shape)
        return ClassPool((table[:-1] / self.scale[:, None]).T.copy(), table[-1].copy())
