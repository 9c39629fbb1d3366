"""Where trainings run: one by one in this process, side by side in children of it, or as tasks of Ray.

Features are not copied: children map the memory that this process holds them in, and on a cluster each machine gets
them once, where its tasks read them in place.
"""

import os
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avr.core import AvrError, Child, UsageError, WorkError, connect_ray, first_line, go_to, note, one_line, quiet, warn
from avr.training import Engine

from ._course import EpochRow
from ._examples import MemoryExamples, free_bytes
from ._shared import moved_to_file, put_together, take_apart
from ._trainings import Material, Outcome, Task, as_tensor, train_task

OnRow = Callable[[Task, int, EpochRow], None]  # called with each epoch's log row and its number, counted from 1
Ended = tuple[Task, Outcome | AvrError]

ATTEMPTS = 3  # processes that a training may lose before it is given up
START_SECONDS = 4.0  # that a child takes to import torch
MUCH_FASTER = 0.8  # children are started where they take less than this share of the time
FLOPS = 1e11  # of a core, at most: what nothing has been measured of takes no less
CHILD_BYTES = 1e9  # of a child: what it imports, and a batch on its way
WEIGHT_BYTES = 20  # a weight's: itself, its gradient, two moments, and the best epoch's


def run_tasks(
    queue: list[Task], material: Material, engine: Engine, *, on_row: OnRow, device: str
) -> Generator[Ended, None, None]:
    """Do all trainings of a queue; yields each with what it gave, or its error, as it ends.

    Args:
        queue: trainings in order; whoever takes what is yielded may add to it and take from it.
        material: what they read; on Ray it lies on the CPU.
        engine: where.
        on_row: told of epochs. One that was told may come again, after a child was lost; Ray's tasks tell none.
        device: on Ray, as it was asked for: a GPU for each where the cluster has some, or "cuda", or "cpu".
    """
    if engine.name == "ray":
        yield from _on_ray(queue, material, engine, device=device)
        return
    seconds: float | None = None
    while queue:
        workers = _num_workers(queue, material, engine)
        if workers > 1 and (engine.workers or _pays(queue, material, workers, seconds)):
            note(f"{len(queue)} trainings, in {workers} processes side by side")
            yield from _in_children(queue, material, engine, workers, on_row=on_row)
            return
        task = queue.pop(0)
        outcome = _attempt(task, material, on_row=on_row)
        seconds = seconds if isinstance(outcome, AvrError) else outcome.seconds
        yield task, outcome


def _attempt(task: Task, material: Material, *, on_row: OnRow) -> Outcome | AvrError:
    """What a training gives; of what a user is meant to read the error, which then says which training it was."""
    rows = 0

    def count(row: EpochRow) -> None:
        nonlocal rows
        rows += 1
        on_row(task, rows, row)

    try:
        return train_task(task, material, count)
    except AvrError as error:
        return (UsageError if isinstance(error, UsageError) else WorkError)(f"{task.name}: {error}")


# --- side by side on this machine -------------------------------------------------------------------------------------
def _num_workers(queue: list[Task], material: Material, engine: Engine) -> int:
    """Children to train with: as many as asked for, else as have a core and memory each; 1 is none but this process."""
    if next(iter(material.parts.values())).device.type != "cpu":
        return 1
    if engine.workers:
        return min(engine.workers, len(queue))
    held = [part for part in material.parts.values() if isinstance(part, MemoryExamples)]
    largest = max((array.nbytes for part in held for array in part.arrays.values()), default=0)
    spare = free_bytes(torch.device("cpu")) - largest  # one array after the other is moved to where children see it
    room = spare // (CHILD_BYTES + WEIGHT_BYTES * max(task.weights for task in queue))
    cores = torch.get_num_threads() // min(task.threads for task in queue)
    return int(min(len(queue), cores, room))


