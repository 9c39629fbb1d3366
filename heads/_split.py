"""One split of a run: the heads trained on its training part, their test scores, and out-of-fold scores."""

import dataclasses
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
from avr.training import Schedule, Training

from ._base import Head
from ._build import build_head, head_class
from ._examples import Examples, num_samples
from ._loop import EpochRow, Trained, predict, train
from ._trained import CHECKPOINT, save_checkpoint, with_average

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
        splits: how many the run trains.
    """

    head: str
    options: dict[str, Any]
    training: Training
    layers: dict[str, str]
    folds: int | None
    seed: int
    store: dict[str, Any]
    splits: int


@dataclass(frozen=True)
class SplitResult:
    """One trained split: accuracies of its test part by output, and the test scores behind them.

    For single-stream heads on several streams, "average" is the mean of their probabilities: shown for comparison, and
    not kept in scores.h5, which fusers read.
    """

    name: str
    folder: Path
    accuracy: dict[str, dict[str, float]]
    test_scores: dict[str, NDArray[np.float32]]
    test_labels: NDArray[np.int64]
    folds: int
    seconds: float


def train_split(plan: Plan, store: FeatureStore, examples: Examples, *, split: str, run: Path) -> SplitRecord:
    """Train, predict and write a split's folder, whole or not at all; gives what the run's record keeps of it."""
    train_mask, test_mask = store.split(split)
    videos, test = np.flatnonzero(train_mask), np.flatnonzero(test_mask)
    if not len(videos):
        raise UsageError(f"split {split} has no training videos with features")
    parts = _networks(plan, examples)
    with new_split(run, split) as folder:
        # --- the heads ------------------------------------------------------------------------------------------------
        test_scores: dict[str, NDArray[np.float32]] = {}
        seconds = 0.0
        samples = num_samples(examples, videos, every_view=plan.training.views == "all")
        total = _epochs(plan, samples) * len(parts)
        with Progress(f"{plan.head}, split {split}", total=total, unit="epochs") as bar:
            for name, part in parts:
                head, trained = _train_one(plan, store, part, videos, bar)
                test_scores |= predict(head, part, test, names=store.ids) if len(test) else {}
                save_checkpoint(folder / name / CHECKPOINT, head, describe(plan, store, part, split))
                write_log(folder / name, trained.rows)
                seconds += trained.seconds

        # --- out-of-fold scores ---------------------------------------------------------------------------------------
        folds = _choose_folds(plan, store.groups[videos], seconds)
        fold_of = np.zeros(0, dtype=np.int32)
        if folds:
            fold_of = grouped_folds(store.labels[videos], groups=store.groups[videos], folds=folds, seed=plan.seed)
        train_scores: dict[str, NDArray[np.float32]] = {}
        with Progress(f"{plan.head}, split {split}, {folds} folds", total=total * folds, unit="epochs") as bar:
            for fold, (_, part) in [(fold, named) for fold in range(folds) for named in parts]:
                inside, outside = videos[fold_of != fold], videos[fold_of == fold]
                head, _ = _train_one(plan, store, part, inside, bar)
                for output, scores in predict(head, part, outside, names=store.ids).items():
                    whole = train_scores.setdefault(output, np.zeros((len(videos), scores.shape[1]), dtype=np.float32))
                    whole[fold_of == fold] = scores

        # --- what is kept ---------------------------------------------------------------------------------------------
        kept = np.concatenate([test, videos]) if folds else test
        fold_column = np.concatenate([np.full(len(test), TEST_VIDEO), fold_of])
        names = list(train_scores or test_scores)
        outputs = {n: np.concatenate([s[n] for s in (test_scores, train_scores) if n in s]) for n in names}
        if len(kept):
            about = {"store": plan.store, "options": plan.options, "seed": plan.seed, "layers": plan.layers}
            # Log-probabilities are logits: their softmax is the probability.
            of_split = Scores.of(
                store, outputs, at=kept, split=split, fold=fold_column, head=plan.head, provenance=about
            )
            write_scores(score_path(folder), of_split)
    shown = with_average(test_scores, joint=head_class(plan.head).joint)
    accuracy = {name: measure(scores, store.labels[test]) for name, scores in shown.items()}
    return SplitRecord(results=accuracy, folds=folds, seconds=round(seconds, 3))


def read_split(run: Path, name: str, record: SplitRecord) -> SplitResult:
    """The result of a finished split, from what it left."""
    folder, shown, labels = split_folder(run, name), {}, np.zeros(0, dtype=np.int64)
    if record.results:  # else it has no test videos
        scores = read_scores(score_path(folder))
        test = is_test(scores.fold)
        labels = scores.labels[test]
        outputs = {output: values[test] for output, values in scores.streams.items()}
        shown = with_average(outputs, joint=head_class(scores.head).joint)
    return SplitResult(name, folder, record.results, shown, labels, record.folds, record.seconds)


def describe(plan: Plan, store: FeatureStore, part: Examples, split: str) -> dict[str, Any]:
    """A checkpoint's metadata."""
    return {
        "head": plan.head,
        "options": plan.options,
        "training": dataclasses.asdict(plan.training),
        "seed": plan.seed,
        "split": split,
        "streams": list(plan.layers),
        "layers": {stream: plan.layers[stream] for stream in part.shapes},
        "shapes": {stream: list(shape) for stream, shape in part.shapes.items()},
        "class_names": list(store.class_names),
        "store": plan.store,
    }


