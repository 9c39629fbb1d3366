"""What training a head costs on a CPU: CPU seconds of one thread, beside a floor and beside the plain form.

    python benchmarks/heads.py                          # every head at HMDB51's size, about five minutes
    python benchmarks/heads.py --heads stfn linear      # some
    python benchmarks/heads.py --quick                  # seconds, at toy sizes: shows that it runs

A step is timed at the command's own batch (as an epoch of so many videos), after one of the same shape, and counted as
often as an epoch of 3 570 videos has steps. `pooled` is 7 × 2048 a stream, `map` 12 × 512×7×7, random and in memory.

floor: the step's multiplications and additions (counted by torch) at the rate of a 2048³ product, and 28 bytes a
weight, which AdamW reads and writes, at the rate of a copy; both measured beside the head.
plain: torch's own layers and order, which avr's forms are equal to: features standardised and narrowed whole, then
averaged, at every step; Res-Inc by Conv1d; an optimiser step of a loop over tensors; statistics by a float64 copy. Same
seed, same batches. The last columns say how far apart the two forms' losses of the first step are, and their scores by
the same trained weights.

The papers' sizes of frame-attention and temporal-pyramid take hours an epoch: steps of two videos and few segments are
timed and drawn out in a straight line. `linear` is trained whole: 3 570 videos, 30 epochs, with five folds.
"""

import argparse
import contextlib
import dataclasses
import statistics
import time
from collections.abc import Iterator
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from avr.core import grouped_folds, item_names
from avr.heads import Head, MemoryExamples, build_head, head_class, predict, train
from avr.heads.stfn import SameConv

VIDEOS, CLASSES, WEIGHT_BYTES = 3570, 51, 28
MAPS = {"rgb": (8, 512, 9, 9), "flow": (8, 512, 9, 9)}  # of SqueezeNet at 144 pixels
REDUCED = {
    "frame-attention": {"reduce": 32, "size": 6, "fc6_width": 128, "hidden": 64},
    "temporal-pyramid": {"reduce": 16, "hidden": 64},
}


@dataclasses.dataclass
class Steps:
    """Steps of one training after the first: CPU and wall seconds of each, losses of all, and the head."""

    cpu: list[float]
    wall: list[float]
    losses: list[float]
    head: Head
    examples: MemoryExamples


# --- the plain form ---------------------------------------------------------------------------------------------------


def plain_call(head: Head, features: dict[str, Tensor]) -> dict[str, Tensor]:
    """Standardised and narrowed as a whole first; averaged then."""
    maps = {}
    for stream in head.streams:
        maps[stream] = Head._standardise(head, stream, features[stream])
        weight = getattr(head.narrow[stream], "weight", None) if stream in getattr(head, "narrow", {}) else None
        if weight is not None:
            maps[stream] = torch.einsum("dc,bnchw->bndhw", weight, maps[stream])
    return head.forward(head.keep(maps))


