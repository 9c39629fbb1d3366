"""What a recipe's run gives: its rows as measured, and what keeps them from the paper's."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .reading import Recipe, Row

Runs = dict[tuple[int, str], float]  # seed and split -> accuracy in percent


@dataclass(frozen=True)
class Measured:
    """One row of the printed table.

    Attributes:
        row: the recipe's row.
        figure: the paper's, in percent, on the store's data set; None where it has none.
        values: measured accuracies in percent, by (seed, split).
        reason: why nothing, or not everything, was measured; "" where all was.
        failed: the work failed, where else it could not be asked of this row.
        before: of a row that was trained end to end, what it had before.
        chosen: of a row whose settings were chosen by trials, these: (seed, split) -> option or setting -> value.
        aside: why the paper's figure is no measure of this one, in a few words; "" where it is.
    """

    row: Row
    figure: float | None
    values: Runs = field(default_factory=dict)
    reason: str = ""
    failed: bool = False
    before: Runs = field(default_factory=dict)
    chosen: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    aside: str = ""

    @property
    def mean(self) -> float | None:
        """Over seeds and splits, in percent; None where nothing was measured."""
        return mean_of(self.values)

    @property
    def deviation(self) -> float | None:
        """Standard deviation (of n − 1), in percent; None of fewer than two."""
        return deviation_of(self.values)


def mean_of(values: Runs) -> float | None:
    """Over seeds and splits; None without any."""
    return float(np.mean(list(values.values()))) if values else None


def deviation_of(values: Runs) -> float | None:
    """Standard deviation (of n − 1); None of fewer than two."""
    return float(np.std(list(values.values()), ddof=1)) if len(values) > 1 else None


@dataclass(frozen=True)
class Outcome:
    """A recipe's table as measured.

    Attributes:
        recipe: what was run.
        dataset: the stores' data set.
        splits: names.
        seeds: numbers.
        settings: "paper" or "small": the training settings.
        rows: in the recipe's order.
        differences: what rows start from, splits whose parts share groups, stores that were not whole, and where they
            are not what the paper has, a line each, the last of rows with the paper's figure.
        finetuned: networks were fine-tuned.
        changed: what the run changed of the recipe, a line each.
        trials: by which each training's settings were chosen; 0: they were not.
    """

    recipe: Recipe
    dataset: str
    splits: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: str
    rows: tuple[Measured, ...]
    differences: tuple[str, ...] = ()
    finetuned: bool = False
    changed: tuple[str, ...] = ()
    trials: int = 0
