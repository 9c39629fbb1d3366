"""Trainings side by side: in children of which one is killed, the same bytes as one by one; when there are children."""

import re
import sys

import numpy as np
import pytest
import torch

from avr.core import Child, Progress, UsageError, WorkError
from avr.heads import RunRequest, _engines, build_head, train_run, train_runs
from avr.heads._examples import MemoryExamples
from avr.heads._shared import moved_to_file, put_together, take_apart
from avr.heads._trainings import Material, num_trainings, threads_each
from avr.training import Engine

QUICK = {"epochs": 3, "min_steps": 0}


def kept(run):
    """Checkpoints and scores of a run."""
    files = (path for path in sorted(run.rglob("*")) if path.suffix in (".safetensors", ".h5"))
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def epochs(run):
    """Lines of epochs.csv."""
    return (run / "epochs.csv").read_text().splitlines()[1:]


@pytest.mark.slow
def test_children_of_which_one_is_killed_give_the_same_bytes(toy_store, tmp_path, monkeypatch, capsys):
    """And one does not start at all. A run that fails leaves the others, and says in which training."""
    started: list[Child] = []
    killed: list[Child] = []
    broken: list[Child] = []
    real_start, real_advance = Child.started, Progress.advance

    def start(child, *arguments):
        if not broken:
            broken.append(child)
            child.kill()
        real_start(child, *arguments)
        started.append(child)

    def advance(bar, *arguments, **figures):
        if started and not killed:
            killed.append(started[0])
            started[0].kill()
        real_advance(bar, *arguments, **figures)

    monkeypatch.setattr(Child, "started", start)
    monkeypatch.setattr(Progress, "advance", advance)
    runs, wild = {}, QUICK | {"optimizer": "adamw", "lr": 1e37}
    for name, workers in (("alone", 1), ("beside", 2)):
        requests = [
            RunRequest(
                toy_store,
                "linear",
                folds=0,
                training=QUICK | {"optimizer": "adamw", "lr": 1e37},
                out=tmp_path / name / "wild",
            ),
            RunRequest(toy_store, "linear", split="all", folds=2, training=QUICK, out=tmp_path / name / "linear"),
            RunRequest(toy_store, "stfn", folds=2, training=QUICK, out=tmp_path / name / "stfn"),
        ]
        runs[name] = train_runs(requests, engine=Engine(workers=workers), trainings=7)
    assert len(killed) == 1
    said = capsys.readouterr().err
    assert "trainings, in 2 processes side by side" in said
    assert "its process was lost (SIGKILL); another begins it again" in said
    assert "a training process does not start: SIGKILL; the trainings go on without it" in said
    for results in runs.values():
        wild, *others = results
        assert isinstance(wild, WorkError)
        assert re.match(r"linear, (rgb|flow), split 1: the loss is ", str(wild))
        assert [list(result.splits) for result in others] == [["1", "2"], ["1"]]
    assert len(kept(tmp_path / "alone")) == 2 * 3 + 2
    assert kept(tmp_path / "beside") == kept(tmp_path / "alone")
    told = {name: [row.split(",")[:2] for row in epochs(tmp_path / name / "linear")] for name in runs}
    assert sorted(told["beside"]) == sorted(told["alone"])
    assert len({tuple(row) for row in told["alone"]}) == len(told["alone"])


def test_children_are_made_where_that_is_faster(toy_store, tmp_path, monkeypatch):
    """Of heads too small for it none; else as many as have a core, once it is known what a training costs."""
    before = torch.get_num_threads()
    made: list[tuple[int, int]] = []

    def in_children(queue, material, engine, workers, *, on_row):
        made.append((len(queue), workers))
        while queue:
            task = queue.pop(0)
            yield task, _engines._attempt(task, material, on_row=on_row)

    def train(out, **more):
        train_run(toy_store, "linear", folds=2, training=QUICK, out=tmp_path / out, device="cpu", **more)

    monkeypatch.setattr(_engines, "_in_children", in_children)
    try:
        torch.set_num_threads(4)
        train("small")
        assert made == []
        train("asked", engine=Engine(workers=2))
        assert made == [(6, 2)]
        monkeypatch.setattr(_engines, "START_SECONDS", 0.0)
        monkeypatch.setattr(_engines, "CHILD_BYTES", 1.0)
        train("large")  # a network of each of two streams, and in each of two folds
        assert made[1:] == [(6, 4)]
        train("alone", engine=Engine(workers=1))
        monkeypatch.setattr(_engines, "free_bytes", lambda _: 0.0)
        train("no-memory")
        assert made[2:] == []
    finally:
        torch.set_num_threads(before)