def plain_convolution(layer: SameConv, sequence: Tensor) -> Tensor:
    """Res-Inc's convolution by torch's, `(N, B, D)` in and out."""
    (kernel,) = layer.conv.kernel_size
    padded = F.pad(sequence.permute(1, 2, 0), ((kernel - 1) // 2, kernel // 2))
    normed: Tensor = layer.norm(layer.conv(padded))
    return normed.permute(2, 0, 1)


def plain_optimizer(parameters: object, training: object) -> torch.optim.Optimizer:
    """AdamW, tensor by tensor; all heads' commands have it."""
    return torch.optim.AdamW(parameters, lr=training.lr, weight_decay=training.weight_decay)


@torch.no_grad()
def plain_statistics(head: Head, examples: MemoryExamples, videos: np.ndarray, generator: object, **_: object) -> None:
    """Sums over a float64 copy, channels first."""
    if len(videos) > 2048:
        videos = np.sort(generator.choice(videos, 2048, replace=False))
    sums = {stream: [0, 0.0, 0.0] for stream in head.streams}
    for features, _owner in examples.views(videos):
        for stream, (count, total, squares) in sums.items():
            array = features[stream]
            channels = array.movedim(2 if array.dim() == 5 else -1, 0).flatten(1).double()
            sums[stream] = [count + channels.shape[1], total + channels.sum(1), squares + channels.square().sum(1)]
    for stream, (count, total, squares) in sums.items():
        mean = total / count
        head.set_statistics(stream, mean.float(), (squares / count - mean.square()).clamp_min(0).sqrt().float())


@contextlib.contextmanager
def plain_form() -> Iterator[None]:
    """Inside, trainings take the plain form."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(Head, "__call__", plain_call))
        stack.enter_context(mock.patch.object(SameConv, "forward", plain_convolution))
        for module in ("layers.fusion3d", "temporal_pyramid"):
            stack.enter_context(mock.patch(f"avr.heads.{module}.narrow_last", lambda volume: volume))
        stack.enter_context(mock.patch("avr.heads._course.build_optimizer", plain_optimizer))
        stack.enter_context(mock.patch("avr.heads._loop.set_statistics", plain_statistics))
        yield


# --- trainings --------------------------------------------------------------------------------------------------------


def draw(shapes: dict[str, tuple[int, ...]], videos: int) -> MemoryExamples:
    """Random features in memory."""
    random = torch.Generator().manual_seed(0)
    arrays = {s: torch.randn((videos, *shape), generator=random).half() for s, shape in shapes.items()}
    return MemoryExamples(arrays, np.ones(videos), np.arange(videos) % CLASSES, device=torch.device("cpu"))


def train_head(
    name: str, shapes: dict, options: dict, examples: MemoryExamples, videos: np.ndarray, *, epochs: int
) -> Steps:
    """A training with the command's settings, an epoch of which is a step where there are no more videos than fit."""
    clock: list[tuple[float, float]] = []
    losses: list[float] = []
    torch.manual_seed(0)
    head = build_head(name, shapes, CLASSES, options=options)

    def on_epoch(row: dict[str, float]) -> None:
        clock.append((time.process_time(), time.perf_counter()))
        losses.append(row["loss"])

    training = dataclasses.replace(head_class(name).defaults, epochs=epochs, min_steps=0, optimizer="adamw")
    names = np.arange(len(examples.labels)).astype(str)
    train(head, examples, videos, training=training, groups=names, names=names, seed=0, on_epoch=on_epoch)
    cpu, wall = (np.diff([moment[kind] for moment in clock]).tolist() for kind in (0, 1))
    return Steps(cpu, wall, losses, head, examples)


def time_steps(name: str, shapes: dict, options: dict, batch: int, *, steps: int, plain: bool = False) -> Steps:
    """So many steps at a batch, after one."""
    examples = draw(shapes, batch)
    if not plain:
        examples = examples.kept(build_head(name, shapes, CLASSES, options=options))
    with plain_form() if plain else contextlib.nullcontext():
        return train_head(name, shapes, options, examples, np.arange(batch), epochs=1 + steps)


def count_flops(made: Steps, batch: int) -> float:
    """Floating-point operations of a step, both ways; of Res-Inc Conv1d's, products with padding included."""
    with mock.patch.object(SameConv, "forward", plain_convolution), FlopCounterMode(display=False) as counter:
        outputs = made.head.train()(made.examples.arrays)
        made.head.loss(outputs, torch.arange(batch) % CLASSES).backward()
    return float(counter.get_total_flops())


def machine_rates(side: int = 2048) -> tuple[float, float]:
    """Operations a second of a product side³, bytes a second that a copy reads and writes; the best of five."""
    one, other = torch.randn(side, side), torch.randn(side, side)
    large = torch.randn(16 * side * side)
    target = torch.empty_like(large)

    def best(work: object) -> float:
        taken = []
        for _ in range(5):
            started = time.process_time()
            work()
            taken.append(time.process_time() - started)
        return min(taken)

    return 2 * side**3 / best(lambda: one @ other), 2 * large.nbytes / best(lambda: target.copy_(large))


# --- rows of the tables -----------------------------------------------------------------------------------------------


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.4g} ({min(values):.4g}–{max(values):.4g})"


def scores_apart(made: Steps) -> float:
    """Largest difference of probabilities by the two forms, of a trained head."""
    videos = np.arange(min(64, len(made.examples.labels)))
    ours = predict(made.head, made.examples, videos)
    with plain_form():
        theirs = predict(made.head, draw(made.head.shapes, len(made.examples.labels)), videos)
    return max(float(np.abs(np.exp(ours[name]) - np.exp(theirs[name])).max()) for name in ours)


def compare(name: str, shapes: dict, options: dict, *, steps: int, batch: int = 0) -> None:
    """A row: a head's step beside its floor and its plain form."""
    rate, copied = machine_rates(128 if batch else 2048)
    batch = batch or head_class(name).defaults.batch_size or 128
    ours = time_steps(name, shapes, options, batch, steps=steps)
    theirs = time_steps(name, shapes, options, batch, steps=steps, plain=True)
    an_epoch = -(-VIDEOS // batch)
    weights = sum(parameter.numel() for parameter in ours.head.parameters())
    apart = f"{abs(ours.losses[0] - theirs.losses[0]):.0e}", f"{scores_apart(ours):.0e}"
    floor = count_flops(ours, batch) / rate + WEIGHT_BYTES * weights / copied
    middle = statistics.median(ours.cpu)
    cells = [
        name + (" " + " ".join(f"{option}={value}" for option, value in options.items()) if options else ""),
        ", ".join(f"{stream} {'×'.join(map(str, shape))}" for stream, shape in shapes.items()),
        f"{weights / 1e6:.1f} M",
        f"{an_epoch} × {spread(ours.cpu)} = {an_epoch * middle:.3g}",
        spread(ours.wall),
        f"{an_epoch * floor:.3g} at {rate / 1e9:.0f}",
        f"{middle / floor:.2f}",
        spread(theirs.cpu),
        f"{statistics.median(theirs.cpu) / middle:.2f}",
        *apart,
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


def extrapolate(name: str, *, segments: tuple[int, int]) -> None:
    """A row: a head at its paper's size, by two steps of two videos and few segments."""
    full = head_class(name).paper_shapes
    found = []
    for few in segments:
        shapes = {stream: (few, *shape[1:]) for stream, shape in full.items()}
        rate, copied = machine_rates()
        made = time_steps(name, shapes, {}, 2, steps=1)
        weights = sum(parameter.numel() for parameter in made.head.parameters())
        found.append((2 * few, made.cpu[0], count_flops(made, 2) / rate, WEIGHT_BYTES * weights / copied))
    (one, first, _, _), (other, second, product, copying) = found
    batch = head_class(name).defaults.batch_size
    steps, whole = -(-VIDEOS // batch), batch * next(iter(full.values()))[0]
    step = first + (second - first) / (other - one) * (whole - one)
    floor = product * whole / other + copying
    shown = " and ".join(f"2 × {items // 2} segments {taken:.2f}" for items, taken, _, _ in found)
    reads = ", ".join(f"{stream} {'×'.join(map(str, shape))}" for stream, shape in full.items())
    print(
        f"| {name} | {reads} | {shown} | {steps} × {step:.0f} = {steps * step:.0f} | {steps * floor:.0f} |", flush=True
    )


def fold_linear(videos: int, epochs: int) -> None:
    """`linear` with five folds, from its features in memory to all scores, both forms."""
    shapes = {"rgb": (7, 2048)}
    examples = draw(shapes, videos)
    folds = grouped_folds(examples.labels, groups=np.arange(videos) // 7, folds=5, seed=0)
    parts = [np.arange(videos)] + [np.flatnonzero(folds != fold) for fold in range(5)]

    def run(*, plain: bool) -> tuple[float, list[dict[str, np.ndarray]]]:
        started = time.process_time()
        read = examples if plain else examples.kept(build_head("linear", shapes, CLASSES))
        with plain_form() if plain else contextlib.nullcontext():
            scores = []
            for part in parts:
                made = train_head("linear", shapes, {}, read, part, epochs=epochs)
                scores.append(predict(made.head, read, np.setdiff1d(np.arange(videos), part)))
        return time.process_time() - started, scores[1:]

    (ours, found), (theirs, expected) = run(plain=False), run(plain=True)
    apart = max(float(np.abs(np.exp(a["rgb"]) - np.exp(b["rgb"])).max()) for a, b in zip(found, expected, strict=True))
    print(
        f"\nlinear, {videos} videos of 7 × 2048, {epochs} epochs, itself and five folds, with scores: {ours:.2f} CPU "
        f"s; plain {theirs:.2f}, {theirs / ours:.2f} times; probabilities {apart:.0e} apart"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", nargs="*", default=item_names("avr.heads"))
    parser.add_argument("--steps", type=int, default=5, help="timed of each form")
    parser.add_argument("--quick", action="store_true", help="toy sizes: shows that it runs, measures nothing")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    quick, steps = chosen.quick, 1 if chosen.quick else chosen.steps
    layers = {"pooled": (7, 2048), "map": (12, 512, 7, 7)} if not quick else {"pooled": (4, 16), "map": (2, 8, 3, 3)}
    print("CPU seconds of one thread, median (range); floor at so many GFLOP/s\n")
    columns = "head|reads|weights|epoch: steps × CPU s|step, wall s|floor, s an epoch|step/floor|plain step, CPU s"
    print("| " + " | ".join([*columns.split("|"), "plain/step", "loss apart", "probabilities apart"]) + " |")
    print("|---" * 11 + "|")
    for name in chosen.heads:
        streams = ("rgb", "flow") if head_class(name).joint else ("rgb",)
        maps = dict.fromkeys(MAPS, (2, 8, 4, 4)) if quick else MAPS
        shapes = maps if name in REDUCED else dict.fromkeys(streams, layers[head_class(name).reads["*"]])
        compare(name, shapes, REDUCED.get(name, {}), steps=steps, batch=4 if quick else 0)
    large = [] if quick else [name for name in chosen.heads if name in REDUCED]
    if large:
        print("\n| head | its paper's size | CPU s of a step | drawn out: an epoch, CPU s | floor |")
        print("|---" * 5 + "|")
    for name in large:
        extrapolate(name, segments=(1, 2))
    if "linear" in chosen.heads:
        fold_linear(70 if quick else VIDEOS, 2 if quick else head_class("linear").defaults.epochs)


if __name__ == "__main__":
    main()
