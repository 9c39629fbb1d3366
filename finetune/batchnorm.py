"""What batch norm does while a network is fine-tuned.

local     each process normalises with its own part of the batch (and each piece of it, when gradients are
          accumulated): what the papers do; two processes then do not train exactly as one
sync      statistics over the whole global batch, on any device: two processes train as one
partial   statistics fixed in all layers but the network's first (TSN, Wang et al. 2016, sec. 3.2); the weights
          still learn
frozen    statistics fixed in all layers: two processes train as one
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from .tuning import Mode


class SyncedBatchNorm(nn.Module):
    """Batch norm over the batches of all processes, by differentiable sums; torch's own runs on CUDA alone.

    Shares the parameters and running statistics of the layer it stands for, so its state has the same names. `share` is
    what this process's images count for in the statistics: 1, or 0 where they only stand in (`count_images`).
    """

    def __init__(self, layer: _BatchNorm) -> None:
        super().__init__()
        self.eps, self.momentum, self.share = layer.eps, layer.momentum, 1.0
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean: Tensor | None
        self.running_var: Tensor | None
        self.num_batches_tracked: Tensor | None
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(layer, name))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `(B, C, …)` over all but C."""
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        values = x.to(torch.promote_types(x.dtype, torch.float32))  # statistics of bfloat16 are too coarse
        dims = [0, *range(2, x.dim())]
        count = _summed(values.new_full((1,), self.share * x.numel() / x.shape[1]))
        mean = _summed(self.share * values.sum(dims)) / count
        # Two passes: the mean of squares less the squared mean loses float32's digits where the mean is large.
        shape = (1, -1, *[1] * (x.dim() - 2))
        centred = values - mean.view(shape)
        variance = _summed(self.share * centred.square().sum(dims)) / count
        self._remember(mean.detach(), variance.detach(), float(count))
        normed = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor, count: float) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        # momentum None asks for a cumulative average, as in torch.
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance * count / max(count - 1, 1), weight)


class _Summed(torch.autograd.Function):
    """A tensor's sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _summed(x: Tensor) -> Tensor:
    alone = not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1
    return x if alone else _Summed.apply(x)  # type: ignore[no-untyped-call]


def set_mode(network: nn.Module, mode: Mode) -> None:
    """Make a network's batch norm follow `mode`; the rest of the network goes to training. Call it before each epoch.

    It is changed in place where `sync` replaces layers; state keys stay as they were.
    """
    network.train()
    if mode == "sync":
        for module in list(network.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, _BatchNorm):
                    setattr(module, name, SyncedBatchNorm(child).train())
    layers = [module for module in network.modules() if isinstance(module, (_BatchNorm, SyncedBatchNorm))]
    for layer in layers[1 if mode == "partial" else 0 :] if mode in ("partial", "frozen") else []:
        layer.eval()


def count_images(network: nn.Module, *, counted: bool) -> None:
    """Say whether the next forward pass counts in synced statistics. A process without a video of its own goes along
    with another's, which must not count twice."""
    for module in network.modules():
        if isinstance(module, SyncedBatchNorm):
            module.share = float(counted)
