"""One process or several: the same training under `torchrun` as without it.

`torchrun --standalone --nproc-per-node 2 --no-python -- avr finetune backbone …` starts processes that find one
another through the environment it sets (`--`, so that it takes no option of avr's, such as --run, for its own). One
process is the same code with nobody to wait for.
"""

import inspect
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from avr.store import RunRecord, claim_run
from avr.training import choose_device

CPU = torch.device("cpu")
# torch 2.15 calls it by another name.
_NEW = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
_NO_BUFFERS: dict[str, Any] = {"forward_sync_buffers" if _NEW else "broadcast_buffers": False}


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is.

    Attributes:
        rank: number of this process among all machines', from 0.
        world: how many there are.
        local_rank: its number on this machine: the GPU it takes.
        local_world: how many there are on this machine.
        device: where this one trains.
        closing: what is to be given back when the processes part.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    device: torch.device = CPU
    closing: ExitStack = field(default_factory=ExitStack, compare=False, repr=False)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            dist.barrier()

    def total(self, values: Tensor) -> Tensor:
        """Sum of a tensor over all processes."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def agree(self, value: Any) -> Any:
        """The first process's value, in all of them."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in all of them."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    @property
    def cuda(self) -> bool:
        """Whether this one trains on a GPU."""
        return self.device.type == "cuda"

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network as it is called in training: with several processes its gradients are averaged over them."""
        if self.world == 1:
            return network
        return DistributedDataParallel(
            network,
            device_ids=[self.device.index] if self.cuda else None,
            # Running statistics of batch norm are not sent round at each step: process 0's are the ones written.
            **_NO_BUFFERS,
        )

    def accumulating(self, network: nn.Module) -> AbstractContextManager[None]:
        """Inside, the gradients of a wrapped network are added up here alone; the next backward pass averages them."""
        return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()


@contextmanager
def join_processes(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that torchrun started, if it did.

    "cuda" is a process's own GPU, by its number; "cuda:0" is one that all of them share, which brings no speed.

    Raises:
        UsageError: a device that is not there.
    """
    several = "RANK" in os.environ and "WORLD_SIZE" in os.environ
    local_rank, local_world = (int(os.environ.get(name, "0")) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    place = choose_device(device)
    shared = place.type == "cpu" or (place.index is not None and local_world > 1)
    if place.type == "cuda" and place.index is None:
        place = choose_device(f"cuda:{local_rank}")
    with ExitStack() as closing:
        if not several:
            yield Processes(device=place, closing=closing)
            return
        if place.type == "cuda":
            torch.cuda.set_device(place)
        if not dist.is_initialized():
            # NCCL takes one process a GPU. One may wait long for the others: while they fill their part of the cache.
            dist.init_process_group("gloo" if shared else "nccl", timeout=timedelta(days=7))
            closing.callback(dist.destroy_process_group)
        yield Processes(dist.get_rank(), dist.get_world_size(), local_rank, max(local_world, 1), place, closing)


def claim_together(out: Path | None, prefix: str, record: RunRecord, *, processes: Processes) -> Path:
    """The run's folder, as `avr.store.claim_run` finds it for the first process, which holds it until they part."""
    found = processes.closing.enter_context(claim_run(out, prefix, record)) if processes.first else None
    return Path(processes.agree(str(found)))
