"""The fine-tuning loop, read from top to bottom: one global order, shared among processes, cut to fit the memory.

What it promises, and how:
    - the same seed gives the same weights on one machine: every draw is keyed (`draws.py`), torch's generator is seeded
      at each step, CUDA's algorithms are the deterministic ones;
    - a continued run equals an uninterrupted one: the state holds network, optimiser, schedule and counters, and the
      draws need none;
    - several processes train as one: each takes its part of the same global batch, and the loss is the mean over the
      whole of it. Batch norm is the exception unless its mode is sync or frozen (`batchnorm.py`);
    - an epoch's batches differ by one video at most: in a last batch of one, that video would weigh as much as a batch;
    - a loss or gradient that is not finite stops the run before it touches the weights.
"""

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avr.core import Progress, Stopped, WorkError, ahead, note, unbroken
from avr.heads import save_tensors
from avr.store import write_log
from avr.training import (
    Schedule,
    Training,
    build_optimizer,
    deterministic,
    read_state,
    restore_optimizer,
    write_state,
)

from .batchnorm import count_images
from .distributed import Processes
from .draws import cut, epoch_order, seed_for, share
from .networks import TunedNetwork
from .samples import VideoSamples
from .tuning import Tuning

LAST_GOOD = "last-good.safetensors"
STATE = "state.pt"

Piece = tuple[list[int], Any]  # videos of a batch that go through the network together, and what was read of them


@dataclass
class Fitted:
    """What a training went through: one row an epoch, and the loss of each step over its global batch."""

    history: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    finished: bool = False


