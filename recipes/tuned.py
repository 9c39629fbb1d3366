"""How a network is fine-tuned: what a recipe's `finetune` entry and a run's changes may say of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from avr.core import UsageError, check_known, options_of, read_value
from avr.finetune import UNREAD, Tuning
from avr.training import Training, read_training


@dataclass(frozen=True)
class Tuned:
    """How a network is fine-tuned."""

    training: Training
    tuning: Tuning
    segments: int = 1

    def __post_init__(self) -> None:
        if self.segments < 1:
            raise UsageError(f"segments must be at least 1, not {self.segments}")

    def change(self, given: Mapping[str, object], *, drawing_alone: bool = False) -> "Tuned":
        """With other settings, values or texts; with `drawing_alone` those of the training are left as they are.

        Raises:
            UsageError: an unknown setting, or a value that it does not take.
        """
        tunings, trainings = options_of(Tuning), options_of(Training).keys() - set(UNREAD)
        for name in given:
            check_known("setting of a fine-tuning", name, sorted({*tunings, *trainings, "segments"}))
        drawing = {n: read_value(n, value, tunings[n].hint) for n, value in given.items() if n in tunings}
        rates = {} if drawing_alone else {n: value for n, value in given.items() if n in trainings}
        segments = read_value("segments", given.get("segments", self.segments), int)
        return Tuned(read_training(self.training, rates), replace(self.tuning, **drawing), segments)
