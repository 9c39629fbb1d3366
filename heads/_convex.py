"""Training by the optimiser `lbfgs`: a linear layer on one vector a view is a convex problem, and is solved whole.

Multinomial logistic regression, mean cross-entropy + λ/2 ‖W‖² with free biases, by L-BFGS (Liu and Nocedal 1989;
scipy's L-BFGS-B). No learning rate, no order of videos: the weights are those of the one minimum.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avr.core import grouped_folds, possible_folds
from avr.training import Training

from ._base import Head
from ._course import EpochRow
from ._examples import Examples

FOLDS = 5  # inner ones, by which λ is chosen
ONE_FOLD_ABOVE = 2e9  # multiply-adds of a look at the data above which one fold is held out, not each in turn
STRONGEST, WEAKEST, STEP = 10**0.5, 1e-6, 10**-0.5  # the path of λ
PATIENCE = 2  # points of the path without a lower loss after which it ends
ROUGH, FINE = 1e-5, 1e-8  # a step lowers the loss by less than this share of it: the minimum is found
ALONE = 0.1  # λ where all videos are of one group, which nothing can be held out of


class Problem(NamedTuple):
    """Vectors `(R, D)` of R views, what their probabilities should be `(R, K)`, and the views' shares `(R,)` of 1."""

    vectors: Tensor
    targets: Tensor
    shares: Tensor

    def of(self, rows: Tensor) -> "Problem":
        """That of some views."""
        shares = self.shares[rows]
        return Problem(self.vectors[rows], self.targets[rows], shares / shares.sum())

    def measure(self, solution: Tensor) -> tuple[float, float]:
        """Mean cross-entropy and accuracy of weights and biases `(K, D + 1)`."""
        logs = torch.log_softmax(torch.addmm(solution[:, -1], self.vectors, solution[:, :-1].T), dim=1)
        right = logs.argmax(dim=1) == self.targets.argmax(dim=1)
        return -float(self.shares @ (logs * self.targets).sum(dim=1)), float(self.shares @ right.to(self.shares))

    def solve(self, decay: float, start: Tensor, *, most: int, within: float = FINE) -> tuple[Tensor, int]:
        """Weights and biases `(K, D + 1)` of the minimum, and the looks at the data it took.

        Args:
            decay: λ.
            start: where to begin.
            most: iterations.
            within: `ROUGH` or `FINE`.
        """
        from scipy.optimize import minimize

        wanted, shares = self.targets * self.shares[:, None], self.shares[:, None]

        def look(flat: NDArray) -> tuple[float, NDArray]:
            solution = torch.from_numpy(flat).to(start).view_as(start)
            weights, biases = solution[:, :-1], solution[:, -1]
            logs = torch.log_softmax(torch.addmm(biases, self.vectors, weights.T), dim=1)
            loss = -torch.sum(logs * wanted) + decay / 2 * weights.square().sum()
            off = logs.exp_().mul_(shares).sub_(wanted)  # (R, K)
            gradient = torch.cat([torch.addmm(decay * weights, off.T, self.vectors), off.sum(dim=0)[:, None]], dim=1)
            return float(loss), gradient.flatten().double().cpu().numpy()

        flat = start.flatten().double().cpu().numpy()
        told = {"maxiter": most, "ftol": within, "gtol": 100 * within}
        found = minimize(look, flat, jac=True, method="L-BFGS-B", options=told)
        return torch.from_numpy(found.x).to(start).view_as(start), int(found.nfev)


