"""The loop's promises: continued equals uninterrupted, several processes equal one, what is not finite stops."""

import csv
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from avr.core import Stopped, UsageError, WorkError, stoppable
from avr.finetune.distributed import Processes, join_processes
from avr.finetune.draws import cut
from avr.finetune.loop import Loop

sys.path.insert(0, str(Path(__file__).parent))
from toy import TRAINING, Noise, all_losses, losses
from toy import make_loop as toy_loop


def make_loop(folder=None, **options):
    return toy_loop(folder, **{"mode": "local", "save_every": 2} | options)


def weights(loop):
    return {name: value.clone() for name, value in loop.network.state_dict().items()}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def test_it_learns():
    fitted = make_loop(training=replace(TRAINING, epochs=12)).run(Processes())
    assert fitted.finished
    assert fitted.history[-1]["accuracy"] > 0.9 > fitted.history[0]["accuracy"]
    assert len(fitted.losses) == 12 * 3  # 13 videos in batches of 5


def test_an_epochs_batches_differ_by_one_video_at_most():
    sizes = []

    class Watched(Noise):
        def read(self, videos, epoch):
            sizes.append(len(videos))
            return super().read(videos, epoch)

    make_loop(samples=Watched(16), training=replace(TRAINING, epochs=1)).run(Processes())
    assert sizes == [4, 4, 4, 4]  # in fives the last would be one video


def test_the_second_stage_goes_on_from_the_best_epoch_of_the_first():
    training = replace(TRAINING, schedule="two-stage", epochs=2, second_epochs=1, validation=0.2)
    first = make_loop(training=training, validate=lambda: 0.5)
    first.run(Processes(), stop_after=3)
    script, started = iter([0.5, 0.9, 0.4]), []
    loop = make_loop(training=training, validate=lambda: next(script))
    begin = loop.network.begin
    loop.network.begin = lambda mode: (started.append(weights(loop)), begin(mode))
    loop.run(Processes())
    started = started[2:]  # as the third epoch begins, which is the second stage's first
    assert len(started) == 1
    assert_same(started[0], weights(first))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, second, other = make_loop(), make_loop(), make_loop(seed=1)
    for loop in (first, second, other):
        loop.run(Processes())
    assert_same(weights(first), weights(second))
    assert not torch.equal(weights(first)["layers.0.weight"], weights(other)["layers.0.weight"])


VARIANTS = {
    "sgd": TRAINING,
    "adamw": replace(TRAINING, optimizer="adamw", lr=1e-2, weight_decay=0.1),
    "two-stage": replace(TRAINING, schedule="two-stage", epochs=2, second_epochs=2),
    "step": replace(TRAINING, schedule="step", drop_every=4, drop_unit="steps"),
}


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_a_continued_run_equals_an_uninterrupted_one_to_the_bit(tmp_path, name):
    whole = make_loop(tmp_path / "whole", training=VARIANTS[name])
    expected = whole.run(Processes())
    for stop in (1, 6, 8):
        folder = tmp_path / str(stop)
        stopped = make_loop(folder, training=VARIANTS[name]).run(Processes(), stop_after=stop)
        assert not stopped.finished
        torch.manual_seed(99)  # what another program did to the generator in between
        loop = make_loop(folder, training=VARIANTS[name])
        continued = loop.run(Processes())
        assert_same(weights(whole), weights(loop))
        assert continued.losses == expected.losses
        without_time = [{k: v for k, v in row.items() if k != "seconds"} for row in continued.history]
        assert without_time == [{k: v for k, v in row.items() if k != "seconds"} for row in expected.history]


