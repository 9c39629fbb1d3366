"""The training loop, to be read from top to bottom.

statistics of the features → a validation part → for each epoch: steps, validation, log
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avr.core import UsageError, WorkError, validation_part
from avr.training import Schedule, Training, deterministic

from ._base import Head
from ._convex import solve
from ._course import Course, EpochRow
from ._examples import Batch, Examples
from ._predicting import evaluate

# Videos that the channel statistics are taken over, at most: enough for a mean, and a bound on one more pass over maps
# that stream from disk.
STATISTICS_VIDEOS = 2048
# Steps between looks at the losses on CUDA: each look waits for the GPU to catch up.
CUDA_CHECK_EVERY = 50
NIL = 1e-4  # an epoch's mean loss below which a stage has nothing more to learn
# Multiply-adds of a step's forward pass below which one CPU thread does it: splitting less costs more than it brings,
# and on a machine that others use too, many times more.
ONE_THREAD_BELOW = 1e8


@dataclass
class Trained:
    """What `train` gives: the log, one row an epoch, the steps taken, and the seconds a training like it takes.

    `seconds` leaves out what only the first step of a process pays (imports, kernels), so that it tells what the next
    training will cost.
    """

    rows: list[EpochRow] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0


def train(  # noqa: PLR0913 (all that a training is told, keyword-only)
    head: Head,
    examples: Examples,
    videos: NDArray,
    *,
    training: Training,
    groups: NDArray,
    names: NDArray,
    seed: int,
    on_epoch: Callable[[EpochRow], None] = lambda row: None,
    state: Path | None = None,
) -> Trained:
    """Train a head in place. One seed, machine and number of threads give the same weights, bitwise, even interrupted.

    Args:
        head: fresh; its weights and statistics are changed.
        examples: features and labels of M videos, on the device to train on.
        videos: indices of the training videos among the M.
        training: settings.
        groups, names: `(M,)` of each video its group, for the validation part, and its id, for messages.
        seed: of dropout, the order of videos, views and the validation part.
        on_epoch: called with each epoch's log row, those of before it was interrupted too.
        state: where the training's state is kept, about once a minute, and continued from; the caller removes it.

    Raises:
        UsageError: fewer than two training videos.
        WorkError: features or the loss are no number; says in which videos.
    """
    if len(videos) < 2:
        raise UsageError(f"a head trains on two videos at least; here the training part has {len(videos)}")
    device = examples.device
    course = Course(head.to(device), training, np.random.default_rng(seed))
    videos, held_out = hold_out(examples, videos, groups=groups, share=training.validation, seed=seed)
    set_loss(head, training, examples.labels[videos], device)
    course.schedule = schedule = course_of(training, examples, videos)
    with deterministic(device, seed=seed, threads=num_threads(head, examples, videos, training)):
        if not course.go_on(state, device) and not head.keeps_statistics:
            set_statistics(head, examples, videos, course.generator, names=names, standardise=training.standardise)
        if training.optimizer == "lbfgs" and training.epochs and head.linear_layers():
            rows = solve(head.eval(), examples, videos, training=training, groups=groups, seed=seed, on_epoch=on_epoch)
            return Trained(rows, time.monotonic() - course.started, int(rows[-1]["step"]))
        for row in course.rows:
            on_epoch(row)
        told: dict[str, Any] = {"batch_size": training.batch_size, "every_view": training.views == "all"}
        while not schedule.ended:
            if schedule.begins_stage:
                course.begin_stage()
            drawn = examples.epoch(videos, generator=course.generator, **told)
            row, first = run_epoch(head, course.optimizer, drawn, schedule, training=training, names=names)
            course.warm = course.warm or first
            if len(held_out):
                row |= evaluate(head, examples, held_out, names=names)
            course.end_epoch(row)
            on_epoch(row)
            course.keep(state, device)
        if course.best:
            head.load_state_dict(course.best)
    head.eval()
    seconds = (time.monotonic() - course.warm) * schedule.step / max(schedule.step - 1, 1)
    return Trained(course.rows, seconds, schedule.step)


def set_loss(head: Head, training: Training, labels: NDArray, device: torch.device) -> None:
    """Tell a head the smoothing and, by its training videos' labels, the class weights of its cross-entropy."""
    head.label_smoothing = training.label_smoothing
    if training.class_weights == "balanced":  # classes that are there weigh alike, and a video 1 on average
        counts = np.bincount(labels, minlength=head.num_classes)
        weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
        head.class_weights = torch.as_tensor(weights, dtype=torch.float32, device=device)


def num_threads(head: Head, examples: Examples, videos: NDArray, training: Training) -> int:
    """CPU threads that a training uses: one where a step is small, else (0) as many as torch has."""
    weights = sum(parameter.numel() for parameter in head.parameters())
    segments = 1 if training.optimizer == "lbfgs" else max(shape[0] for shape in examples.shapes.values())
    at_once = training.batch_size or examples.num_samples(videos, every_view=training.views == "all")
    return 1 if weights * segments * at_once < ONE_THREAD_BELOW else 0


