"""The optimisers by name. A new one is one line of the table here; command lines and their help find it there."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

    from .settings import Training


class Optimizer(NamedTuple):
    """One optimiser.

    Attributes:
        kind: its class in `torch.optim`, by name: the table is read where torch is not loaded.
        reads: what it takes from `Training`, beside `lr`.
        fused: whether it has a fused kernel on CUDA.
    """

    kind: str
    reads: tuple[str, ...] = ("weight_decay",)
    fused: bool = True


OPTIMIZERS: dict[str, Optimizer] = {
    "adamw": Optimizer("AdamW"),
    "sgd": Optimizer("SGD", ("momentum", "weight_decay")),
    "rmsprop": Optimizer("RMSprop", fused=False),
    "adam": Optimizer("Adam"),
}


def build_optimizer(
    parameters: "Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]]", training: "Training", *, cuda: bool
) -> "torch.optim.Optimizer":
    """The optimiser a training names, for parameters or groups of them. The loop sets its learning rate at each step.

    On CUDA a step is one fused kernel, where there is one: a head of 90 M parameters is otherwise bound by launches.
    """
    import torch

    known = OPTIMIZERS[training.optimizer]
    options: dict[str, Any] = {name: getattr(training, name) for name in known.reads}
    if known.fused:
        options["fused"] = cuda
    made: torch.optim.Optimizer = getattr(torch.optim, known.kind)(parameters, lr=training.lr, **options)
    return made
