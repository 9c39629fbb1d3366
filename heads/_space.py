"""What a tuning searches: ranges and choices of a head's options and training settings, read from texts."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from avr.core import UsageError, as_text, check_known, options_of, read_options
from avr.training import Training, check_read, read_training

from ._base import head_class, head_options
from ._trainings import Plan

USUAL = ("lr", "weight_decay", "label_smoothing", "dropout")  # what is searched unless it is said


class Dimension(NamedTuple):
    """A range of numbers, over their logarithm where it spans a factor of ten; or choices."""

    low: float | int = 0
    high: float | int = 0
    choices: tuple[Any, ...] = ()

    @property
    def log(self) -> bool:
        """Whether it is searched over its logarithm."""
        return self.low > 0 and self.high >= 10 * self.low

    def holds(self, value: Any) -> bool:
        """Whether it has a value."""
        return value in self.choices if self.choices else self.low <= value <= self.high

    def distribution(self) -> Any:
        """As Optuna has it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)


def read_space(plan: Plan, given: Mapping[str, str], *, held: Collection[str] = ()) -> dict[str, Dimension]:
    """Dimensions by name: `lr=1e-4..1e-2` a range, `dropout=0,0.3,0.5` choices; none given are the head's usual ones,
    but for those that are held.

    Raises:
        UsageError: unknown name, a value that it does not take, a range without a width, names that are held beside
            others that are searched, nothing to search.
    """
    known = {**options_of(Training), **options_of(head_class(plan.head))}
    space = {}
    for name, text in given.items():
        low, dots, high = text.partition("..")
        values = [
            read_options(known, {name: one}, kind="option or setting")[name]
            for one in ([low, high] if dots else text.split(","))
        ]
        if not dots:
            space[name] = Dimension(choices=tuple(map(plain, values)))
        elif (
            all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
            and values[0] < values[1]
        ):
            space[name] = Dimension(*values)
        else:
            raise UsageError(f"--search {name}={text}: a range goes from a number to a larger one")
    if "optimizer" not in space:
        check_read(plan.training, [name for name in space if name in options_of(Training)])
    for name in held:
        check_known("setting that is searched", name, USUAL)
    if space and held:
        raise UsageError("what is held is of the usual search: leave it out, or what is searched instead")
    space = space or {name: dimension for name, dimension in _usual(plan).items() if name not in held}
    if not space:
        raise UsageError(f"head {plan.head}: nothing is left to choose, {', '.join(held)} are given")
    return space


def plain(value: Any) -> Any:
    """A value as JSON and Optuna give it back: a list of values is its text."""
    return as_text(value) if isinstance(value, tuple) else value


def _usual(plan: Plan) -> dict[str, Dimension]:
    """Weight decay; of what is trained step by step the learning rate too, smoothing, and dropout where it has any."""
    if plan.training.optimizer == "lbfgs":
        return {"weight_decay": Dimension(1e-4, 10.0), "label_smoothing": Dimension(choices=(0.0, 0.1))}
    space = {
        "lr": Dimension(plan.training.lr / 10, plan.training.lr * 10),
        "weight_decay": Dimension(1e-3, 10.0),
        "label_smoothing": Dimension(choices=(0.0, 0.1, 0.2)),
    }
    return space | ({"dropout": Dimension(0.0, 0.8)} if "dropout" in plan.options else {})


def changed(plan: Plan, values: Mapping[str, Any]) -> Plan:
    """A plan with some of its options and settings changed; a number of epochs then holds, as `read_training` has it.

    Raises:
        UsageError: settings that contradict one another.
    """
    options = {name: value for name, value in values.items() if name in plan.options}
    training = {name: value for name, value in values.items() if name not in options}
    made = read_training(plan.training, training)
    return dataclasses.replace(plan, options=head_options(plan.head, plan.options | options), training=made)
