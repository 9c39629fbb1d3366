"""A store small enough to train a recipe's rows in seconds."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import pytest

from avr.cli import main
from avr.core import make_folder
from avr.datasets import Dataset, Split, Video
from avr.heads import RunRequest
from avr.store import RunRecord, StoreWriter, write_record

# How a recipe of one's own begins, and its only store; the store's other settings and the rows follow.
MINE = """
title = "Mine"
paper = "-"
metric = "m"
split = "all"
[stores.main]
backbone = "squeezenet1_1"
weights = "random"
"""
STEPS = 3
ARRAYS = {
    "rgb/pooled": (STEPS, 8),
    "flow/pooled": (STEPS, 8),
    "rgb/map": (STEPS, 8, 3, 3),
    "rgb/conv5_3": (STEPS, 8, 3, 3),
    "flow/conv5_3": (STEPS, 8, 3, 3),
    "flow/conv4_2": (STEPS, 8, 6, 6),
}


def write_store(
    folder: Path,
    *,
    name: str = "toy",
    settings: dict | None = None,
    split_names: Sequence[str] = ("1", "2"),
    by_video: bool = False,
    steps=STEPS,
    weights_files: dict | None = None,
    shapes: dict | None = None,
) -> Path:
    """48 videos of four classes, appearance × motion: rgb tells the one, flow the other; two splits, by group unless
    a video of each group and class tests."""
    arrays = {array: (steps, *shape[1:]) for array, shape in (shapes or ARRAYS).items()}
    generator = np.random.default_rng(3)
    videos = tuple(
        Video(f"class{label}/g{group}_{take}", Path(f"/nowhere/class{label}/g{group}_{take}.avi"), label, f"g{group}")
        for label in range(4)
        for group in range(6)
        for take in range(2)
    )
    splits = {}
    for number, tested in zip(split_names, (("g0", "g1"), ("g2", "g3")), strict=True):
        test = tuple(v.id for v in videos if (v.id.endswith("_0") if by_video else v.group in tested))
        splits[number] = Split(number, tuple(video.id for video in videos if video.id not in test), test)
    dataset = Dataset(name, Path("/nowhere"), ("aa", "ab", "ba", "bb"), videos, splits)
    prototypes = generator.normal(size=(2, 2, 8))  # stream, its two kinds, D
    features = {}
    for video in videos:
        kinds = {"rgb": video.label // 2, "flow": video.label % 2}
        made = features[video.id] = {}
        for array, shape in arrays.items():
            stream = array.split("/")[0]
            signal = prototypes[("rgb", "flow").index(stream), kinds[stream]]
            signal = signal.reshape(8, *[1] * (len(shape) - 2))
            made[array] = (signal + 0.3 * generator.normal(size=(1, *shape))).astype(np.float32)
    provenance = {"settings": settings or {"backbone": "toy"}, "weights_files": weights_files or {}}
    with StoreWriter(folder, dataset, arrays=arrays, provenance=provenance) as writer:
        for shard in writer.shards():
            for video in shard.video_ids:
                shard.add(video, features[video], frames=20)
    return folder


def parse(command: str) -> click.Context:
    """A command that a plan prints, as avr reads it: refused are unknown options and choices, and files that are not
    there."""
    _, *words = shlex.split(command)
    found: click.Command = main
    while isinstance(found, click.Group):
        name, *words = words
        found = found.get_command(click.Context(found), name)
    return found.make_context(name, words)


@pytest.fixture
def unmade(monkeypatch, untrained) -> Dataset:
    """A data set of two splits, of which networks, stores and trainings end to end take no time either."""
    monkeypatch.setattr("avr.recipes.stages.extract", lambda _, out, **__: make_folder(out))
    for name in ("backbone", "end_to_end"):
        made = "avr.recipes.stages.finetune_" + name
        monkeypatch.setattr(made, lambda *_, out, **__: write_record(out, RunRecord("head", complete=True)))
    videos = tuple(Video(str(i), Path(f"/nowhere/{i}.avi"), i % 2, f"g{i}") for i in range(4))
    splits = {"1": Split("1", ("0", "1"), ("2", "3")), "2": Split("2", ("2", "3"), ("0", "1"))}
    return Dataset("toy", Path("/nowhere"), ("a", "b"), videos, splits)


@pytest.fixture(scope="session")
def toy_store(tmp_path_factory) -> Path:
    """A finished store of the data set "toy"."""
    return write_store(tmp_path_factory.mktemp("toy") / "store")


@pytest.fixture
def untrained(monkeypatch) -> list[RunRequest]:
    """Trainings take no time: only their folder is made, and every figure is 50. What was asked for."""
    asked: list[RunRequest] = []

    def train(requests, **_):
        asked.extend(requests)
        for request in requests:
            write_record(request.out, RunRecord("head", complete=True))
        return [None for _ in requests]

    monkeypatch.setattr("avr.recipes.bench.train_runs", train)
    monkeypatch.setattr("avr.recipes.bench.accuracy_of", lambda *_, **__: 0.5)
    return asked