def run_epoch(
    head: Head,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Batch],
    schedule: Schedule,
    *,
    training: Training,
    names: NDArray,
) -> tuple[EpochRow, float]:
    """An epoch, or what is left of its stage: its log row, and the time when its first step was done."""
    meter, first = Meter(names, first_step=schedule.step), 0.0
    head.train()
    for batch in batches:
        optimizer.param_groups[0]["lr"] = rate = schedule.rate()
        take_step(head, optimizer, batch, meter, training)
        first = first or time.monotonic()
        schedule.count_step()
        if not schedule.stage_left:
            break
    row = {"step": schedule.step, "lr": rate, **meter.close()}
    schedule.nothing_left |= row["loss"] < NIL
    return row, first


def hold_out(
    examples: Examples, videos: NDArray, *, groups: NDArray, share: float, seed: int
) -> tuple[NDArray, NDArray]:
    """The training videos without the validation part, and that part: whole groups, none where the share is 0."""
    if not share:
        return videos, videos[:0]
    apart = validation_part(examples.labels[videos], groups=groups[videos], share=share, seed=seed)
    return videos[~apart], videos[apart]


def course_of(training: Training, examples: Examples, videos: NDArray) -> Schedule:
    """The schedule of a training on some videos."""
    samples = examples.num_samples(videos, every_view=training.views == "all")
    return Schedule(training, max(math.ceil(samples / training.batch_size), 1) if training.batch_size else 1)


def take_step(head: Head, optimizer: torch.optim.Optimizer, batch: Batch, meter: "Meter", training: Training) -> None:
    """One optimiser step on one batch."""
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cuda", torch.bfloat16, enabled=training.bf16 and batch.labels.is_cuda):
        outputs = head(batch.features)
        loss = head.loss(outputs, batch.labels)
    # Looked at before the step: weights that a NaN has gone through are lost.
    meter.add(loss.detach(), outputs[head.prediction].detach(), batch)
    torch.autograd.backward(loss)
    if training.clip_norm:
        nn.utils.clip_grad_norm_(head.parameters(), training.clip_norm)
    optimizer.step()


class Meter:
    """Loss and accuracy of an epoch, kept on the device, and the watch for a loss that is no number."""

    def __init__(self, names: NDArray, *, first_step: int) -> None:
        self.names, self.first_step = names, first_step
        self.losses: list[Tensor] = []
        self.right: list[Tensor] = []
        self.batches: list[NDArray] = []
        self.checked = 0

    def add(self, loss: Tensor, scores: Tensor, batch: Batch) -> None:
        """Count one batch; on CUDA the losses are looked at every 50 steps, elsewhere at each."""
        self.losses.append(loss)
        self.right.append((scores.argmax(dim=1) == batch.labels).sum())
        self.batches.append(batch.videos)
        if not loss.is_cuda or len(self.losses) - self.checked >= CUDA_CHECK_EVERY:
            self.check()

    def check(self) -> None:
        """Stop at the first loss that is no number.

        Raises:
            WorkError: naming the step, counted from 1, and the batch's videos.
        """
        finite = [math.isfinite(loss) for loss in torch.stack(self.losses[self.checked :]).tolist()]
        if not all(finite):
            bad = self.checked + finite.index(False)
            videos = ", ".join(str(name) for name in self.names[self.batches[bad]])
            raise WorkError(
                f"the loss is {float(self.losses[bad])} at step {self.first_step + bad + 1}: lower --lr, or look for "
                f"damaged features (avr store verify) among its videos: {videos}"
            )
        self.checked = len(self.losses)

    def close(self) -> EpochRow:
        """Mean loss over the epoch's videos and the share of them that was classified right, as it went."""
        if self.checked < len(self.losses):
            self.check()
        counts = np.array([len(videos) for videos in self.batches])
        losses = torch.stack(self.losses).float().cpu().numpy()
        right = int(torch.stack(self.right).sum())
        return {"loss": float(losses @ counts / counts.sum()), "accuracy": right / int(counts.sum())}


@torch.no_grad()
def set_statistics(
    head: Head,
    examples: Examples,
    videos: NDArray,
    generator: np.random.Generator,
    *,
    names: NDArray,
    standardise: bool = True,
) -> None:
    """Give a head mean and deviation of each channel over (at most 2048 of) the training videos, every view.

    Not where it neither is to standardise nor needs them.

    Raises:
        WorkError: features that are no numbers; names their videos.
    """
    if not standardise and not head.needs_statistics:
        return
    if len(videos) > STATISTICS_VIDEOS:
        videos = np.sort(generator.choice(videos, STATISTICS_VIDEOS, replace=False))
    views = int(examples.rows[videos].sum())
    for stream in head.streams:
        mean, square = torch.zeros(()), torch.zeros(())
        for (means, variances), owner in examples.read_moments(stream, videos):
            bad = ~torch.isfinite(means).all(dim=1)
            if bad.any():
                listed = ", ".join(dict.fromkeys(map(str, names[videos[owner[bad.cpu().numpy()]]])))
                what = f"{stream} features hold values that are no numbers"
                raise WorkError(f"{what}; extract these videos again: {listed}")
            mean = mean + means.double().sum(dim=0) / views
            square = square + (means.double().square() + variances).sum(dim=0) / views
        deviation = (square - mean.square()).clamp_min(0).sqrt().float()
        head.set_statistics(stream, mean.float(), deviation, standardise=standardise)
