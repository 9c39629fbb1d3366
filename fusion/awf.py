"""Adaptive weighted fusion: per-class stream weights from a linear program."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from avr.core import About, PositiveFloat, Range

from ._base import Fuser, Kind
from ._probabilities import fit_temperature
from .programs import (
    LADDER,
    NUS,
    MarginProgram,
    MarginSolution,
    Setting,
    calibrate,
    choose,
    shared_weights,
    stilt_gains,
    stilt_weights,
    temperatures_of,
)


class Awf(Fuser):
    """Adaptive weighted fusion (STILT, Liu et al. 2022, section 3.3): a weight for each class and stream.

    Objective "margin" (default) is a soft-margin linear program in the family of LP-β and LP-B (Gehler & Nowozin 2009)
    on log-probabilities calibrated by one temperature a stream. Departure from the paper, whose own program (objective
    "stilt", eq. 4-9) is linear in each class's weights, so that each class takes one stream and drops the rest.

    Args:
        objective: "margin" or "stilt".
        nu: ν of the margin program, in (0, 1]: the share of videos whose margins are made large; "auto" chooses it by
            grouped inner folds.
        delta: δ of the margin program, in [0, 1]: how far a class's weights may lie from the shared ones, 0
            shared, 1 free; "auto" chooses it by grouped inner folds.
        shared: the shared weights of the margin program: "learnt", "equal", or "auto": chosen with δ, learnt where ν
            and δ are given.
        balance: λ of the paper's program (eq. 5), what a score on other classes' videos costs.
        tolerance: of the margin program's gap.

    Attributes:
        weights_: (K, S) float64, rows in the simplex.
        temperatures_: (S,) float64, and fused_temperature_, of the fused scores (margin).
        nu_, delta_, shared_: what was chosen (margin).
        objective_, lower_bound_, gap_, iterations_: the certificate: the program's value at the weights, what no
            weights of the same settings can go below, their difference, and how often all margins were computed
            (margin).
        pulled_: how far (0 … 1) the chosen weights had to be moved towards learnt ones for the program's value not
            to be worse than an untrained rule's; if at all, the certificate is that of learnt weights (margin).
        one_stream_classes_: how many classes ended on one stream.
    """

    def __init__(
        self,
        *,
        objective: Annotated[Literal["margin", "stilt"], About("The margin program, or the paper's own.")] = "margin",
        nu: Annotated[
            Annotated[float, Range(above=0, most=1)] | Literal["auto"],
            About("ν, the share of videos whose margins are made large, above 0 and up to 1.", "FLOAT"),
        ] = "auto",
        delta: Annotated[
            Annotated[float, Range(least=0, most=1)] | Literal["auto"],
            About("δ, how far a class's weights may lie from the shared ones: 0 shared, 1 free.", "FLOAT"),
        ] = "auto",
        shared: Annotated[Literal["auto", "equal", "learnt"], About("What the shared weights are.")] = "auto",
        balance: Annotated[
            float, About("λ of the paper's program: what a score on other classes' videos costs.")
        ] = 1.0,
        tolerance: Annotated[PositiveFloat, About("Of the margin program's gap.")] = 1e-4,
        kind: Kind = "auto",
    ) -> None:
        super().__init__(kind=kind)
        self.objective = objective
        self.nu = nu
        self.delta = delta
        self.shared = shared
        self.balance = balance
        self.tolerance = tolerance

    @property
    def combines(self) -> str:  # type: ignore[override]
        """As the objective says."""
        return "probabilities" if self.objective == "stilt" else "log-probabilities"

    def _learn(self, X: NDArray, y: NDArray, groups: NDArray) -> None:
        if self.objective == "stilt":
            self.weights_ = stilt_weights(stilt_gains(self._probabilities(X), y, self.balance))
        else:
            self._learn_margin(self._log_probabilities(X), y, groups)
        self.one_stream_classes_ = int((self.weights_.max(axis=1) > 1 - 1e-9).sum())

    def _ladder(self) -> list[Setting]:
        """What may be chosen, from the simplest to the freest."""
        if self.delta == "auto":
            return [setting for setting in LADDER if self.shared in ("auto", setting.shared)]
        if self.shared == "auto" and self.nu == "auto":
            return [Setting("equal", float(self.delta)), Setting("learnt", float(self.delta))]
        return [Setting("equal" if self.shared == "equal" else "learnt", float(self.delta))]

    def _learn_margin(self, scores: NDArray, y: NDArray, groups: NDArray) -> None:
        setting = choose(scores, y, groups, self._ladder(), NUS if self.nu == "auto" else (float(self.nu),))
        self.temperatures_ = temperatures_of(scores, y)
        calibrated = calibrate(scores, self.temperatures_)
        program = MarginProgram(calibrated, y)
        self.pulled_ = 0.0
        solution = self._solve(program, setting)
        if setting.shared != "learnt":
            solution = self._not_below_untrained(program, setting, solution)
        self.weights_ = solution.weights
        self.nu_, self.delta_, self.shared_ = setting.nu, setting.delta, setting.shared
        self.objective_, self.lower_bound_ = solution.objective, solution.lower_bound
        self.gap_, self.iterations_ = solution.gap, solution.iterations
        self.fused_temperature_ = fit_temperature(np.einsum("msk,ks->mk", calibrated, self.weights_), y)

    def _solve(self, program: MarginProgram, setting: Setting) -> MarginSolution:
        centre, start = shared_weights(setting.shared, self.temperatures_), None
        if centre is None:
            # From the best untrained rule on: whatever the tolerance, the solution is never worse than that.
            start = min(self._untrained(program), key=lambda weights: program.value(weights, setting.nu))
        return program.solve(setting.nu, setting.delta, start=start, shared=centre, tolerance=self.tolerance)

    def _untrained(self, program: MarginProgram) -> list[NDArray]:
        """Weights `(K, S)` of the rules that need no labels but for the temperatures.

        The mean of calibrated and of uncalibrated log-probabilities, and each stream alone.
        """
        S, K = program.S, program.K
        rules = [np.full(S, 1 / S), self.temperatures_ / self.temperatures_.sum(), *np.eye(S)]
        return [np.tile(rule, (K, 1)) for rule in rules]

    def _not_below_untrained(
        self, program: MarginProgram, setting: Setting, solution: MarginSolution
    ) -> MarginSolution:
        """Move held weights towards the learnt solution, just so far that no untrained rule has a better objective.

        Held shared weights can lie so badly (one stream is noise) that a single stream does better on the fitting
        data. The objective is convex, and learnt shared weights are at least as good as every untrained rule: somewhere
        on the way between the two is the best untrained rule's value.
        """
        best = min(program.value(weights, setting.nu) for weights in self._untrained(program))
        if solution.objective <= best:
            return solution
        free = self._solve(program, Setting("learnt", setting.delta, setting.nu))
        low, high = 0.0, 1.0
        for _ in range(20):
            middle = (low + high) / 2
            mixed = solution.weights + middle * (free.weights - solution.weights)
            low, high = (low, middle) if program.value(mixed, setting.nu) <= best else (middle, high)
        weights = free.weights if high == 1 else solution.weights + high * (free.weights - solution.weights)
        self.pulled_ = high
        value = program.value(weights, setting.nu)
        return MarginSolution(weights, value, free.lower_bound, free.iterations)

    def class_weights(self) -> NDArray:
        """The weights `(K, S)`."""
        return self.weights_

    def notes(self) -> list[str]:
        """How many classes ended on one stream; for the margin program, what was chosen and its certificate."""
        K = len(self.weights_)
        ended = f"{self.one_stream_classes_} of {K} classes ended on one stream"
        if self.objective == "stilt":
            return [f"awf stilt: {ended}"]
        pulled = [
            f"awf margin: an untrained rule had a better objective than the weights chosen: they were moved "
            f"{100 * self.pulled_:.0f} % of the way to learnt ones, whose lower bound stands below"
        ]
        return [
            *(pulled if self.pulled_ else []),
            f"awf margin: ν {self.nu_:g}, δ {self.delta_:g}, shared weights {self.shared_}; {ended}",
            f"awf margin: objective {self.objective_:.6g}, lower bound {self.lower_bound_:.6g}, gap {self.gap_:.2g} "
            f"after {self.iterations_} iterations",
        ]

    def _combine(self, X: NDArray) -> NDArray:
        if self.objective == "stilt":
            return np.einsum("msk,ks->mk", self._probabilities(X), self.weights_)
        calibrated = calibrate(self._log_probabilities(X), self.temperatures_)
        return np.einsum("msk,ks->mk", calibrated, self.weights_) / self.fused_temperature_


RULE = Awf
