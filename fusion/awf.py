"""Adaptive weighted fusion: a weight for each class and stream."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from avr.core import About, PositiveFloat, Range, UsageError

from ._base import Fuser, Kind
from ._probabilities import calibrate, fit_lapses, fit_temperature, temperatures_of, with_lapses
from .programs import (
    STRENGTHS,
    ClassPool,
    MarginProgram,
    class_pools,
    first_good,
    held_out_errors,
    stilt_gains,
    stilt_weights,
)

READ_BY = {"nu": "margin", "delta": "margin", "tolerance": "margin", "balance": "stilt"}  # option -> objective


class Awf(Fuser):
    """Adaptive weighted fusion (STILT, Liu et al. 2022, section 3.3): a weight for each class and stream.

    Objective "likelihood" (default) is a log-linear pool of log-probabilities, calibrated by a temperature and a lapse
    rate a stream, from whose shared weights each class's weights and bias may move as far as grouped inner folds pay
    for. "margin" is a soft-margin linear program in the family of LP-β and LP-B (Gehler & Nowozin 2009) on
    log-probabilities calibrated by one temperature a stream. Departure of both from the paper: its own program
    ("stilt", eq. 4-9) is linear in each class's weights, so that each class takes one stream and drops the rest.

    Args:
        objective: "likelihood", "margin" or "stilt".
        nu: ν of the margin program, in (0, 1]: the share of videos whose margins are made large.
        delta: δ of the margin program, in [0, 1]: how far a class's weights may lie from the shared ones, 0
            shared, 1 free.
        balance: λ of the paper's program (eq. 5), what a score on other classes' videos costs.
        tolerance: of the margin program's gap.

    Attributes:
        weights_: (K, S) float64, rows in the simplex; likelihood: the exponents' shares, a negative one counted as 0.
        exponents_: (K, S) float64, and biases_, (K,) float64, what the scores are combined with (likelihood). An
            exponent is a weight that is not bound to a sum; a negative one says that a stream's vote for the class
            speaks against it.
        temperatures_: (S,) float64 (likelihood and margin), and lapses_, (S,) float64, lapse rates (likelihood).
        strength_: λ that the classes' weights are held with to the shared ones, None: they are shared (likelihood).
        held_out_errors_: (R,) float64, the share of errors in the inner folds, for each strength from shared weights
            to the freest (`avr.fusion.programs.STRENGTHS`); empty where the groups allow no folds (likelihood).
        nu_, delta_: ν and δ of the program that was solved, and fused_temperature_, of the fused scores (margin).
        objective_, lower_bound_, gap_, iterations_: the certificate: the program's value at the weights, what no
            weights of the same settings can go below, their difference, and how often all margins were computed
            (margin).
        one_stream_classes_: how many classes ended on one stream.
    """

    def __init__(
        self,
        *,
        objective: Annotated[
            Literal["likelihood", "margin", "stilt"],
            About("A pool by likelihood; a linear program of margins; the paper's own program."),
        ] = "likelihood",
        nu: Annotated[float, Range(above=0, most=1), About("Of margin: the share of videos that count.")] = 0.5,
        delta: Annotated[
            float, Range(least=0, most=1), About("Of margin: how far a class's weights may lie from the shared ones.")
        ] = 0.1,
        balance: Annotated[float, About("Of stilt: what a score on other classes' videos costs.")] = 1.0,
        tolerance: Annotated[PositiveFloat, About("Of margin: how near to the optimum it is solved.")] = 1e-4,
        kind: Kind = "auto",
    ) -> None:
        super().__init__(kind=kind)
        self.objective = objective
        self.nu = nu
        self.delta = delta
        self.balance = balance
        self.tolerance = tolerance

    @property
    def combines(self) -> str:  # type: ignore[override]
        return "probabilities" if self.objective == "stilt" else "log-probabilities"

    @classmethod
    def options_of_before(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Without what the margin program once chose for itself; what it chose is learnt, `nu_` and `delta_`."""
        chosen = {name for name in ("nu", "delta") if {**options}.get(name) == "auto"}
        return {name: value for name, value in options.items() if name not in {"shared", *chosen}}

    @classmethod
    def options_for(cls, streams: Sequence[str], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The options `given`; refused: one that the objective does not read."""
        options = super().options_for(streams, given)
        made, default = cls(**options), cls()
        for name in options:
            reader = READ_BY.get(name, made.objective)
            if reader != made.objective and options[name] != getattr(default, name):
                raise UsageError(
                    f"awf: {name} is read by objective {reader} and does nothing with objective {made.objective}: "
                    f"leave it out, or take objective {reader}"
                )
        return options

    def _learn(self, X: NDArray, y: NDArray, groups: NDArray) -> None:
        if self.objective == "stilt":
            self.weights_ = stilt_weights(stilt_gains(self._probabilities(X), y, self.balance))
        elif self.objective == "margin":
            self._learn_margin(self._log_probabilities(X), y)
        else:
            self._learn_likelihood(self._log_probabilities(X), y, groups)
        self.one_stream_classes_ = int((self.weights_.max(axis=1) > 1 - 1e-9).sum())

    def _learn_likelihood(self, scores: NDArray, y: NDArray, groups: NDArray) -> None:
        wrong = held_out_errors(scores, y, groups)
        place = 0 if wrong is None else first_good(wrong, groups)
        self.held_out_errors_ = np.zeros(0) if wrong is None else wrong.mean(axis=1)
        self.strength_ = STRENGTHS[place] if place else None
        self.temperatures_, self.lapses_ = fit_lapses(scores, y)
        (pool,) = class_pools(with_lapses(scores, self.temperatures_, self.lapses_), y, [STRENGTHS[place]])
        self.exponents_, self.biases_ = pool.exponents, pool.biases
        shares = np.maximum(self.exponents_, 0)
        total = shares.sum(axis=1, keepdims=True)
        self.weights_ = np.where(total > 0, shares / np.where(total > 0, total, 1), 1 / scores.shape[1])

    def _learn_margin(self, scores: NDArray, y: NDArray) -> None:
        self.temperatures_ = temperatures_of(scores, y)
        calibrated = calibrate(scores, self.temperatures_)
        program = MarginProgram(calibrated, y)
        self.nu_, self.delta_ = float(self.nu), float(self.delta)
        # From the best untrained rule on: whatever the tolerance, the solution is never worse than that.
        start = min(self._untrained(program), key=lambda weights: program.value(weights, self.nu))
        solution = program.solve(self.nu, self.delta, start=start, tolerance=self.tolerance)
        self.weights_ = solution.weights
        self.objective_, self.lower_bound_ = solution.objective, solution.lower_bound
        self.gap_, self.iterations_ = solution.gap, solution.iterations
        self.fused_temperature_ = fit_temperature(np.einsum("msk,ks->mk", calibrated, self.weights_), y)

    def _untrained(self, program: MarginProgram) -> list[NDArray]:
        """Weights `(K, S)` of the rules that need no labels but for the temperatures.

        The mean of calibrated and of uncalibrated log-probabilities, and each stream alone.
        """
        S, K = program.S, program.K
        rules = [np.full(S, 1 / S), self.temperatures_ / self.temperatures_.sum(), *np.eye(S)]
        return [np.tile(rule, (K, 1)) for rule in rules]

    def class_weights(self) -> NDArray:
        return self.weights_

    def notes(self) -> list[str]:
        """What was chosen and why, the program's certificate, how many classes ended on one stream."""
        ended = f"{self.one_stream_classes_} of {len(self.weights_)} classes ended on one stream"
        if self.objective == "stilt":
            return [f"awf stilt: {ended}"]
        if self.objective == "margin":
            return [
                f"awf margin: ν {self.nu_:g}, δ {self.delta_:g}; {ended}",
                f"awf margin: objective {self.objective_:.6g}, lower bound {self.lower_bound_:.6g}, "
                f"gap {self.gap_:.2g} after {self.iterations_} iterations",
            ]
        shared = "awf: weights shared by all classes"
        if not len(self.held_out_errors_):
            return [f"{shared}: videos of one group alone allow no inner folds to choose others by"]
        first, best = (f"{100 * share:.1f} %" for share in (self.held_out_errors_[0], self.held_out_errors_.min()))
        if self.strength_ is None:
            return [
                f"{shared}: a class's own, and a bias, paid too little in inner folds (errors {best}, shared {first})"
            ]
        now = f"{100 * self.held_out_errors_[STRENGTHS.index(self.strength_)]:.1f} %"
        return [
            f"awf: each class has weights and a bias of its own, held to the shared ones with λ {self.strength_:g}: in "
            f"inner folds errors {now}, with shared weights {first}; {ended}"
        ]

    def _combine(self, X: NDArray) -> NDArray:
        if self.objective == "stilt":
            return np.einsum("msk,ks->mk", self._probabilities(X), self.weights_)
        scores = self._log_probabilities(X)
        if self.objective == "likelihood":
            calibrated = with_lapses(scores, self.temperatures_, self.lapses_)
            return ClassPool(self.exponents_, self.biases_).fused(calibrated)
        calibrated = calibrate(scores, self.temperatures_)
        return np.einsum("msk,ks->mk", calibrated, self.weights_) / self.fused_temperature_


RULE = Awf
