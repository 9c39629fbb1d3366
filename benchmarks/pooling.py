"""What a linear head should read of a video's segments, and what it should train on: by inner folds of training parts.

    python benchmarks/pooling.py features/jhmdb features/ut --splits 1,4,7

Of each store and split the training part alone is looked at: five grouped folds, one logistic regression a stream (`avr
heads`' own solver) whose weight decay has the lowest log-loss over the folds, and the product of two streams. Printed:
top-1 in percent and log-loss of the product over the held-out videos, means over the splits. Each variant's decay is
chosen by the folds that judge it, which flatters all of them alike. "Stacked" is a logistic regression on the streams'
log-probabilities, fitted on the other folds' held-out videos; "corrected" the product, plus such a regression whose
decay draws it to nothing.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.functional import one_hot

from avr.core import grouped_folds, possible_folds
from avr.heads._convex import Problem, moments
from avr.store import FeatureStore

PATH = 10.0 ** np.arange(0.5, -4.6, -0.5)  # weight decays, the strongest first
STREAMS = ("rgb", "flow")


def root(x: Tensor) -> Tensor:
    return x.sign() * x.abs().sqrt()


def change(x: Tensor) -> Tensor:
    return x.diff(dim=1).abs().mean(dim=1)


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12)


# What is read of segments (R, N, D).
READ: dict[str, Callable[[Tensor], Tensor]] = {
    "mean (`linear`)": lambda x: x.mean(dim=1),
    "mean's root": lambda x: root(x.mean(dim=1)),
    "mean, L2 norm taken out": lambda x: unit(x.mean(dim=1)),
    "mean and deviation": lambda x: torch.cat([x.mean(dim=1), x.std(dim=1, correction=0)], dim=1),
    "mean and change": lambda x: torch.cat([x.mean(dim=1), change(x)], dim=1),
    "roots of mean and change (`statistics-pooling`)": lambda x: root(torch.cat([x.mean(dim=1), change(x)], dim=1)),
    "roots of mean, change and maximum": lambda x: root(torch.cat([x.mean(dim=1), change(x), x.amax(dim=1)], dim=1)),
    "roots of halves' means": lambda x: root(torch.cat([h.mean(dim=1) for h in x.tensor_split(2, dim=1)], dim=1)),
}
BEST = "roots of mean and change (`statistics-pooling`)"


def logs_of(solution: Tensor, vectors: Tensor, owner: NDArray, videos: NDArray) -> Tensor:
    """Log-probabilities `(V, K)`, the mean of probabilities over a video's views."""
    found = torch.softmax(torch.addmm(solution[:, -1], vectors, solution[:, :-1].T), dim=1)
    return torch.stack([found[torch.as_tensor(owner == video)].mean(dim=0) for video in videos]).log()


def held_out(
    vectors: Tensor, labels: NDArray, owner: NDArray, fold: NDArray, *, classes: int, views: int = 0, mixed: int = 0
) -> Tensor:
    """Held-out log-probabilities `(V, K)` of each video at the best decay.

    Args:
        vectors: (R, D) of all views.
        owner: (R,) which video a view is of; videos count from 0.
        views: how many of a video's views are trained on; 0: all.
        mixed: so many mixtures a view are trained on too, of two videos (Zhang et al. 2018, α = 0.4).
    """
    rng = np.random.default_rng(0)
    place = np.array([int((owner[:row] == owner[row]).sum()) for row in range(len(owner))])
    found = [torch.zeros(len(labels), classes, dtype=vectors.dtype) for _ in PATH]
    for number in np.unique(fold):
        seen = torch.as_tensor((fold[owner] != number) & ((place < views) if views else True))
        out = fold[owner] == number
        mean, scale = moments(vectors[seen])
        scaled = (vectors - mean) * scale
        own, wanted = scaled[seen], one_hot(torch.as_tensor(labels[owner]), classes).to(vectors)[seen]
        known, targets = [own], [wanted]
        for _ in range(mixed):
            other = rng.permutation(len(own))
            share = torch.as_tensor(rng.beta(0.4, 0.4, (len(own), 1))).to(own)
            known.append(share * own + (1 - share) * own[other])
            targets.append(share * wanted + (1 - share) * wanted[other])
        known, targets = torch.cat(known), torch.cat(targets)
        basis = torch.linalg.qr(known.T)[0] if known.shape[0] < known.shape[1] else torch.eye(known.shape[1]).to(known)
        problem = Problem(known @ basis, targets, torch.full((len(known),), 1 / len(known)).to(known))
        solution = known.new_zeros((classes, basis.shape[1] + 1))
        videos = np.unique(owner[out])
        for step, decay in enumerate(PATH):
            solution, _ = problem.solve(float(decay), solution, most=200, within=1e-6)
            found[step][videos] = logs_of(solution, scaled[torch.as_tensor(out)] @ basis, owner[out], videos)
    return min(found, key=lambda logs: loss_of(logs, labels))


