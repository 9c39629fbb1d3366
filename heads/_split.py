"""One split of a run: the heads trained on its training part, their test scores, and out-of-fold scores."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avr.core import Progress, UsageError, grouped_folds, measure, note, possible_folds
from avr.store import (
    TEST_VIDEO,
    FeatureStore,
    Scores,
    SplitRecord,
    is_test,
    new_split,
    read_scores,
    score_path,
    split_folder,
    write_log,
    write_scores,
)
from avr.training import Training

from ._base import Head, Shapes, build_head, head_class, with_average
from ._examples import Examples
from ._loop import EpochRow, Trained, course_of, hold_out, predict, train
from ._trained import CHECKPOINT, save_tensors

FOLDS = 5  # where they are on by themselves
FOLDS_SECONDS = 60.0  # the most they may cost then, over all splits of the run


@dataclass(frozen=True)
class Plan:
    """What a run trains, settled.

    Attributes:
        head, options, training, seed: the registry name, every option, the settings.
        layers: stream -> layer.
        folds: asked for; None lets the cost decide.
        store: what checkpoints and scores say of it.
        splits: those the run trains.
    """

    head: str
    options: dict[str, Any]
    training: Training
    layers: dict[str, str]
    folds: int | None
    seed: int
    store: dict[str, Any]
    splits: tuple[str, ...]

    @property
    def networks(self) -> dict[str, tuple[str, ...]]:
        """Sub-folder -> streams of each network: one of all streams, or one a stream."""
        return {"": tuple(self.layers)} if head_class(self.head).joint else {s: (s,) for s in self.layers}

    def build(self, shapes: Shapes, num_classes: int) -> Head:
        """A fresh head for these streams."""
        return build_head(self.head, shapes, num_classes, options=self.options)

    def facts(self) -> dict[str, Any]:
        """What the run's record and every checkpoint say of it."""
        training = dataclasses.asdict(self.training)
        return {
            "head": self.head,
            "options": self.options,
            "training": training,
            "seed": self.seed,
            "store": self.store,
        }


def parts_of(plan: Plan, store: FeatureStore, examples: Examples) -> dict[str, Examples]:
    """What each network of a plan reads, as far as it comes without weights: the same in all its trainings."""
    parts = {name: examples.only(name) if name else examples for name in plan.networks}
    with torch.device("meta"):
        heads = {
            name: plan.build(shapes_of(plan, store, part.shapes), len(store.class_names))
            for name, part in parts.items()
        }
    return {name: part.kept(heads[name]) for name, part in parts.items()}