def _networks(plan: Plan, examples: Examples) -> list[tuple[str, Examples]]:
    """(sub-folder, its features) of each network: one of all streams, or one a stream."""
    if head_class(plan.head).joint:
        return [("", examples)]
    return [(stream, examples.only(stream)) for stream in plan.layers]


def _train_one(plan: Plan, store: FeatureStore, part: Examples, videos: NDArray, bar: Progress) -> tuple[Head, Trained]:
    """A fresh head of the plan, trained on some videos."""

    def show(row: EpochRow) -> None:
        figures = {name: f"{row[name]:.3f}" for name in ("loss", "accuracy", "validation_loss") if name in row}
        bar.advance(1, **figures)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)  # of the fresh weights, which are drawn on the CPU
        head = build_head(plan.head, part.shapes, len(store.class_names), options=plan.options)
    trained = train(
        head,
        part,
        videos,
        training=plan.training,
        groups=store.groups,
        names=store.ids,
        seed=plan.seed,
        on_epoch=show,
    )
    return head, trained


def _epochs(plan: Plan, samples: int) -> int:
    """Epochs a training will take, or at most takes, for the progress bar."""
    per_epoch = -(-samples // plan.training.batch_size) if plan.training.batch_size else 1
    return Schedule(plan.training, per_epoch).total_epochs


def _choose_folds(plan: Plan, groups: NDArray, seconds: float) -> int:
    """How many folds to train: as asked, or 5 where they are cheap; fewer where the groups do not allow as many."""
    if plan.folds is not None:
        return _whole_folds(groups, plan.folds)
    cost = (FOLDS - 1) * seconds * plan.splits  # each of FOLDS trainings sees all videos but a fold
    if cost > FOLDS_SECONDS:
        note(f"no out-of-fold scores: {FOLDS} folds would take about {cost:.0f} s (ask for them with --folds {FOLDS})")
        return 0
    note(f"out-of-fold scores of the training videos: {FOLDS} folds, about {cost:.0f} s (--folds 0 leaves them out)")
    return _whole_folds(groups, FOLDS)


def _whole_folds(groups: NDArray, wanted: int) -> int:
    """As many folds as are wanted or as the groups allow, which then is said; below two there are none."""
    folds = possible_folds(groups, folds=wanted)
    if wanted >= 2 and not folds:
        note("no out-of-fold scores: all training videos are of one group, which folds must not split")
    elif folds < wanted and folds:
        note(f"{folds} folds instead of {wanted}: the training videos are of {folds} groups, which stay whole")
    return folds