def _pays(queue: list[Task], material: Material, workers: int, seconds: float | None) -> bool:
    """Whether children are much faster, each training taking so many seconds, or as many as it must take at least."""
    if seconds is None:
        task = queue[0]
        part = material.parts[task.part]
        samples = part.num_samples(task.videos, every_view=task.plan.training.views == "all")
        segments = max(shape[0] for shape in part.shapes.values())
        seconds = 6 * task.weights * segments * samples * task.epochs / FLOPS
    return START_SECONDS + -(-len(queue) // workers) * seconds < MUCH_FASTER * len(queue) * seconds


def _in_children(
    queue: list[Task], material: Material, engine: Engine, workers: int, *, on_row: OnRow
) -> Iterator[Ended]:
    """Trainings in children, watched; of one that dies another takes the place, and does its training again.

    Raises:
        WorkError: so many starts failed in a row that there is no child left.
    """
    lost: Counter[Task] = Counter()
    failed: list[WorkError] = []  # starts in a row
    held: dict[Child, Task] = {}
    fresh: list[Child] = []
    idle: list[Child] = []
    with ExitStack() as stack:
        data, tensors = take_apart(material)
        layout = [(stack.enter_context(moved_to_file(one)), one.numpy().dtype, tuple(one.shape)) for one in tensors]
        while queue or held:
            while queue and idle:
                child, task = idle.pop(), queue.pop(0)
                held[child] = task
                with suppress(OSError):  # one that died since is heard of below
                    child.pipe.send(task)
            if queue and not fresh and len(failed) < ATTEMPTS:
                under_way = [*queue, *held.values()]
                wanted = min(len(under_way), max(workers, _num_workers(under_way, material, engine)))
                with _noted(failed):
                    for _ in range(wanted - len(held)):
                        fresh.append(Child("a training process", "avr.heads._engines:serve"))
                        stack.callback(fresh[-1].close)
            if not held and not fresh:
                if len(failed) >= ATTEMPTS:
                    raise failed[-1]
                continue
            heard = wait([child.pipe for child in (*held, *fresh)]) if held else [fresh[0].pipe]
            for child in [child for child in (*held, *fresh) if child.pipe in heard]:
                if child in fresh:
                    fresh.remove(child)
                    with _noted(failed):
                        child.started()
                        failed.clear()
                        idle.append(child)
                        with suppress(OSError):
                            child.pipe.send((data, layout))
                    continue
                try:
                    number, said = child.pipe.recv()
                except (EOFError, OSError):
                    task, why = held.pop(child), child.ended()
                    lost[task] += 1
                    if lost[task] < ATTEMPTS:
                        warn(f"{task.name}: its process was lost ({why}); another begins it again")
                        queue.insert(0, task)
                        continue
                    yield task, WorkError(f"{task.name}: {ATTEMPTS} processes were lost on it, the last one: {why}")
                    continue
                if number:
                    on_row(held[child], number, said)
                else:
                    idle.append(child)
                    yield held.pop(child), said


@contextmanager
def _noted(failed: list[WorkError]) -> Iterator[None]:
    """Inside, a child that does not start is one of those that failed, and ends nothing."""
    try:
        yield
    except WorkError as error:
        failed.append(error)
        warn(f"{error}; the trainings go on without it")


def serve(pipe: Connection) -> None:
    """A child's side: features and then trainings come through the pipe; back go epochs and what each training gave."""

    def say(number: int, said: Any) -> None:
        try:
            pipe.send((number, said))
        except (BrokenPipeError, ConnectionResetError):  # the parent is gone
            os._exit(1)

    with suppress(EOFError, ConnectionResetError):
        data, layout = pipe.recv()
        arrays = (np.memmap(path, kind, "r", shape=shape) for path, kind, shape in layout)
        material = put_together(data, [as_tensor(array) for array in arrays])
        while True:
            task = pipe.recv()
            try:
                with quiet():
                    outcome = _attempt(task, material, on_row=lambda _, number, row: say(number, row))
            except Exception as error:
                traceback.print_exc()
                outcome = WorkError(f"{task.name}: {one_line(error)}")
            say(0, outcome)


# --- on Ray -----------------------------------------------------------------------------------------------------------
def _on_ray(queue: list[Task], material: Material, engine: Engine, *, device: str) -> Iterator[Ended]:
    """Trainings as tasks of Ray's, as many at once as it has cores for, or GPUs; it begins those again that are lost.

    Raises:
        UsageError: Ray is not installed, there is no cluster at the address, or it has no GPU where one was asked for.
    """
    ray = connect_ray(engine.address)
    gpus = device != "cpu" and ray.cluster_resources().get("GPU", 0) >= 1
    if device == "cuda" and not gpus:
        raise UsageError("device cuda: the cluster has no GPU; use --device cpu")
    most = int(max(node["Resources"].get("CPU", 1) for node in ray.nodes()))
    # A process may take one training after another (`max_calls`).
    work = ray.remote(num_gpus=int(gpus), max_calls=0, max_retries=ATTEMPTS - 1)(train_on_ray)
    data, tensors = take_apart(material)
    told = ray.put((data, [tensor.numpy() for tensor in tensors], Path.cwd(), "cuda" if gpus else "cpu"))
    for tensor in tensors:
        tensor.data = tensor.new_empty(0)  # Ray holds the values now
    running: dict[Any, Task] = {}
    note(f"{len(queue)} trainings on Ray" + (", a GPU each" if gpus else ""))
    try:
        while queue or running:
            # What waits is left in the queue, from which those of a run that fails are taken.
            room = engine.workers or int(ray.cluster_resources().get("GPU" if gpus else "CPU", 1))
            while queue and len(running) < max(1, room):
                task = queue.pop(0)
                cores = 1 if gpus else min(task.threads, most)
                running[work.options(num_cpus=cores).remote(told, task)] = task
            for ended in ray.wait(list(running), timeout=1.0)[0]:
                task = running.pop(ended)
                yield task, _of_ray(ray, ended, task)
    finally:
        for unfinished in running:
            ray.cancel(unfinished, force=True)


def _of_ray(ray: Any, ended: Any, task: Task) -> Outcome | AvrError:
    """What an ended task of Ray's gives."""
    try:
        outcome: Outcome | AvrError = ray.get(ended)
    except ray.exceptions.RayTaskError as error:
        return WorkError(f"{task.name}: {one_line(error.cause)}")
    except ray.exceptions.RayError as error:
        return WorkError(f"{task.name}: Ray lost its workers ({first_line(error)}); run again to go on")
    return outcome


def train_on_ray(told: tuple[bytes, list[NDArray], Path, str], task: Task) -> Outcome | AvrError:
    """A training, as a task of Ray's, which shows it its own GPU alone."""
    data, arrays, folder, device = told
    with suppress(*([WorkError] if arrays else [])):  # what is streamed from the store needs its folder
        go_to(folder)
    material = put_together(data, [as_tensor(array).to(device) for array in arrays])
    for part in material.parts.values():
        part.device = torch.device(device)
    if task.kept is not None and not task.kept.parents[3].is_dir():  # the run's folder is not on this machine
        task = replace(task, kept=None)
    with quiet():
        return _attempt(task, material, on_row=lambda *_: None)