class Loop:
    """One training, from its start or from the state it was left in.

    Args:
        network: what is trained, on the device.
        samples: the training videos; `read` is called in a thread, ahead of time.
        validate: loss of the validation part; None where there is no such part.
        folder: where `state.pt` and the log are written; None: nowhere.
        settings: what the training is, for the state; it is not continued with others.
    """

    def __init__(
        self,
        network: TunedNetwork,
        samples: VideoSamples,
        *,
        training: Training,
        tuning: Tuning,
        seed: int = 0,
        validate: Callable[[], float] | None = None,
        folder: Path | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.network, self.samples, self.validate, self.folder = network, samples, validate, folder
        self.training, self.tuning, self.seed = training, tuning, seed
        count, ids = len(samples.names), hashlib.sha256("\n".join(samples.names).encode()).hexdigest()
        # Draws go by a video's number: the same settings with other videos are another training.
        self.settings = {**(settings or {}), "videos": f"{count} ({ids[:12]})"}
        self.steps_per_epoch = math.ceil(count / min(training.batch_size or count, count))
        self.schedule = Schedule(training, self.steps_per_epoch)
        self.sums, self.fitted = [0.0, 0.0, 0.0], Fitted()  # loss, right and videos of the epoch
        self.best: dict[str, Tensor] = {}
        self.groups = network.groups(tuning.new_factor)
        self.optimizer: torch.optim.Optimizer  # made as a stage begins
        self.processes = Processes()

    def run(self, processes: Processes, *, stop_after: int | None = None) -> Fitted:
        """Train to the end, or leave after `stop_after` steps, as if interrupted.

        Raises:
            WorkError: the loss or its gradient is not finite; step and videos are named, the state on disk stays that
                of the last checkpoint before it, and its network is written beside it as `last-good.safetensors` where
                it has a `weights_prefix`.
        """
        self.processes = processes
        self._continue()
        until = math.inf if stop_after is None else self.schedule.step + stop_after
        if processes.first:
            note(f"{len(self.samples.names)} samples an epoch, {self.schedule.total_steps} steps at most")
        network = processes.wrap(self.network)
        with (
            deterministic(processes.device),
            Progress("fine-tune", total=self.schedule.total_steps, unit="steps") as progress,
        ):
            progress.advance(self.schedule.step)
            try:
                while not self.schedule.ended and self.schedule.step < until:
                    self._epoch(network, until=until, progress=progress)
            except Stopped:  # between two steps
                if self.schedule.step_of_epoch and self.schedule.epoch_left:
                    self._save()
                raise
        self.fitted.finished = self.schedule.ended
        if self.fitted.finished and self.best:
            self.network.load_state_dict(self.best)
        return self.fitted

    def _epoch(self, network: nn.Module, *, until: float, progress: Progress) -> None:
        """What is left of the epoch that the next step lies in."""
        began, schedule = time.monotonic(), self.schedule
        epoch, done = schedule.epoch, schedule.step_of_epoch
        if schedule.begins_stage:
            self._begin_stage()
        self.network.begin(self.tuning.batch_norm)
        order = epoch_order(self.seed, epoch, len(self.samples.names))
        batches = [share(order, number, self.steps_per_epoch) for number in range(self.steps_per_epoch)]
        todo = batches[done:][: int(min(schedule.epoch_left, until - schedule.step))]
        if done == 0:
            self.sums = [0.0, 0.0, 0.0]
        reading = ahead(partial(self._read, epoch), todo, depth=1)
        for batch, pieces in zip(todo, reading, strict=True):
            rate = schedule.rate()
            with unbroken():
                loss, right = self._step(network, batch, pieces, rate=rate)
                self.sums = [self.sums[0] + loss * len(batch), self.sums[1] + right, self.sums[2] + len(batch)]
                self.fitted.losses.append(loss)
                schedule.count_step()
            if not schedule.epoch_left:
                self._end_epoch(rate, seconds=time.monotonic() - began)
            elif self.tuning.save_every and schedule.step % self.tuning.save_every == 0:
                self._save()
            progress.advance(1, loss=f"{loss:.3f}", epoch=epoch + 1)

    def _read(self, epoch: int, batch: list[int]) -> list[Piece]:
        """This process's pieces of a global batch; runs in a thread, a batch ahead."""
        pieces = cut(batch, self.tuning.micro_batch, rank=self.processes.rank, world=self.processes.world)
        # A process without a video of its own goes along with the batch's first, which then counts nothing.
        return [(piece, self.samples.read(piece or batch[:1], epoch)) for piece in pieces]

    def _step(self, network: nn.Module, batch: list[int], pieces: list[Piece], *, rate: float) -> tuple[float, float]:
        """One optimiser step on a global batch; its mean loss, and how many were right."""
        processes, device = self.processes, self.processes.device
        for group, (_, factor) in zip(self.optimizer.param_groups, self.groups, strict=True):
            group["lr"] = rate * factor
        step = self.schedule.step
        torch.manual_seed(seed_for(self.seed, "step", step, processes.rank))
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(2, dtype=torch.float64)
        for number, (videos, raw) in enumerate(pieces):
            with processes.accumulating(network) if number < len(pieces) - 1 else nullcontext():
                inputs, labels = self.samples.prepare(raw, device)
                self.network.keys.set(step, videos or batch[:1])
                count_images(self.network, counted=bool(videos))
                with torch.autocast(device.type, torch.bfloat16, enabled=self.tuning.bf16 and processes.cuda):
                    outputs = network(inputs)
                loss = self.network.loss(outputs, labels)
                part = len(videos) / len(batch)
                # Gradients are averaged over the processes, so each one's share is scaled up by their number.
                torch.autograd.backward(loss * (part * processes.world))
            right = (self.network.prediction(outputs).argmax(1) == labels).sum()
            sums += torch.tensor([float(loss.detach()) * part, float(right) if videos else 0.0], dtype=torch.float64)
        whole, right = processes.total(sums.to(device)).tolist()
        self._check(batch, whole)
        self.optimizer.step()
        return whole, right

    def _check(self, batch: Sequence[int], loss: float) -> None:
        """Stop before the weights are touched when the loss or the gradient is not finite; clip the gradient."""
        parameters = [p for group, _ in self.groups for p in group if p.grad is not None]
        limit = self.training.clip_norm or math.inf
        norm = float(nn.utils.clip_grad_norm_(parameters, limit, foreach=None))
        if math.isfinite(loss) and math.isfinite(norm):
            return
        what = f"loss is {loss}" if not math.isfinite(loss) else f"gradient's norm is {norm} (loss {loss:.4g})"
        kept, videos = self._last_good(), ", ".join(self.samples.names[index] for index in batch)
        raise WorkError(
            f"step {self.schedule.step + 1}: the {what}; {kept}; try a smaller --lr or clip_norm; the batch's videos: "
            f"{videos}"
        )

    def _last_good(self) -> str:
        """What is left after a step that is not finite, in words. The state serves the same settings alone, so its
        network is also written as weights that a training with others can start from."""
        if self.folder is None:
            return "nothing was changed by it"
        state, weights = self.folder / STATE, self.folder / LAST_GOOD
        if not state.exists():
            return "no checkpoint was written before it"
        prefix = self.network.weights_prefix
        if prefix is None:
            return f"the last good checkpoint is {state}"
        if self.processes.first:
            # Not the network in memory: its batch norm has seen the batch already.
            tensors = (read_state(state, self.settings) or {})["network"]
            own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            save_tensors(weights, own, self.settings)
        return f"the last good checkpoint is {state}, its network {weights}, for --weights with another --out"

    def _begin_stage(self) -> None:
        """A stage begins with a fresh optimiser and, where there is a validation part, the best weights so far."""
        if self.best:
            self.network.load_state_dict(self.best)
        groups = [{"params": group} for group, _ in self.groups]
        self.optimizer = build_optimizer(groups, self.training)

    def _end_epoch(self, rate: float, *, seconds: float) -> None:
        row = {
            "epoch": self.schedule.epoch + 1,
            "rate": rate,
            "loss": self.sums[0] / self.sums[2],
            "accuracy": self.sums[1] / self.sums[2],
        }
        if self.validate is not None:
            # One process judges for all: running statistics may differ between them, and the rate must not.
            row["validation_loss"] = self.processes.agree(self.validate() if self.processes.first else 0.0)
        with unbroken():
            if self.schedule.end_epoch(row.get("validation_loss")):
                state = self.network.state_dict()
                self.best = {name: value.detach().cpu().clone() for name, value in state.items()}
            self.fitted.history.append({**row, "seconds": seconds})
            self._save()

    def _save(self) -> None:
        if self.folder is None or not self.processes.first:
            return
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state(),
            "best": self.best,
            "sums": self.sums,
            "history": self.fitted.history,
            "losses": self.fitted.losses,
        }
        write_state(self.folder / STATE, state, settings=self.settings)
        if self.fitted.history:
            write_log(self.folder, self.fitted.history)

    def _continue(self) -> None:
        reads = self.folder if self.processes.first else None
        state = self.processes.agree(read_state(reads / STATE, self.settings) if reads else None)
        if state is None:
            return
        self._begin_stage()
        self.network.load_state_dict(state["network"])
        restore_optimizer(self.optimizer, state["optimizer"])
        self.schedule.restore(state["schedule"])
        self.best, self.sums = state["best"], state["sums"]
        self.fitted = Fitted(state["history"], state["losses"])