@pytest.mark.parametrize("step", [1, 3, 4, 7])
def test_sigterm_costs_no_step(tmp_path, step, monkeypatch):
    """In the middle of a step, which is done to its end, or of an epoch's end: the state on disk is of that moment."""
    training = VARIANTS["adamw"]
    whole = make_loop(tmp_path / "whole", training=training)
    expected = whole.run(Processes())
    stopped = make_loop(tmp_path / "stopped", training=training, save_every=0)
    real = Loop._step

    def sent(self, *arguments, **options):
        if self.schedule.step + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, *arguments, **options)

    monkeypatch.setattr(Loop, "_step", sent)
    with pytest.raises(Stopped), stoppable():
        stopped.run(Processes())
    assert stopped.schedule.step == step
    loop = make_loop(tmp_path / "stopped", training=training, save_every=0)
    seen = []
    monkeypatch.setattr(Loop, "_step", lambda self, *a, **o: seen.append(self.schedule.step) or real(self, *a, **o))
    assert loop.run(Processes()).losses == expected.losses
    assert seen[0] == step if step % 3 else seen[0] >= step - 3  # 3 steps an epoch: at its end validation may be broken
    assert_same(weights(whole), weights(loop))


def test_a_state_of_weights_that_lay_otherwise_in_memory_is_continued(tmp_path):
    whole = make_loop(training=VARIANTS["adamw"])
    expected = whole.run(Processes())
    make_loop(tmp_path, training=VARIANTS["adamw"]).run(Processes(), stop_after=6)
    loop = make_loop(tmp_path, training=VARIANTS["adamw"])
    weight = loop.network.new.weight
    weight.data = weight.data.t().contiguous().t()
    np.testing.assert_allclose(loop.run(Processes()).losses, expected.losses, rtol=1e-4)


def test_the_validation_part_chooses_the_weights_and_survives_a_stop(tmp_path):
    training = replace(TRAINING, schedule="plateau", patience=1, validation=0.2, epochs=6, min_lr=5e-3)
    script = [1.0, 0.5, 0.8, 0.4, 0.9, 0.95]

    def loop_with_losses(folder, start=0):
        left = iter(script[start:])
        return make_loop(folder, training=training, validate=lambda: next(left))

    whole = loop_with_losses(tmp_path / "whole")
    fitted = whole.run(Processes())
    # 0.8 does not fall below 0.5: × 0.1, the floor; 0.9 does not fall below 0.4 there: the end, after five epochs.
    assert [row["rate"] for row in fitted.history] == pytest.approx([0.05, 0.05, 0.05, 0.005, 0.005])
    fourth = loop_with_losses(None)
    fourth.run(Processes(), stop_after=12)
    assert_same(weights(whole), weights(fourth))
    loop_with_losses(tmp_path / "parts").run(Processes(), stop_after=7)
    continued = loop_with_losses(tmp_path / "parts", start=2)
    continued.run(Processes())
    assert_same(weights(whole), weights(continued))


def test_nan_stops_before_the_weights_are_touched_and_names_step_and_videos(tmp_path):
    training = replace(TRAINING, epochs=3)
    loop = make_loop(tmp_path, training=training, samples=Noise(poison=(1, 4)), save_every=1)
    with pytest.raises(WorkError) as caught:
        loop.run(Processes())
    message = str(caught.value)
    step = loop.schedule.step
    assert 3 <= step < 6
    assert f"step {step + 1}: the loss is nan" in message
    assert "class1/video4" in message
    assert str(tmp_path / "state.pt") in message
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["schedule"]["step"] == step
    assert all(torch.isfinite(value).all() for value in state["network"].values())
    sound = make_loop(training=training)
    sound.run(Processes(), stop_after=step)
    assert_same(dict(state["network"]), weights(sound))


def test_after_a_nan_the_last_good_network_is_a_weights_file(tmp_path):
    loop = make_loop(tmp_path, training=replace(TRAINING, epochs=3), samples=Noise(poison=(1, 4)), save_every=1)
    with pytest.raises(WorkError, match=r"its network .*last-good.safetensors, for --weights with another --out"):
        loop.run(Processes())
    state = torch.load(tmp_path / "state.pt", weights_only=True)["network"]
    found = load_file(tmp_path / "last-good.safetensors")
    assert_same(found, {name.removeprefix("layers."): value for name, value in state.items()})


