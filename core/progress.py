"""What avr says while it works. All of it goes to standard error, so that standard output holds results alone."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

_quiet = False
_listening: "list[Said]" = []


@dataclass
class Said:
    """The lines that `note` and `warn` were given, printed or not."""

    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@contextmanager
def overheard() -> Iterator[Said]:
    """Inside the block, what is said is kept as well, for a command whose result holds it."""
    said = Said()
    _listening.append(said)
    try:
        yield said
    finally:
        _listening.pop()


@contextmanager
def quiet(silence: bool = True) -> Iterator[None]:
    """Inside the block, `note` and progress bars print nothing (warnings still do)."""
    global _quiet
    before, _quiet = _quiet, silence or _quiet
    try:
        yield
    finally:
        _quiet = before


def note(message: str) -> None:
    """Say one line of what is being done or was taken."""
    for said in _listening:
        said.notes.append(message)
    if not _quiet:
        print(message, file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Say one line that the user must not miss."""
    for said in _listening:
        said.warnings.append(message)
    print(f"warning: {message}", file=sys.stderr, flush=True)


class Progress:
    """A progress bar with rate and time left; on a pipe, a plain line every 30 seconds instead.

    Example:
        with Progress("extract", total=3570, unit="videos") as progress:
            progress.advance(1, loss="0.31")
    """

    def __init__(self, task: str, *, total: int, unit: str = "") -> None:
        self.task, self.total, self.unit, self.done = task, total, unit, 0
        self._bar: Any = None
        self._fields = ""
        self._start = self._said = time.monotonic()

    def __enter__(self) -> "Progress":
        if not _quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:g}/{task.total:g}")]
            columns += [TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TextColumn("left")]
            columns += [TimeRemainingColumn(), TextColumn("{task.fields[more]}")]
            self._bar = RichProgress(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task_id = self._bar.add_task(self.task, total=self.total, rate="", more="")
        return self

    def more(self, steps: int) -> None:
        """There are so many steps more to do."""
        self.total += steps
        if self._bar is not None:
            self._bar.update(self._task_id, total=self.total)

    def advance(self, steps: int = 1, **fields: object) -> None:
        """Count `steps` more as done; `fields` are shown behind the bar (loss, accuracy, …)."""
        self.done += steps
        self._fields = " ".join(f"{name} {value}" for name, value in fields.items())
        elapsed = max(time.monotonic() - self._start, 1e-9)
        rate = f"{self.done / elapsed:.3g} {self.unit}/s"
        if self._bar is not None:
            self._bar.update(self._task_id, completed=self.done, rate=rate, more=self._fields)
        elif not _quiet and time.monotonic() - self._said > 30:
            self._said = time.monotonic()
            left = (self.total - self.done) * elapsed / max(self.done, 1)
            note(f"{self.task}: {self.done}/{self.total} {rate}, {left:.0f} s left {self._fields}".rstrip())

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
