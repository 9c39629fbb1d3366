"""The command line's defaults are the functions' defaults: one drifting from the other is a defect nobody sees.

Options made of a record's fields (`avr.commands._options`) cannot drift; those of every command that are not, can.
"""

import importlib
import inspect
from dataclasses import fields

import click
import pytest

from avr.cli import main
from avr.extract import Engine, Running, Settings

# The function behind each command. Those without one have no options of their own.
FUNCTIONS = {
    "attention": "avr.report.attention:draw_attention",
    "completion": "",
    "datasets check": "avr.video:check_dataset",
    "datasets list": "",
    "datasets show": "",
    "demo": "avr.commands.demo:run_demo",
    "extract": "avr.extract:extract",
    "finetune backbone": "avr.finetune:finetune_backbone",
    "finetune end-to-end": "avr.finetune:finetune_end_to_end",
    "fuse apply": "avr.fusion:apply_fusion",
    "fuse average": "avr.fusion:fuse",
    "fuse awf": "avr.fusion:fuse",
    "fuse compare": "avr.fusion:compare",
    "fuse early-svm": "avr.fusion:fuse_features",
    "heads export": "avr.predict:export_onnx",
    "heads list": "",
    "heads train": "avr.heads:train_run",
    "heads tune": "avr.heads:tune_run avr.heads:RunRequest",
    "predict": "avr.predict:Predictor avr.predict:Predictor.predict",
    "recipe list": "",
    "recipe plan": "avr.recipes:plan_recipe",
    "recipe run": "avr.recipes:run_recipe avr.recipes:Changes",
    "recipe show": "",
    "report": "avr.report:write_report",
    "runs predictions": "avr.report:write_predictions",
    "runs show": "",
    "store drop": "avr.store:drop",
    "store export": "avr.store:export",
    "store import-features": "avr.store:import_features",
    "store import-scores": "avr.store:import_scores",
    "store info": "",
    "store pack": "avr.store:pack",
    "store repair": "avr.store:repair",
    "store verify": "",
}
# Where a command asks for what its function must be given, or the other way round, on purpose; and 0 trials, which the
# command says by leaving out --tune.
APART = {("demo", "out"), ("store import-scores", "out"), ("recipe run", "trials")}


def command_at(path: str) -> click.Command:
    """The click command of "heads train"."""
    command: click.Command = main
    for name in path.split():
        command = command.get_command(click.Context(command), name)
    return command


def defaults_of(names: str) -> dict:
    """Defaults of the functions or records "avr.heads:train_run avr.recipes:Changes"; a parameter without has none."""
    defaults = {}
    for name in names.split():
        module, _, attribute = name.partition(":")
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        parameters = inspect.signature(found).parameters.values()
        defaults |= {p.name: p.default for p in parameters if p.default is not p.empty}
    return defaults


def unset(value: object) -> object:
    """Unset is unset, however it is written: None, "", (), {} are one; an empty dict is made by a factory."""
    return None if str(value) in ("", "()", "[]", "{}", "<factory>", "Sentinel.UNSET") else value


def paths(command: click.Command, path: str = "") -> list[str]:
    if not isinstance(command, click.Group):
        return [path]
    names = command.list_commands(click.Context(command))
    return [
        found for name in names for found in paths(command.get_command(click.Context(command), name), f"{path} {name}")
    ]


def test_every_command_is_compared():
    rules = {path.strip() for path in paths(main) if path.startswith(" fuse")}
    assert rules >= {path for path in FUNCTIONS if path.startswith("fuse")}
    assert {path.strip() for path in paths(main)} - rules == {path for path in FUNCTIONS if not path.startswith("fuse")}


@pytest.mark.parametrize("path", FUNCTIONS)
def test_command_and_function_have_the_same_defaults(path):
    command, defaults = command_at(path), defaults_of(FUNCTIONS[path])
    context = click.Context(command)
    different = {}
    for option in command.params:
        if option.name in defaults and not option.required and (path, option.name) not in APART:
            # As the command gets it: a comma list is a tuple, a repeated NAME=VALUE a dict.
            ours = unset(option.process_value(context, option.get_default(context)))
            theirs = unset(defaults[option.name])
            if ours != theirs and (ours or theirs):
                different[option.name] = (ours, theirs)
    assert not different


def test_every_setting_of_an_extraction_is_an_option():
    """But those that the weights and the device fill in, and the kind, which --stream tells."""
    given = {option.name for option in command_at("extract").params}
    known = {field.name for kind in (Settings, Running, Engine) for field in fields(kind)}
    assert known - given == {"kind", "weights_sha256", "flow_backend", "decoder", "antialias", "mean", "std"}