def shapes_of(plan: Plan, store: FeatureStore, streams: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Stream -> shape of one view in the store, of the layer that is read."""
    return {stream: store.array(stream, plan.layers[stream]).shape for stream in streams}


def train_split(plan: Plan, store: FeatureStore, parts: dict[str, Examples], *, split: str, run: Path) -> SplitRecord:
    """Train, predict and write a split's folder, whole or not at all; gives what the run's record keeps of it."""
    videos, test = (np.flatnonzero(mask) for mask in store.split(split))
    if not len(videos):
        raise UsageError(f"split {split} has no training videos with features")
    with new_split(run, split) as folder:
        # --- the heads ------------------------------------------------------------------------------------------------
        test_scores: dict[str, NDArray[np.float32]] = {}
        seconds = 0.0
        total = _num_epochs(plan, store, parts, videos)
        with Progress(f"{plan.head}, split {split}", total=total, unit="epochs") as bar:
            for name, part in parts.items():
                head, trained = _train_one(plan, store, part, videos, bar)
                test_scores |= predict(head, part, test, names=store.ids) if len(test) else {}
                save_tensors(folder / name / CHECKPOINT, head.state_dict(), _describe(plan, store, part, split))
                write_log(folder / name, trained.rows)
                seconds += trained.seconds

        # --- out-of-fold scores ---------------------------------------------------------------------------------------
        folds = _choose_folds(plan, store.groups[videos], seconds)
        fold_of = np.zeros(0, dtype=np.int32)
        if folds:
            fold_of = grouped_folds(store.labels[videos], groups=store.groups[videos], folds=folds, seed=plan.seed)
        train_scores: dict[str, NDArray[np.float32]] = {}
        total = sum(_num_epochs(plan, store, parts, videos[fold_of != fold]) for fold in range(folds))
        with Progress(f"{plan.head}, split {split}, {folds} folds", total=total, unit="epochs") as bar:
            for fold, part in [(fold, part) for fold in range(folds) for part in parts.values()]:
                head, _ = _train_one(plan, store, part, videos[fold_of != fold], bar)
                for output, scores in predict(head, part, videos[fold_of == fold], names=store.ids).items():
                    whole = train_scores.setdefault(output, np.zeros((len(videos), scores.shape[1]), dtype=np.float32))
                    whole[fold_of == fold] = scores

        # --- what is kept ---------------------------------------------------------------------------------------------
        kept = np.concatenate([test, videos]) if folds else test
        if len(kept):
            both = [scores for scores in (test_scores, train_scores) if scores]
            write_scores(
                score_path(folder),
                Scores.of(  # log-probabilities are logits: their softmax is the probability
                    store,
                    {name: np.concatenate([scores[name] for scores in both]) for name in both[0]},
                    at=kept,
                    split=split,
                    fold=np.concatenate([np.full(len(test), TEST_VIDEO), fold_of]),
                    head=plan.head,
                    provenance={n: getattr(plan, n) for n in ("store", "options", "seed", "layers")},
                ),
            )
    accuracy = {name: measure(scores, store.labels[test]) for name, scores in with_average(test_scores).items()}
    return SplitRecord(results=accuracy, folds=folds, seconds=round(seconds, 3))


def read_test_scores(run: Path, split: str) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    """Scores `(M, K)` by output of a finished split's M test videos, "average" among them, and their labels."""
    scores = read_scores(score_path(split_folder(run, split)))
    test = is_test(scores.fold)
    return with_average({output: values[test] for output, values in scores.streams.items()}), scores.labels[test]


def _describe(plan: Plan, store: FeatureStore, part: Examples, split: str) -> dict[str, Any]:
    """A checkpoint's metadata."""
    return plan.facts() | {
        "split": split,
        "streams": list(plan.layers),
        "layers": {stream: plan.layers[stream] for stream in part.shapes},
        "shapes": {stream: list(shape) for stream, shape in shapes_of(plan, store, part.shapes).items()},
        "class_names": list(store.class_names),
    }


def _train_one(plan: Plan, store: FeatureStore, part: Examples, videos: NDArray, bar: Progress) -> tuple[Head, Trained]:
    """A fresh head of the plan, trained on some videos."""

    def show(row: EpochRow) -> None:
        figures = {name: f"{row[name]:.3f}" for name in ("loss", "accuracy", "validation_loss") if name in row}
        bar.advance(1, **figures)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)  # of the fresh weights, which are drawn on the CPU
        head = plan.build(shapes_of(plan, store, part.shapes), len(store.class_names))
    about: dict[str, Any] = {"groups": store.groups, "names": store.ids, "on_epoch": show}
    return head, train(head, part, videos, training=plan.training, seed=plan.seed, **about)


def _num_epochs(plan: Plan, store: FeatureStore, parts: dict[str, Examples], videos: NDArray) -> int:
    """Epochs that all networks take on some videos, at most."""
    share = plan.training.validation
    part = next(iter(parts.values()))
    videos, _ = hold_out(part, videos, groups=store.groups, share=share, seed=plan.seed)
    return course_of(plan.training, part, videos).total_epochs * len(parts)


def _choose_folds(plan: Plan, groups: NDArray, seconds: float) -> int:
    """How many folds to train: as asked, or 5 where they are cheap; fewer where the groups do not allow as many.

    Which is said; below two there are none.
    """
    wanted = plan.folds
    if wanted is None:
        cost = (FOLDS - 1) * seconds * len(plan.splits)  # each of FOLDS trainings sees all videos but a fold
        wanted, about = FOLDS, f"about {cost:.0f} s"
        if cost > FOLDS_SECONDS:
            note(f"no out-of-fold scores: {FOLDS} folds would take {about} (ask for them with --folds {FOLDS})")
            return 0
        note(f"out-of-fold scores of the training videos: {FOLDS} folds, {about} (--folds 0 leaves them out)")
    folds = possible_folds(groups, folds=wanted) if wanted else 0
    if wanted >= 2 and not folds:
        note("no out-of-fold scores: all training videos are of one group, which folds must not split")
    elif 0 < folds < wanted:
        note(f"{folds} folds instead of {wanted}: the training videos are of {folds} groups, which stay whole")
    return folds