def corrected(logs: Tensor, labels: NDArray, fold: NDArray, *, streams: int) -> Tensor:
    """The product `(V, K)` of log-probabilities `(V, S K)`, plus a linear layer of them, at the best decay."""
    product = logs.unflatten(1, (streams, -1)).sum(dim=1)
    targets = one_hot(torch.as_tensor(labels), product.shape[1]).to(product)
    inputs = torch.cat([logs, torch.ones_like(logs[:, :1])], dim=1).double()
    found = [product]
    for decay in PATH:
        better = product.clone()
        for number in np.unique(fold):
            seen, out = torch.as_tensor(fold != number), torch.as_tensor(fold == number)

            def look(flat: NDArray, seen: Tensor = seen, decay: float = float(decay)) -> tuple[float, NDArray]:
                layer = torch.from_numpy(flat).view(-1, product.shape[1])
                own = torch.log_softmax(product[seen] + inputs[seen] @ layer, dim=1)
                loss = -(own * targets[seen]).sum(dim=1).mean() + decay / 2 * layer.square().sum()
                slope = inputs[seen].T @ (own.exp() - targets[seen]) / int(seen.sum()) + decay * layer
                return float(loss), slope.flatten().numpy()

            nothing = np.zeros(inputs.shape[1] * product.shape[1])
            layer = torch.from_numpy(minimize(look, nothing, jac=True, method="L-BFGS-B").x).view(-1, product.shape[1])
            better[out] = (product[out] + inputs[out] @ layer).to(product)
        found.append(better)
    return min(found, key=lambda logs: loss_of(torch.log_softmax(logs, dim=1), labels))


def loss_of(logs: Tensor, labels: NDArray) -> float:
    return -float(logs[range(len(labels)), labels].mean())


def figures(logs: Tensor, labels: NDArray) -> tuple[float, float]:
    logs = torch.log_softmax(logs, dim=1)
    return 100 * float((logs.argmax(dim=1).numpy() == labels).mean()), loss_of(logs, labels)


def variants(store: FeatureStore, split: str) -> dict[str, tuple[float, float]]:
    """Top-1 and log-loss of the product, by variant, on a split's training part."""
    train = store.split(split)[0]
    train = np.flatnonzero(train) if train.dtype == bool else train
    labels, groups, classes = store.labels[train], store.groups[train], len(store.class_names)
    fold = grouped_folds(labels, groups=groups, folds=possible_folds(groups, folds=5), seed=0)
    rows = np.concatenate([np.flatnonzero(np.repeat(np.arange(len(store)), store.views) == video) for video in train])
    owner = np.repeat(np.arange(len(train)), np.asarray(store.views)[train])
    segments = {s: torch.as_tensor(store.read_whole(s, "pooled")[rows].astype(np.float32)) for s in STREAMS}

    def product(read: Callable[[Tensor], Tensor], **how: int) -> list[Tensor]:
        return [held_out(read(segments[s]), labels, owner, fold, classes=classes, **how) for s in STREAMS]

    found = {name: figures(sum(product(read)), labels) for name, read in READ.items()}
    found["`statistics-pooling`, one view in training"] = figures(sum(product(READ[BEST], views=1)), labels)
    for mixed in (1, 3):
        found[f"`statistics-pooling`, {mixed} mixtures a view"] = figures(sum(product(READ[BEST], mixed=mixed)), labels)
    both = torch.cat([READ[BEST](segments[s]) for s in STREAMS], dim=1)
    found["`statistics-pooling`, one layer on both streams"] = figures(
        held_out(both, labels, owner, fold, classes=classes), labels
    )
    logs = torch.cat(product(READ[BEST]), dim=1)
    found["`statistics-pooling`, stacked"] = figures(
        held_out(logs, labels, np.arange(len(labels)), fold, classes=classes), labels
    )
    found["`statistics-pooling`, corrected"] = figures(corrected(logs, labels, fold, streams=len(STREAMS)), labels)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--splits", default="", help="several with commas; those that a store has, else its first")
    chosen = parser.parse_args()
    columns = {}
    for path in chosen.stores:
        with FeatureStore(path) as store:
            splits = [name for name in chosen.splits.split(",") if name in store.split_names] or store.split_names[:1]
            columns[path.name] = [variants(store, split) for split in splits]
    print(f"| what is read and trained on | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name in next(iter(columns.values()))[0]:
        means = [np.mean([found[name] for found in column], axis=0) for column in columns.values()]
        print(f"| {name} | {' | '.join(f'{top1:.1f}, {loss:.3f}' for top1, loss in means)} |")


if __name__ == "__main__":
    main()
