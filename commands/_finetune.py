"""Options that both fine-tuning commands take, and the settings they make."""

from collections.abc import Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from avr.finetune import Tuning
    from avr.heads import Training

F = TypeVar("F", bound=Callable[..., Any])
# Named alike in `avr.heads.Training`; not given, they keep what the command's defaults or --paper say.
TRAINING = ("epochs", "batch_size", "optimizer", "lr", "weight_decay", "schedule", "validation")
# Of heads on a store; here there is another way, or none.
UNREAD = {
    "standardise": "the features' standardisation stays that of the head's training",
    "bf16": "give --bf16 or --no-bf16",
    "views": "an epoch draws one view a video",
}
TUNING = (
    *("augmentation", "mirror", "dropout", "batch_norm", "new_factor"),
    *("micro_batch", "recompute", "bf16", "compile", "save_every"),
)


def training_options(function: F) -> F:
    """Optimiser, schedule and length."""
    options = [
        click.option("--epochs", type=int, help="Passes over the training videos."),
        click.option("--batch-size", type=int, metavar="VIDEOS", help="Videos a step, of all processes together."),
        click.option("--lr", type=float, help="Learning rate."),
        click.option("--optimizer", type=click.Choice(["adamw", "sgd", "rmsprop", "adam"])),
        click.option("--schedule", type=click.Choice(["constant", "cosine", "step", "plateau", "two-stage"])),
        click.option("--weight-decay", type=float),
        click.option("--validation", type=float, metavar="SHARE", help="Share of the training videos, whole groups."),
        click.option(
            "--set",
            "training",
            multiple=True,
            metavar="NAME=VALUE",
            help="Any other training setting, such as momentum=0.9, patience=3 or clip_norm=5; repeat.",
        ),
    ]
    return _apply(options, function)


def sample_options(*, batch_norm: str, new_factor: float) -> Callable[[F], F]:
    """Augmentation and what the layers do in training."""
    options = [
        click.option(
            "--augmentation",
            type=click.Choice(["corners", "random-resized", "jitter", "centre"]),
            default="corners",
            show_default=True,
            help="How crops are drawn: STFN's corners, GLKA's random-resized, scale jitter.",
        ),
        click.option("--mirror/--no-mirror", default=True, show_default=True, help="Mirror half of the samples."),
        click.option("--dropout", type=float, help="Of the backbone.  [default: its own]"),
        click.option(
            "--batch-norm",
            type=click.Choice(["local", "sync", "partial", "frozen"]),
            default=batch_norm,
            show_default=True,
            help="Statistics of a process's batch, of the whole batch, fixed but for the first layer, fixed.",
        ),
        click.option(
            "--new-factor",
            default=new_factor,
            show_default=True,
            help="Factor on the classifier's (head's) rate.",
        ),
    ]
    return lambda function: _apply(options, function)


def machine_options(function: F) -> F:
    """Memory and speed."""
    options = [
        click.option("--micro-batch", default=0, show_default=True, help="Videos at once; gradients are added up."),
        click.option("--recompute", is_flag=True, help="End to end: hold one video's activations only."),
        click.option("--bf16/--no-bf16", default=True, show_default=True, help="bfloat16 on CUDA."),
        click.option("--compile", is_flag=True, help="torch.compile the backbones; not worth it on a CPU."),
        click.option("--save-every", default=0, show_default=True, metavar="STEPS", help="State also every so often."),
    ]
    return _apply(options, function)


def _apply(options: Sequence[Callable[[Any], Any]], function: F) -> F:
    for option in reversed(options):
        function = option(function)
    return function


def training_of(options: MutableMapping[str, Any], base: "Training | None") -> Any:
    """Take the training's options out: settings changed from `base`, or without a base the changes alone.

    Raises:
        UsageError: unknown setting or value, or a setting that fine-tuning does not read.
    """
    from avr.core import UsageError
    from avr.training import read_training

    changes: dict[str, object] = {}
    for text in options.pop("training"):
        name, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"--set {text}: write NAME=VALUE")
        if name in UNREAD:
            raise UsageError(f"--set {name}: fine-tuning does not read it ({UNREAD[name]})")
        changes[name] = value
    given = {name: options.pop(name) for name in TRAINING}
    changes |= {name: value for name, value in given.items() if value is not None}
    return changes if base is None else read_training(base, changes)


def tuning_of(options: MutableMapping[str, Any]) -> "Tuning":
    """Take the other settings out."""
    from avr.finetune import Tuning

    return Tuning(**{name: options.pop(name) for name in TUNING})