def test_a_state_of_other_settings_is_refused_and_says_which(tmp_path):
    make_loop(tmp_path).run(Processes(), stop_after=2)
    with pytest.raises(UsageError, match=r"other settings \(lr 0.05 → 0.01\): choose another --out"):
        make_loop(tmp_path, training=replace(TRAINING, lr=0.01)).run(Processes())


def test_a_state_of_other_videos_is_refused(tmp_path):
    make_loop(tmp_path).run(Processes(), stop_after=2)
    with pytest.raises(UsageError, match=r'other settings \(videos "13 \(\w+\)" → "14 \(\w+\)"\): choose another'):
        make_loop(tmp_path, samples=Noise(14)).run(Processes())


def test_a_damaged_state_is_named(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"half a file")
    with pytest.raises(WorkError, match=r"state.pt is damaged .*: remove it to start again"):
        make_loop(tmp_path).run(Processes())


def test_the_log_holds_a_row_an_epoch(tmp_path):
    make_loop(tmp_path).run(Processes())
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert list(rows[0]) == ["epoch", "rate", "loss", "accuracy", "seconds"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((10, 2, 0, 3), [[0, 1], [2, 3]]),
        ((10, 2, 1, 3), [[4, 5], [6]]),
        ((10, 2, 2, 3), [[7, 8], [9]]),
        ((10, 0, 1, 2), [[5, 6, 7, 8, 9]]),
        ((1, 4, 1, 2), [[]]),
        ((5, 1, 0, 1), [[0], [1], [2], [3], [4]]),
    ],
)
def test_a_batch_is_cut_alike_in_every_process(arguments, expected):
    count, micro_batch, rank, world = arguments
    assert cut(range(count), micro_batch, rank=rank, world=world) == expected


def test_pieces_of_a_batch_give_the_losses_of_the_whole():
    # The same sums in another order: float32 rounding, grown over 12 steps.
    np.testing.assert_allclose(losses(Processes(), micro_batch=2), losses(Processes()), atol=1e-5)


@pytest.mark.slow
def test_two_processes_train_as_one(monkeypatch):
    """Equal losses for twelve steps, batches of 5, 4 and 4 videos, shared as 3 + 2 and 2 + 2; dropout on.

    In batches of one video the second process has none: what goes along there counts in no statistics.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # This process is the first, a child the second: what torchrun would tell them.
    told = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in {**told, "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    script, second = str(Path(__file__).parent / "toy.py"), {"RANK": "1", "LOCAL_RANK": "1", "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, script], env={**os.environ, **second})
    with join_processes("cpu") as processes:
        assert (processes.rank, processes.world) == (0, 2)
        found = {"two": all_losses(processes)}
    assert child.wait() == 0
    found["one"] = all_losses(Processes())
    for kind in ("plain", "pieces", "sync", "frozen"):
        assert len(found["one"][kind]) == 12
        # float32: each process sums its part before the parts are added.
        np.testing.assert_allclose(found["two"][kind], found["one"][kind], atol=1e-5, err_msg=kind)
    # As for the others; the last six are the running variance, of 36 positions and not of 72 (1.4 % less).
    np.testing.assert_allclose(found["two"]["one video"], found["one"]["one video"], atol=1e-5)
    # Batch norm that stays local normalises 3 + 2 videos apart: it is another training, and avr says so.
    assert np.abs(np.subtract(found["two"]["local"], found["one"]["local"])).max() > 1e-3


def test_each_epoch_is_told_with_its_validation(tmp_path):
    told = []
    loop = make_loop(tmp_path / "run" / "split-1", validate=lambda: 0.5)
    loop.on_epoch = told.append
    fitted = loop.run(Processes())
    assert [(epoch.run, epoch.training, epoch.number) for epoch in told] == [
        (tmp_path / "run", "split-1", number) for number in range(1, len(fitted.history) + 1)
    ]
    assert [epoch.row["loss"] for epoch in told] == [row["loss"] for row in fitted.history]
    assert {epoch.row["validation_loss"] for epoch in told} == {0.5}
