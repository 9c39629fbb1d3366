"""A worker: it claims a shard of the store, makes it, writes it and takes the next. The store is the queue.

A claim is a lock that the worker's death frees, so a lost worker's shard is taken by another, and any number of workers
may come and go: in this process, in children of it, or in other runs on the same store. Whoever sees every shard there
builds the index.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from avr.core import AvrError, Busy, UsageError, WorkError, quiet
from avr.datasets import Dataset, Video
from avr.store import ShardWriter, StoreWriter

from .extractor import Extractor
from .pipeline import OnStep, Step, write_shards
from .running import Running
from .settings import Settings

ATTEMPTS = 3  # workers that a shard, or a device, may lose before it is given up
LOOK = 0.5  # seconds between two looks for a shard that another worker has left


@dataclass(frozen=True)
class Task:
    """What every worker of a run is told; it can be pickled.

    Attributes:
        dataset: whose videos.
        store: absolute path of the store's folder.
        settings: as the user gave them, with the paths of weights files.
        running: device and sizes; videos a shard filled in.
        made_with: versions and commit, kept in the store.
        folder: working directory, against which relative paths of videos and weights are meant.
    """

    dataset: Dataset
    store: Path
    settings: Settings
    running: Running
    made_with: dict[str, Any]
    folder: Path

    def on(self, device: str) -> "Task":
        """The same on a device."""
        return replace(self, running=replace(self.running, device=device))

    def videos(self) -> dict[str, Video]:
        """The data set's videos by id."""
        return {video.id: video for video in self.dataset.videos}

    def named(self, shard: int) -> str:
        """A shard as a person can find it."""
        return f"shard {shard} ({self.dataset.videos[shard * self.running.shard_videos].id} …)"

    def go_there(self) -> None:
        """Work in the run's folder.

        Raises:
            WorkError: it is not on this machine.
        """
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise WorkError(f"{self.folder}: not on this machine; workers need the run's folder shared") from error


def work(task: Task, extractor: Extractor | None = None, *, on_step: OnStep) -> dict[str, Busy]:
    """A worker's whole life: until every shard is there, whoever wrote it.

    Args:
        task: what to do.
        extractor: made already, else it is made.
        on_step: told how far each shard is.

    Returns:
        How long each stage was busy.

    Raises:
        UsageError: settings that this worker cannot meet, or a store begun with others.
        WorkError: what no other worker would do better: a full disk, weights that are not there.
    """
    extractor = extractor or Extractor(task.settings, running=task.running)
    with open_store(task, about(extractor)) as store, one_thread_a_call(extractor):
        return empty_queue(
            store,
            lambda shards: write_shards(extractor, shards, task.videos(), on_step=on_step),
            on_step=on_step,
        )


def empty_queue(
    store: StoreWriter, write: Callable[[Iterator[ShardWriter]], dict[str, Busy]], *, on_step: OnStep
) -> dict[str, Busy]:
    """Claim and write shards until all are there; where others hold the last ones, wait for them or for their death.

    Args:
        store: begun or joined.
        write: takes claimed shards one by one, writes them, gives how long each stage was busy.
        on_step: told of each claim.
    """
    busy: dict[str, Busy] = {}
    while store.missing():
        claimed = _claims(store, on_step)
        first = next(claimed, None)
        if first is None:
            time.sleep(LOOK)
        else:
            for name, more in write(chain([first], claimed)).items():
                busy.setdefault(name, Busy(more.threads)).seconds += more.seconds
    return busy


def _claims(store: StoreWriter, on_step: OnStep) -> Iterator[ShardWriter]:
    while (shard := store.claim_next()) is not None:
        on_step(Step(shard.number))
        yield shard


def about(extractor: Extractor) -> dict[str, Any]:
    """What a store keeps of how an extractor makes features: arguments of `open_store`, which can be pickled."""
    files = extractor.networks.files
    return {"arrays": extractor.networks.shapes, "settings": extractor.settings.to_dict(), "weights_files": files}


def open_store(task: Task, about: dict[str, Any]) -> StoreWriter:
    """The store of a task, begun or joined, of `about(extractor)`.

    Raises:
        UsageError: it was begun with other settings or another data set; says which differ.
        WorkError: the folder cannot be written.
    """
    settings = dict(about["settings"])
    with contextlib.suppress(AvrError, KeyError):  # no store lies there yet
        if "flow_backend" not in ShardWriter(task.store, 0).plan.provenance["settings"]:
            settings.pop("flow_backend", None)  # begun before it was kept: it is not known, and stays so
    provenance = {"settings": settings, "weights_files": about["weights_files"], **task.made_with}
    size = task.running.shard_videos
    return StoreWriter(task.store, task.dataset, arrays=about["arrays"], provenance=provenance, shard_videos=size)


@contextlib.contextmanager
def one_thread_a_call(extractor: Extractor) -> Iterator[None]:
    """On a CPU, torch's own threads are put to one inside the block."""
    before = torch.get_num_threads()
    if extractor.device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def serve(pipe: Connection) -> None:
    """A worker in a process of its own: what to do comes through the pipe; back go its steps and how it ends."""
    one_thread = threading.Lock()

    def say(*message: Any) -> None:
        try:
            with one_thread:
                pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):  # the parent is gone
            os._exit(1)

    try:
        task, cores = pipe.recv()
    except (EOFError, ConnectionResetError):
        return
    try:
        if cores:
            os.sched_setaffinity(0, cores)
        task.go_there()
        with quiet():
            busy = work(task, on_step=lambda step: say("step", step))
    except AvrError as error:
        say("error", isinstance(error, UsageError), str(error))
    except Exception as error:
        say("crash", one_line(error))
    else:
        say("end", busy)


def one_line(error: BaseException) -> str:
    """An error that is not avr's own."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
