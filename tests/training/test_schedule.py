"""Schedules by literals, and both loops, of heads and of fine-tuning, take the course that the table says."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from avr.finetune.distributed import Processes
from avr.heads import MemoryExamples, build_head, train
from avr.training import Schedule, Training

sys.path.insert(0, str(Path(__file__).parents[1] / "finetune"))
from toy import make_loop

CPU = torch.device("cpu")
VIDEOS = 13  # as many as the fine-tuning's toy has; in batches of 5 an epoch has three steps
# Gradients are cut to nothing: the weights stay, and the validation loss, equal from the first epoch on, never falls.
STILL = {"optimizer": "sgd", "lr": 1.0, "clip_norm": 1e-30, "batch_size": 5}
# Settings, then the learning rate of each epoch's last step, and the steps in all.
COURSES = {
    "constant": ({"schedule": "constant", "epochs": 2}, [1, 1], 6),
    "cosine": (
        {"schedule": "cosine", "epochs": 4, "min_lr": 0.2, "batch_size": 0},
        [1.0, 0.882842712475, 0.6, 0.317157287525],
        4,
    ),
    "step by epochs": ({"schedule": "step", "epochs": 5, "drop_every": 2}, [1, 1, 0.1, 0.1, 0.01], 15),
    "step by steps": ({"schedule": "step", "epochs": 2, "drop_every": 4, "drop_unit": "steps"}, [1, 0.1], 6),
    "at least so many steps": ({"schedule": "constant", "epochs": 1, "min_steps": 7}, [1, 1, 1], 9),
    "so many steps": ({"schedule": "constant", "epochs": 9, "steps": 4}, [1, 1], 4),
    "two stages": ({"schedule": "two-stage", "epochs": 2, "second_epochs": 3}, [1, 1, 0.1, 0.1, 0.1], 15),
    "a stage ends within an epoch": (
        {"schedule": "two-stage", "epochs": 9, "steps": 4, "second_epochs": 1},
        [1, 1, 0.1],
        7,
    ),
    # The first epoch is the lowest there is; patience 2 drops after the third, fifth, … and at the floor it ends.
    "plateau": (
        {"schedule": "plateau", "epochs": 50, "patience": 2, "min_lr": 0.01, "validation": 0.3, "batch_size": 0},
        [1, 1, 1, 0.1, 0.1, 0.01, 0.01],
        7,
    ),
    "stopped early": ({"schedule": "constant", "epochs": 50, "early_stopping": 3, "validation": 0.3}, [1] * 4, None),
    # Early stopping ends the first stage, not the training; the second waits anew.
    "two stages, each stopped early": (
        {"schedule": "two-stage", "epochs": 50, "second_epochs": 50, "early_stopping": 2, "validation": 0.3},
        [1, 1, 1, 0.1, 0.1],
        None,
    ),
}


def by_heads(training):
    random = np.random.default_rng(0)
    arrays = {"rgb": random.standard_normal((VIDEOS, 2, 4)).astype(np.float16)}
    examples = MemoryExamples(arrays, np.ones(VIDEOS, dtype=int), np.arange(VIDEOS) % 3, device=CPU)
    names = np.array([f"v{index}" for index in range(VIDEOS)])
    head = build_head("linear", examples.shapes, 3)
    trained = train(head, examples, np.arange(VIDEOS), training=training, groups=names, names=names, seed=0)
    return [row["lr"] for row in trained.rows], trained.steps


def by_fine_tuning(training):
    validate = (lambda: 0.5) if training.validation else None
    fitted = make_loop(training=training, validate=validate).run(Processes())
    assert [row["epoch"] for row in fitted.history] == list(range(1, len(fitted.history) + 1))
    return [row["rate"] for row in fitted.history], len(fitted.losses)


@pytest.mark.parametrize("loop", [by_heads, by_fine_tuning])
@pytest.mark.parametrize("name", COURSES)
def test_both_loops_take_the_same_course(name, loop):
    settings, rates, steps = COURSES[name]
    found, taken = loop(Training(**STILL | settings))
    assert found == pytest.approx(rates)
    assert taken == steps or steps is None


def course(schedule, losses):
    """(rate, lowest so far) of epochs of one step with these validation losses."""
    seen = []
    for loss in losses:
        rate = schedule.rate()
        schedule.count_step()
        seen.append((rate, schedule.end_epoch(loss)))
    return seen


def test_plateau_drops_tenfold_down_to_its_floor_and_then_ends():
    training = Training(lr=1e-4, min_lr=1e-6, schedule="plateau", patience=2, validation=0.2)
    schedule = Schedule(training, 1)
    seen = course(schedule, [1.0, 0.9, 0.95, 0.91, 0.8, 0.85, 0.86, 0.9])
    assert not schedule.ended
    seen += course(schedule, [0.9])
    # Two epochs without a new low drop it: after 0.91 to 1e-5; 0.8 is a new low; after 0.86 to 1e-6; then the end.
    assert [rate for rate, _ in seen] == pytest.approx([1e-4] * 4 + [1e-5] * 3 + [1e-6] * 2)
    assert [lower for _, lower in seen] == [True, True, False, False, True, False, False, False, False]
    assert schedule.ended


def test_length_of_a_schedule():
    assert Schedule(Training(epochs=3, min_steps=35, lr=0.1), 10).stages == [(40, 0.1)]
    two = Schedule(Training(epochs=8, second_epochs=4, lr=1e-5, schedule="two-stage", steps=75), 10)
    assert two.stages == [(75, 1e-5), (40, pytest.approx(1e-6))]
    assert (two.total_steps, two.total_epochs) == (115, 12)


@pytest.mark.parametrize("stop", range(1, 12))
def test_a_state_goes_on_as_if_nothing_had_been(stop):
    training = Training(schedule="two-stage", epochs=6, second_epochs=6, early_stopping=2, validation=0.3)
    losses = [0.9, 0.8, 0.85, 0.7, 0.75, 0.72, 0.9, 0.6, 0.65, 0.5, 0.55, 0.4]
    whole, first, second = (Schedule(training, 1) for _ in range(3))
    expected = course(whole, losses[:11])
    seen = course(first, losses[:stop])
    second.restore(first.state())
    assert seen + course(second, losses[stop:11]) == expected
    assert second.state() == whole.state()