@torch.no_grad()
def solve(
    head: Head,
    examples: Examples,
    videos: NDArray,
    *,
    training: Training,
    groups: NDArray,
    seed: int,
    on_epoch: Callable[[EpochRow], None],
) -> list[EpochRow]:
    """Train a head that is linear layers, one a stream, each on one vector a view.

    Where λ (`weight_decay`) is 0, which has no minimum if the classes can be told apart, it is chosen: on a path from
    strong to weak, the one with the lowest cross-entropy of videos held out by grouped folds of the training videos.

    Args: as of `train`, the statistics set.

    Returns:
        The log: of each stream in turn a row a point of the path, with loss and accuracy of the videos that were
        trained on and of those held out ("validation"); then one of the whole training. `step` counts looks at the
        data.
    """
    started, rows = time.monotonic(), list[EpochRow]()

    def say(row: EpochRow) -> None:
        step = row["step"] + (rows[-1]["step"] if rows else 0)
        rows.append(row | {"step": step, "seconds": time.monotonic() - started})
        on_epoch(rows[-1])

    vectors, owner = gather(head, examples, videos)
    for stream, layer in head.linear_layers().items():
        mean, scale = moments(vectors[stream]) if training.standardise else (0.0, 1.0)
        problem = pose(head, examples, videos, owner, (vectors[stream] - mean) * scale)
        basis = None
        if len(problem.vectors) < problem.vectors.shape[1]:
            # Fewer views than channels: the minimum lies in their span, and a basis of it is shorter.
            basis, rotated = torch.linalg.qr(problem.vectors.T)
            problem = problem._replace(vectors=rotated.T.contiguous())
        start = problem.vectors.new_zeros((head.num_classes, problem.vectors.shape[1] + 1))
        decay, held_out = training.weight_decay, EpochRow()
        if not decay:
            parts = cut(problem, owner, labels=examples.labels[videos], groups=groups[videos], seed=seed)
            path = []
            for row in follow_path(parts, start, most=training.epochs):
                say(row)
                path.append(row)
            best = min(path, key=lambda row: row["validation_loss"], default=EpochRow(weight_decay=ALONE))
            decay, held_out = best["weight_decay"], {name: best[name] for name in best if name.startswith("validation")}
        solution, looks = problem.solve(decay, start, most=training.epochs)
        loss, accuracy = problem.measure(solution)
        say({"step": looks, "weight_decay": decay, "loss": loss, "accuracy": accuracy, **held_out})
        weights = (solution[:, :-1] if basis is None else solution[:, :-1] @ basis.T) * scale
        layer.load_state_dict({"weight": weights, "bias": solution[:, -1] - (weights * mean).sum(dim=1)})
    return rows


def gather(head: Head, examples: Examples, videos: NDArray) -> tuple[dict[str, Tensor], NDArray]:
    """What the layers read of every view of some videos, `(R, D)` by stream, and the place in `videos` of each view."""
    found = [
        (head.linear_inputs(head.standardise(head.keep(features))), owner) for features, owner in examples.views(videos)
    ]
    vectors = {stream: torch.cat([part[stream] for part, _ in found]) for stream in head.streams}
    return vectors, np.concatenate([owner for _, owner in found])


def moments(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale of each channel, `(D,)`, the deviation floored as `Head.set_statistics` has it."""
    deviation = vectors.std(dim=0, correction=0)
    return vectors.mean(dim=0), 1 / deviation.clamp_min(max(0.3 * float(deviation.square().mean().sqrt()), 1e-12))


def pose(head: Head, examples: Examples, videos: NDArray, owner: NDArray, vectors: Tensor) -> Problem:
    """The problem of some vectors, a video's views sharing its weight."""
    labels = torch.as_tensor(examples.labels[videos][owner]).to(vectors.device)
    smooth = head.label_smoothing
    targets = F.one_hot(labels, head.num_classes).to(vectors) * (1 - smooth) + smooth / head.num_classes
    shares = 1 / torch.as_tensor(examples.rows[videos][owner]).to(vectors)
    if head.class_weights is not None:
        shares *= head.class_weights[labels]
    return Problem(vectors, targets, shares / shares.sum())


def cut(
    problem: Problem, owner: NDArray, *, labels: NDArray, groups: NDArray, seed: int
) -> list[tuple[Problem, Problem]]:
    """What is trained on and what is held out, of each fold of the videos; none where all are of one group."""
    folds = possible_folds(groups, folds=FOLDS)
    if not folds:
        return []
    fold_of = grouped_folds(labels, groups=groups, folds=folds, seed=seed)[owner]
    costly = problem.vectors.numel() * problem.targets.shape[1] > ONE_FOLD_ABOVE
    parts = []
    for fold in range(1 if costly else folds):
        held = torch.as_tensor(fold_of == fold).to(problem.vectors.device)
        parts.append((problem.of(~held), problem.of(held)))
    return parts


def follow_path(parts: Sequence[tuple[Problem, Problem]], start: Tensor, *, most: int) -> Iterator[EpochRow]:
    """A row a point of the path, means over the parts, until the held-out loss falls no more; each point of a part
    starts from the one before."""
    solutions, decay, lowest, waited = [start] * len(parts), STRONGEST, np.inf, 0
    while parts and decay > WEAKEST and waited < PATIENCE:
        looks, figures = 0, []
        for number, (seen, held_out) in enumerate(parts):
            solutions[number], more = seen.solve(decay, solutions[number], most=most, within=ROUGH)
            looks += more
            figures.append((*seen.measure(solutions[number]), *held_out.measure(solutions[number])))
        loss, accuracy, held_out_loss, held_out_accuracy = np.mean(figures, axis=0)
        yield {
            "step": looks,
            "weight_decay": decay,
            "loss": loss,
            "accuracy": accuracy,
            "validation_loss": held_out_loss,
            "validation_accuracy": held_out_accuracy,
        }
        waited = 0 if held_out_loss < lowest else waited + 1
        lowest, decay = min(lowest, held_out_loss), decay * STEP
