"""`epochs.csv` of a run: a row an epoch of each of its trainings, as it ends; to be read while they run."""

import csv
from collections.abc import Mapping
from pathlib import Path

from avr.core import cannot_write, warn

EPOCHS = "epochs.csv"
COLUMNS = (
    "training",
    "epoch",
    "step",
    "lr",
    "loss",
    "accuracy",
    "validation_loss",
    "validation_accuracy",
    "seconds",
)


class EpochTable:
    """The table of one run. One that is there is gone on with; an epoch that it holds is not written again.

    Where it cannot be written, that is said once, and the training goes on: `log.csv` comes with what it gives.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / EPOCHS
        self._known: set[tuple[str, str]] | None = None
        self._lost = False

    def add(self, training: str, number: int, row: Mapping[str, float]) -> None:
        try:
            if self._known is None and not self._lost:
                self._known = self._begin()
            if self._known is None or (training, str(number)) in self._known:
                return
            self._known.add((training, str(number)))
            with open(self.path, "a", encoding="utf-8", newline="") as file:
                told = {"training": training, "epoch": number, **row}
                csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n").writerow(told)
        except OSError as error:
            warn(str(cannot_write(self.path, error)))
            self._known, self._lost = None, True

    def _begin(self) -> set[tuple[str, str]]:
        """Write the header, or take out a line that a kill cut; the epochs that are there."""
        text = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
        whole = text[: text.rfind("\n") + 1] or ",".join(COLUMNS) + "\n"
        if whole != text:
            self.path.write_text(whole, encoding="utf-8")
        return {(row[0], row[1]) for row in csv.reader(whole.splitlines()) if len(row) > 1}
