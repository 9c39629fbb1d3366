"""What the workers of an extraction are told, and what they tell."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from avr.datasets import Dataset

from .running import Running
from .settings import Settings


@dataclass(frozen=True)
class Task:
    """What every worker of a run is told; it can be pickled.

    Attributes:
        dataset: whose videos.
        store: absolute path of the store's folder.
        streams: each one's settings as the user gave them, with the paths of weights files.
        running: device and sizes; videos a shard filled in.
        made_with: versions and commit, kept in the store.
        folder: working directory, against which relative paths of videos and weights are meant.
    """

    dataset: Dataset
    store: Path
    streams: dict[str, Settings]
    running: Running
    made_with: dict[str, Any]
    folder: Path

    def on(self, device: str) -> "Task":
        """The same on a device."""
        return replace(self, running=replace(self.running, device=device))

    def named(self, shard: int) -> str:
        """A shard as a person can find it."""
        return f"shard {shard} ({self.dataset.videos[shard * self.running.shard_videos].id} …)"


class Step(NamedTuple):
    """How far a shard is: how many of its videos are done, how many of these failed, and whether it is written."""

    shard: int
    videos: int = 0
    failed: int = 0
    written: bool = False


OnStep = Callable[[Step], None]
