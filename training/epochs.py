"""What a training tells while it runs: each epoch, to whoever wants to know; TensorBoard is one who does."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avr.core import load_extra


@dataclass(frozen=True)
class Epoch:
    """An epoch that has ended.

    Attributes:
        run: the run's folder.
        training: which of the run's trainings it is of, such as "split-1/rgb" or "split-1/rgb/fold-2".
        number: from 1.
        row: of the log: loss, accuracy, lr or rate; validation_loss and more, where a part validates.
    """

    run: Path
    training: str
    number: int
    row: Mapping[str, float]


OnEpoch = Callable[[Epoch], object]


class TensorBoard(AbstractContextManager["TensorBoard"]):
    """Writes epochs as scalars under `<run>/tensorboard/<training>`: give it to a training as `on_epoch`.

    Raises:
        UsageError: tensorboard is not installed.
    """

    def __init__(self) -> None:
        load_extra("tensorboard", "--log tensorboard")
        self._writers: dict[Path, Any] = {}

    def __call__(self, epoch: Epoch) -> None:
        from torch.utils.tensorboard import SummaryWriter

        place = epoch.run / "tensorboard" / epoch.training
        if place not in self._writers:  # a training that goes on takes the place of what it did after its last state
            self._writers[place] = SummaryWriter(place, purge_step=epoch.number)
        for name, value in epoch.row.items():
            self._writers[place].add_scalar(name, value, epoch.number)
        self._writers[place].flush()

    def __exit__(self, *_: object) -> None:
        for writer in self._writers.values():
            writer.close()
