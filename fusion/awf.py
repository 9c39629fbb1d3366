"""Adaptive weighted fusion: per-class stream weights from a linear program."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ._base import Fuser
from ._calibration import fit_temperature
from ._margin import MarginProgram
from ._probabilities import normalise
from ._stilt import stilt_gains, stilt_weights


class Awf(Fuser):
    """Adaptive weighted fusion (STILT, Liu et al. 2022, section 3.3).

    Args:
        objective: "margin", the soft-margin program of SYSTEMS on calibrated log-probabilities, or "stilt", the paper's
            program on softmax scores.
        nu: ν of the margin program; "auto" chooses it by grouped inner folds.
        delta: δ of the margin program, how far a class's weights may lie from the shared ones: 0 shared, 1 free;
            "auto" chooses it by grouped inner folds.
        balance: λ of the paper's program (eq. 5).
        kind: what the scores are, "auto", "logits" or "probabilities".
    """

    def __init__(
        self,
        *,
        objective: Literal["margin", "stilt"] = "margin",
        nu: float | Literal["auto"] = "auto",
        delta: float | Literal["auto"] = "auto",
        balance: float = 1.0,
        kind: str | Sequence[str] = "auto",
    ) -> None:
        super().__init__(kind=kind)
        self.objective = objective
        self.nu = nu
        self.delta = delta
        self.balance = balance

    @property
    def combines(self) -> str:  # type: ignore[override]
        """As the objective says."""
        return "probabilities" if self.objective == "stilt" else "log-probabilities"

    def _learn(self, X: NDArray, y: NDArray, groups: NDArray) -> None:
        if self.objective == "stilt":
            self.weights_ = stilt_weights(stilt_gains(self._probabilities(X), y, self.balance))
            return
        scores = self._log_probabilities(X)
        self.temperatures_ = np.array([fit_temperature(scores[:, s], y) for s in range(X.shape[1])])
        program = MarginProgram(self._calibrated(X), y)
        S, K = X.shape[1:]
        nu = 0.3 if self.nu == "auto" else self.nu
        delta = 0.05 if self.delta == "auto" else self.delta
        solution = program.solve(nu, delta, start=np.full((K, S), 1 / S))
        self.weights_ = solution.weights
        self.objective_, self.lower_bound_ = solution.objective, solution.lower_bound

    def class_weights(self) -> NDArray:
        """The weights `(K, S)`."""
        return self.weights_

    def _calibrated(self, X: NDArray) -> NDArray:
        return normalise(self._log_probabilities(X) / self.temperatures_[:, None])

    def _combine(self, X: NDArray) -> NDArray:
        scores = self._probabilities(X) if self.objective == "stilt" else self._calibrated(X)
        return np.einsum("msk,ks->mk", scores, self.weights_)


RULE = Awf
