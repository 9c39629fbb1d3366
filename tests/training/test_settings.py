"""The settings of a training: what they refuse, the optimisers they name, and that a new name is one line."""

import dataclasses
import importlib
import re
import subprocess
import sys

import pytest
import torch

from avr.cli import main
from avr.core import UsageError
from avr.training import (
    OPTIMIZERS,
    SCHEDULES,
    Optimizer,
    Training,
    build_optimizer,
    choose_device,
    deterministic,
    read_training,
)

TRAINING_COMMANDS = [["heads", "train"], ["finetune", "backbone"], ["finetune", "end-to-end"]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "plateau"}, "plateau needs a validation part"),
        ({"schedule": "step"}, "step needs drop_every"),
        ({"schedule": "two-stage"}, "two-stage needs second_epochs"),
        ({"early_stopping": 3}, "early_stopping needs a validation part"),
        ({"lr": 0.0}, "lr takes float > 0"),
        ({"validation": 1.0}, "validation takes 0 ≤ float < 1"),
        ({"batch_size": -1}, "batch_size takes int ≥ 0"),
        ({"epochs": 2.5}, "epochs takes int ≥ 0"),
    ],
)
def test_settings_out_of_range_or_in_contradiction_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        Training(**settings)


@pytest.mark.parametrize(
    ("setting", "known"),
    [
        ("optimizer", "adamw|sgd|rmsprop|adam"),
        ("schedule", "constant|cosine|step|plateau|two-stage"),
        ("views", "one|all"),
        ("drop_unit", "epochs|steps"),
    ],
)
def test_an_unknown_name_lists_the_known_ones(setting, known):
    with pytest.raises(UsageError, match=re.escape(f"{setting}=lion is not possible; {setting} takes {known}")):
        Training(**{setting: "lion"})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    training = Training(optimizer=name, weight_decay=0.5, momentum=0.7)
    made = build_optimizer([{"params": [torch.nn.Parameter(torch.ones(1))]}], training)
    assert type(made).__name__.lower() == name
    assert made.defaults["lr"] == 1e-3
    assert made.defaults["weight_decay"] == 0.5
    assert name != "sgd" or made.defaults["momentum"] == 0.7


@pytest.fixture
def help_of(runner, monkeypatch):
    """A training command's help, its file loaded anew."""

    def show(*command):
        monkeypatch.delitem(sys.modules, f"avr.commands.{command[0]}", raising=False)
        importlib.invalidate_caches()
        done = runner.invoke(main, [*command, "--help"], terminal_width=200)
        assert done.exit_code == 0, done.output
        return done.output

    return show


@pytest.mark.parametrize("command", TRAINING_COMMANDS, ids=" ".join)
def test_a_new_optimizer_or_schedule_is_one_line(command, help_of, monkeypatch):
    monkeypatch.setitem(OPTIMIZERS, "nadam", Optimizer("NAdam", fused=False))
    monkeypatch.setitem(SCHEDULES, "halved", lambda training, at: training.lr / 2)
    shown = help_of(*command)
    assert "adam|nadam]" in shown
    assert "two-stage|halved]" in shown
    training = read_training(Training(), {"optimizer": "nadam", "schedule": "halved"})
    assert isinstance(build_optimizer([torch.nn.Parameter(torch.ones(1))], training), torch.optim.NAdam)


@pytest.mark.parametrize("command", TRAINING_COMMANDS, ids=" ".join)
def test_every_setting_is_an_option_or_named_in_the_help(command, help_of):
    shown = help_of(*command)
    common = {"epochs", "batch_size", "lr", "optimizer", "schedule", "weight_decay"}
    for name in common:
        assert f"--{name.replace('_', '-')} " in shown
    elsewhere = {"standardise", "bf16", "refit"} if command[0] == "finetune" else set()
    (line,) = (line for line in shown.split("\n") if line.strip().startswith("--training NAME=VALUE"))
    listed = re.findall(r"\w+", " ".join(shown[shown.index(line) :].split("\n")[:4]))
    for field in dataclasses.fields(Training):
        assert (field.name in listed) == (field.name not in common | elsewhere), field.name


@pytest.mark.parametrize("command", TRAINING_COMMANDS, ids=" ".join)
def test_a_text_that_is_no_pair_is_refused(runner, command):
    needed = {"train": ["linear"], "backbone": ["--dataset", "shapes"], "end-to-end": ["--run", "."]}[command[-1]]
    done = runner.invoke(main, [*command, *needed, "--training", "momentum"])
    assert done.exit_code == 2
    assert "--training momentum: expected NAME=VALUE" in done.stderr


def test_help_reads_the_settings_without_torch():
    code = (
        "import sys, avr.commands.heads, avr.commands.finetune;"
        "print([name for name in ('torch', 'torchvision', 'h5py', 'cv2', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_inside_the_block_numbers_repeat_and_outside_nothing_has_changed():
    torch.manual_seed(5)
    expected, threads = torch.rand(2), torch.get_num_threads()
    torch.manual_seed(5)
    with deterministic(torch.device("cpu"), seed=3, threads=1):
        drawn = torch.rand(1)
        assert torch.get_num_threads() == 1
    first = torch.rand(1)
    with deterministic(torch.device("cpu"), seed=3):
        assert torch.equal(torch.rand(1), drawn)
        assert torch.get_num_threads() == threads
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="unknown device 'mps'; known: auto, cpu, cuda"):
        choose_device("mps")