def test_a_run_ends_where_no_child_starts(toy_store, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(WorkError, match="a training process does not start: exit code 1"):
        train_run(toy_store, "linear", folds=0, out=tmp_path, device="cpu", engine=Engine(workers=2))
    assert capsys.readouterr().err.count("does not start") == 4  # in twos


def test_runs_of_other_features_share_no_threads_and_are_claimed_later(toy_store, tmp_path, monkeypatch):
    told = []

    def record(task, *arguments):
        told.append((task.threads, len(list(tmp_path.iterdir()))))
        return train_task(task, *arguments)

    train_task = _engines.train_task
    monkeypatch.setattr(_engines, "train_task", record)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    requests = [
        RunRequest(toy_store, "linear", streams=(s,), split="all", folds=0, training=QUICK, out=tmp_path / s)
        for s in ("rgb", "flow")
    ]
    results = train_runs(requests, device="cpu", engine=Engine(workers=1))
    assert told == [(2, 1)] * 2 + [(2, 2)] * 2
    assert [result.folder.name for result in results] == ["rgb", "flow"]


def test_what_several_networks_read_is_held_once():
    random = np.random.default_rng(0)
    maps = {"rgb": random.normal(size=(6, 8, 5)).astype(np.float32), "flow": np.ones((6, 1, 5), dtype=np.float32)}
    examples = MemoryExamples(maps, np.ones(6), np.arange(6) % 3, device=torch.device("cpu"))
    material = Material({}, np.arange(6), np.arange(6), ("a", "b", "c"))
    for name, options in (("rgb one", {"dropout": 0.1}), ("rgb two", {"dropout": 0.2}), ("flow", {})):
        own = examples.only(name.split()[0])
        material.add(name, own.kept(build_head("linear", own.shapes, 3, options=options)))
    del examples, own
    data, tensors = take_apart(material)
    assert sorted(tensor.shape for tensor in tensors) == [(6, 1, 5), (6, 1, 5), (6, 5)]  # and a variance
    parts = put_together(data, tensors).parts
    assert parts["rgb one"] is parts["rgb two"]
    ((mean, variance), _), *_ = parts["rgb two"].read_moments("rgb", np.arange(6))
    np.testing.assert_allclose(mean, maps["rgb"].mean(1), atol=1e-6)
    np.testing.assert_allclose(variance, maps["rgb"].var(1), atol=1e-6)


@pytest.mark.parametrize(
    ("device", "message"),
    [("cuda:1", "device cuda:1: Ray chooses which GPU is whose"), ("gpu", "unknown device 'gpu'")],
)
def test_devices_that_ray_cannot_choose(toy_store, tmp_path, device, message):
    with pytest.raises(UsageError, match=message):
        train_run(toy_store, "linear", out=tmp_path / "run", device=device, engine=Engine(name="ray"))


def test_threads_follow_from_the_run(monkeypatch):
    assert (num_trainings("linear", 3, splits=2, folds=5), num_trainings("stfn", 3, splits=2, folds=5)) == (36, 12)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert [threads_each(trainings) for trainings in (1, 2, 3, 8, 100)] == [8, 4, 2, 1, 1]


def test_engines_that_make_no_sense():
    with pytest.raises(UsageError, match=r"name=slurm is not possible; name takes local\|ray"):
        Engine(name="slurm")
    with pytest.raises(UsageError, match="--address is of --engine ray"):
        Engine(address="auto")


def test_no_room_for_what_workers_share_is_one_line():
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with (
            pytest.raises(WorkError, match=r"^no room for 4 KB that workers share \(File too large\); try --workers"),
            moved_to_file(torch.zeros(1000)),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
